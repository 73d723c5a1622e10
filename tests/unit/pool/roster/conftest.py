"""Rosters that look at what a test tells them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from roster_fakes import NEVER_SECONDS, PATIENCE_SECONDS, FakePool, FakeResolver

from llamawire_server.pool.roster import Roster


@pytest.fixture
def resolver() -> FakeResolver:
    return FakeResolver()


@pytest.fixture
def pool() -> FakePool:
    return FakePool()


@pytest.fixture
def readiness() -> dict[str, bool | None]:
    """What the health board was told last of each name."""
    return {}


@pytest.fixture
async def roster(resolver: Any, pool: Any, readiness: dict[str, bool | None]) -> AsyncIterator[Roster]:
    """A roster that looks only when a test wants it to."""
    roster = Roster(resolver, pool, readiness.__setitem__, NEVER_SECONDS, pause_seconds=0)
    pool.on_change = roster.note
    yield roster
    await asyncio.wait_for(roster.close(), PATIENCE_SECONDS)
