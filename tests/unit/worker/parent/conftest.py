"""Workers from their parent's side, without a model."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from supervised_workers import Children, Starter, run_scripted_children

from llamawire_server.worker.parent.supervisor import Supervisor


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Children:
    """The processes that were started, which run the scripted child."""
    return run_scripted_children(monkeypatch)


@pytest.fixture
def start(children: Children) -> Starter:
    """Starts workers that run the scripted child."""
    return Starter()


@pytest.fixture
async def worker(start: Starter) -> AsyncIterator[Supervisor]:
    """One that has its model."""
    worker = await start()
    yield worker
    await worker.stop()
