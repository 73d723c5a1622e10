"""Files and a pool that stand as a test says, for what puts the two together."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path
from typing import Any

from llamawire_server.config import ModelSettings
from llamawire_server.errors import model_not_found
from llamawire_server.models.names import forms
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.pool import ModelStatus, State
from llamawire_server.pool.roster import ModelView, News

PATIENCE_SECONDS = 30
NEVER_SECONDS = 1e6


def entry_of(name: str, *aliases: str, path: str = "", **changes: Any) -> ModelEntry:
    entry = ModelEntry(name, aliases, Path(f"/models/{path or name}.gguf"), ModelSettings(), None)
    return dataclasses.replace(entry, **changes)


class FakeResolver:
    """Finds what a test says there is."""

    def __init__(self) -> None:
        self.found: list[ModelEntry] = []
        self.num_looks = 0
        self.num_looking = 0
        self.failure: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.num_resolving = 0
        self.resolve_gate = threading.Event()
        self.resolve_gate.set()

    def entries(self, loaded: Iterable[ModelEntry] = ()) -> list[ModelEntry]:
        self.num_looks += 1
        self.num_looking += 1
        assert self.num_looking == 1, "looks overlap"
        found = list(self.found)
        self.gate.wait(PATIENCE_SECONDS)
        self.num_looking -= 1
        if self.failure is not None:
            raise self.failure
        return found

    def resolve(self, name: str) -> ModelEntry:
        found = list(self.found)
        self.num_resolving += 1
        self.resolve_gate.wait(PATIENCE_SECONDS)
        self.num_resolving -= 1
        for form in forms(name):
            for entry in found:
                if form in (entry.name, *entry.aliases):
                    return entry
        raise model_not_found(name)


class FakePool:
    """Loads nothing, and says what it is told to."""

    def __init__(self) -> None:
        self.loaded: dict[Path, ModelStatus] = {}
        self.failures: dict[Path, str] = {}
        self.renewals: list[list[ModelEntry]] = []
        self.on_change: Callable[[ModelStatus], None] = lambda status: None

    def put(self, entry: ModelEntry, state: State, **fields: Any) -> None:
        """The model stands so from now on."""
        status = ModelStatus(entry, state, **fields)
        self.failures.pop(entry.path, None)
        if state is State.UNLOADED:
            self.loaded.pop(entry.path, None)
        elif state is State.FAILED:
            self.loaded.pop(entry.path, None)
            self.failures[entry.path] = "no tensors"
        else:
            self.loaded[entry.path] = status
        self.on_change(status)

    def statuses(self) -> dict[Path, ModelStatus]:
        return dict(self.loaded)

    def failure(self, path: Path) -> str | None:
        return self.failures.get(path)

    def renew(self, entries: Iterable[ModelEntry]) -> None:
        self.renewals.append(list(entries))


def said(view: ModelView) -> tuple[str, State | str | None]:
    """A model's name and where it stands."""
    return view.entry.name, view.failure or (view.status.state if view.status else None)


async def read(watch: AsyncGenerator[News, None]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The next news: models by name, and what is removed."""
    news = await asyncio.wait_for(anext(watch), PATIENCE_SECONDS)
    return dict(map(said, news.models)), news.removed


async def has_nothing_to_say(watch: AsyncGenerator[News, None]) -> bool:
    """Whether no news comes, however often the loop goes round. The watch is over then."""
    waiting = asyncio.ensure_future(anext(watch))
    for _ in range(50):
        await asyncio.sleep(0)
    is_silent = not waiting.done()
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
        await waiting
    return is_silent
