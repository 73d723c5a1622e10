"""Models without files, and a worker without a process, for the service."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from service_fakes import STEPS, FakePool, FakeResolver, roster_of

from llamawire_server.config import ModelSettings
from llamawire_server.gguf.metadata import GGUFMetadata
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.roster import Roster
from llamawire_server.service.local import LocalService
from llamawire_server.worker.messages import Event, Loaded


@pytest.fixture
def metadata() -> GGUFMetadata:
    return GGUFMetadata(
        path=Path("/models/a.gguf"),
        kind="model",
        architecture="llama",
        display_name="Model A",
        quantization="Q4_1",
        num_parameters=135_000_000,
        file_size_bytes=90_000_000,
        training_context_length=8192,
        vocabulary_size=49152,
        chat_template=None,
        modified_ns=1_700_000_000_900_000_000,
    )


@pytest.fixture
def entry(metadata: GGUFMetadata) -> ModelEntry:
    return ModelEntry("a", ("b", "c"), metadata.path, ModelSettings(), metadata)


class FakeWorker:
    """Answers every request with the events that it was given."""

    def __init__(self, *steps: list[Event]) -> None:
        self.facts = Loaded(1, 8192, 4096, 100, 4, 8192, 300_000_000, 0.01, has_chat_template=True)
        self.num_requests = 0
        self.steps = list(steps)
        self.requests: list[Any] = []
        self.timeouts: list[float | None] = []
        self.num_left = 0

    def next_request_id(self) -> int:
        return len(self.requests) + 1

    async def events(
        self, request: Any, timeout_seconds: float | None = None
    ) -> AsyncGenerator[list[Event], None]:
        self.requests.append(request)
        self.timeouts.append(timeout_seconds)
        try:
            for step in self.steps:
                yield step
        finally:
            self.num_left += 1

    async def ask(self, request: Any, kind: type[Any], timeout_seconds: float | None = None) -> Any:
        self.requests.append(request)
        self.timeouts.append(timeout_seconds)
        ((answer,),) = self.steps
        assert isinstance(answer, kind)
        return answer


@pytest.fixture
def worker() -> FakeWorker:
    return FakeWorker()


class FakeLease(NamedTuple):
    entry: ModelEntry
    worker: FakeWorker
    system_fingerprint: str = "fp_1"
    waited_seconds: float = 1.5


@pytest.fixture
def lease(entry: ModelEntry, worker: FakeWorker) -> FakeLease:
    return FakeLease(entry, worker)


@pytest.fixture
def pool(lease: FakeLease, worker: FakeWorker) -> FakePool:
    """The lease's model, always loaded, with a worker that says hi."""
    worker.steps = list(STEPS)
    return FakePool(lease)


@pytest.fixture
def resolver(entry: ModelEntry) -> FakeResolver:
    return FakeResolver(entry)


@pytest.fixture
def roster(resolver: FakeResolver, pool: FakePool) -> Roster:
    return roster_of(resolver, pool)


@pytest.fixture
def service(resolver: Any, pool: Any, roster: Roster) -> LocalService:
    return LocalService(resolver, pool, roster)
