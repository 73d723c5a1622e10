"""A pool and its models as a test says, for the service, and what tests ask of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from llamawire.v1 import chat_pb2
from llamawire_server.errors import model_not_found
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.pool import ModelStatus
from llamawire_server.pool.roster import Roster
from llamawire_server.service.interface import Call
from llamawire_server.worker.messages import Completed, TextDelta

CALL = Call("req_1")

# What a worker says to each choice: "hi", of five tokens of prompt and two of its own.
STEPS = [[TextDelta(1, 0, "hi", [7])], [TextDelta(1, 0, "", [2], "stop"), Completed(1, 5, 0, 2, 0, 0, 0)]]


def chat(**fields: Any) -> chat_pb2.ChatCompletionRequest:
    """The smallest chat request, with these fields in place of its own."""
    values = {"model": "a", "messages": [{"role": chat_pb2.ROLE_USER, "content": "x"}], **fields}
    return chat_pb2.ChatCompletionRequest(**values)


class FakePool:
    """One model, always loaded."""

    def __init__(self, lease: Any) -> None:
        self._lease = lease
        self.names: list[str] = []
        self.timeouts: list[float | None] = []
        self.num_leases = 0
        self.loaded: list[ModelStatus] = []
        self.failures: dict[Any, str] = {}
        self.waits: list[bool] = []
        self.load_steps: list[ModelStatus] = []
        self.num_loads_left = 0
        self.unloads: list[tuple[str, bool, float | None]] = []

    def memory_bytes(self, entry: ModelEntry) -> int:
        return 1234

    @contextlib.asynccontextmanager
    async def lease(
        self, name: str, timeout_seconds: float | None = None, *, wait: bool = True
    ) -> AsyncGenerator[Any, None]:
        self.names.append(name)
        self.timeouts.append(timeout_seconds)
        self.waits.append(wait)
        self.num_leases += 1
        try:
            yield self._lease
        finally:
            self.num_leases -= 1

    async def load(
        self, name: str, timeout_seconds: float | None = None
    ) -> AsyncGenerator[ModelStatus, None]:
        self.names.append(name)
        self.timeouts.append(timeout_seconds)
        try:
            for status in self.load_steps:
                yield status
        finally:
            self.num_loads_left += 1

    async def unload(
        self, name: str, *, cancel_running: bool = False, timeout_seconds: float | None = None
    ) -> ModelEntry:
        self.unloads.append((name, cancel_running, timeout_seconds))
        self.loaded = []
        return self._lease.entry  # type: ignore[no-any-return]

    def statuses(self) -> dict[Any, ModelStatus]:
        return {status.entry.path: status for status in self.loaded}

    def failure(self, path: Any) -> str | None:
        return self.failures.get(path)

    def renew(self, entries: Any) -> None:
        """Nothing of it changes."""


class FakeResolver:
    """Knows the models that it was told of."""

    def __init__(self, *entries: ModelEntry) -> None:
        self._entries = entries

    def entries(self, loaded: Any) -> list[ModelEntry]:
        return list(self._entries)

    def resolve(self, name: str) -> ModelEntry:
        for entry in self._entries:
            if name.strip().lower() in (entry.name, *entry.aliases):
                return entry
        raise model_not_found(name)


def roster_of(resolver: Any, pool: Any) -> Roster:
    """A roster that looks when it is asked to only."""
    return Roster(resolver, pool, lambda name, is_ready: None, poll_seconds=1e6, pause_seconds=0)


async def read_all(chunks: AsyncGenerator[Any, None]) -> list[Any]:
    """All that a stream gives."""
    return [chunk async for chunk in chunks]
