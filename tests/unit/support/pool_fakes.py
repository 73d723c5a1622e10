"""Models without files and workers without processes, for tests of the pool."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from llamawire_server.config import ModelSettings, PoolSettings
from llamawire_server.errors import ServiceError, model_not_found
from llamawire_server.models.gguf import GGUFMetadata
from llamawire_server.models.names import forms
from llamawire_server.models.pool import Lease, ModelStatus, Pool, State
from llamawire_server.models.resolver import ModelEntry

PATIENCE_SECONDS = 30

METADATA = GGUFMetadata(
    path=Path("/models/a.gguf"),
    kind="model",
    architecture="llama",
    display_name="A model",
    quantization="F32",
    num_parameters=64,
    file_size_bytes=256,
    training_context_length=128,
    vocabulary_size=32,
    chat_template=None,
    modified_ns=1,
)


class StubResolver:
    """Knows the models that it was told of. Used by many threads at once, as the real one is."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._entries: dict[str, ModelEntry] = {}
        self._may_go_on = threading.Event()
        self._may_go_on.set()

    def add(self, name: str, aliases: tuple[str, ...] = (), settings: ModelSettings | None = None) -> None:
        entry = ModelEntry(name, aliases, path_of(name), settings or ModelSettings(), METADATA)
        self._entries.update(dict.fromkeys((name, *aliases), entry))

    def hold(self) -> None:
        """Let names wait until `go_on`."""
        self._may_go_on.clear()

    def go_on(self) -> None:
        self._may_go_on.set()

    def resolve(self, name: str) -> ModelEntry:
        self.asked.append(name)
        assert self._may_go_on.wait(PATIENCE_SECONDS)
        for form in forms(name):
            if form in self._entries:
                return self._entries[form]
        raise model_not_found(name)


class FakeWorker:
    """A worker that only knows whether it runs."""

    def __init__(
        self, name: str, on_end: Callable[[str], None], end: Callable[[FakeWorker], Awaitable[None]]
    ) -> None:
        self.name = name
        self.on_end = on_end
        self.is_stopping = False
        self._end = end

    async def stop(self) -> None:
        assert not self.is_stopping, "a worker is stopped once"
        self.is_stopping = True
        await self._end(self)


class FakeWorkers:
    """Starts workers as the test tells it to, and keeps watch over them."""

    def __init__(self) -> None:
        self.num_starts: Counter[str] = Counter()
        self.num_cancelled = 0
        self.most_running = 0
        self.changes: list[tuple[str, State]] = []
        self.alive: set[FakeWorker] = set()
        self.starting: Counter[str] = Counter()
        self._gates: dict[str, asyncio.Event] = {}
        self._stop_gates: dict[str, asyncio.Event] = {}
        self._failures: dict[str, Exception] = {}
        self._reporters: dict[str, Callable[[float], None]] = {}
        self._die_when_ready: set[str] = set()

    @property
    def running(self) -> set[str]:
        """The models whose workers run."""
        return {worker.name for worker in self.alive}

    def hold(self, name: str) -> asyncio.Event:
        """Let loads of this model wait until the event is set."""
        gate = self._gates[name] = asyncio.Event()
        return gate

    def hold_stop(self, name: str) -> asyncio.Event:
        """Let the end of this model's worker wait until the event is set."""
        gate = self._stop_gates[name] = asyncio.Event()
        return gate

    def fail(self, name: str, error: Exception) -> None:
        """Let the next load of this model fail."""
        self._failures[name] = error

    def die_when_ready(self, name: str) -> None:
        """Let this model's next worker end between its being ready and anybody's knowing."""
        self._die_when_ready.add(name)

    def be_good(self) -> None:
        """Forget what was to be held back or to fail."""
        for gate in (*self._gates.values(), *self._stop_gates.values()):
            gate.set()
        self._failures.clear()

    def report_progress(self, name: str, share: float) -> None:
        self._reporters[name](share)

    def kill(self, name: str) -> None:
        """End this model's worker as a signal would."""
        (worker,) = (worker for worker in self.alive if worker.name == name)
        self.kill_worker(worker)

    def kill_worker(self, worker: object) -> None:
        assert isinstance(worker, FakeWorker)
        self.alive.discard(worker)
        if not worker.is_stopping:
            worker.on_end("was ended by SIGSEGV")

    def note_change(self, status: ModelStatus) -> None:
        self.changes.append((status.entry.name, status.state))

    async def start(
        self,
        path: Path,
        settings: ModelSettings,
        chat_template: str | None,
        *,
        on_progress: Callable[[float], None],
        on_end: Callable[[str], None],
    ) -> FakeWorker:
        name = path.stem
        self.num_starts[name] += 1
        self.starting[name] += 1
        assert self.starting[name] == 1, f"{name} is loaded twice at once"
        there = [worker for worker in self.alive if worker.name == name and not worker.is_stopping]
        assert not there, f"{name} is loaded though it is there"
        self.most_running = max(self.most_running, len(self.alive) + self.starting.total())
        self._reporters[name] = on_progress
        try:
            if (gate := self._gates.get(name)) is not None:
                await gate.wait()
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        finally:
            self.starting[name] -= 1
        if (failure := self._failures.pop(name, None)) is not None:
            raise failure
        worker = FakeWorker(name, on_end, self._stop)
        self.alive.add(worker)
        if name in self._die_when_ready:
            self._die_when_ready.discard(name)
            self.kill_worker(worker)
        return worker

    async def _stop(self, worker: FakeWorker) -> None:
        gate = self._stop_gates.pop(worker.name, None)
        if gate is not None:
            await gate.wait()
        self.alive.discard(worker)


def path_of(name: str) -> Path:
    """The file of a model."""
    return Path("/models") / f"{name}.gguf"


async def until(condition: Callable[[], object]) -> None:
    """Wait for what comes by way of threads and timers."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.001)


async def settle() -> None:
    """Let every task run until it waits for something that the test holds back."""
    for _ in range(20):
        await asyncio.sleep(0)


async def refused(attempt: Awaitable[object]) -> ServiceError:
    """The error that an attempt ends with."""
    with pytest.raises(ServiceError) as caught:
        await attempt
    return caught.value


class Caller:
    """Somebody who holds a lease until told to let go."""

    def __init__(self, pool: Pool, name: str, timeout_seconds: float | None = None) -> None:
        self._lease: Lease | None = None
        self._news = asyncio.Event()
        self._let_go = asyncio.Event()
        self.task = asyncio.create_task(self._hold(pool, name, timeout_seconds))
        self.task.add_done_callback(lambda _: self._news.set())

    @property
    def has_lease(self) -> bool:
        return self._lease is not None and not self.task.done()

    @property
    def worker(self) -> FakeWorker:
        """What the lease is on."""
        assert self._lease is not None
        assert isinstance(self._lease.worker, FakeWorker)
        return self._lease.worker

    async def _hold(self, pool: Pool, name: str, timeout_seconds: float | None) -> None:
        async with pool.lease(name, timeout_seconds) as self._lease:
            self._news.set()
            await self._let_go.wait()

    async def leased(self) -> Lease:
        """The lease, once it is there. Raises what the attempt raises."""
        await self.heard_back()
        if self._lease is None:
            await self.task
        assert self._lease is not None
        return self._lease

    async def heard_back(self) -> None:
        """Wait for the lease, or for the end of the attempt."""
        await asyncio.wait_for(self._news.wait(), PATIENCE_SECONDS)

    async def leave(self) -> None:
        """Let go of the lease."""
        self._let_go.set()
        await self.task

    async def cancel(self) -> None:
        """Be cancelled, wherever the call stands."""
        self.task.cancel()
        await asyncio.wait({self.task})


async def use(pool: Pool, name: str) -> Lease:
    """Lease a model and let go of it."""
    caller = Caller(pool, name)
    lease = await caller.leased()
    await caller.leave()
    return lease


async def leave_all(callers: Iterable[Caller]) -> None:
    for caller in callers:
        await caller.leave()


RunPool = Callable[..., AbstractAsyncContextManager[tuple[Pool, FakeWorkers]]]


@contextlib.asynccontextmanager
async def running_pool(
    resolver: StubResolver, *names: str, max_loaded_models: int = 4, load_timeout_seconds: float = 600
) -> AsyncIterator[tuple[Pool, FakeWorkers]]:
    """A pool of these models, which leaves nothing behind."""
    for name in names:
        resolver.add(name)
    workers = FakeWorkers()
    settings = PoolSettings(max_loaded_models=max_loaded_models, load_timeout_seconds=load_timeout_seconds)
    pool = Pool(resolver, settings, workers.note_change, start_worker=workers.start)  # type: ignore[arg-type]
    yield pool, workers
    await asyncio.wait_for(pool.close(), PATIENCE_SECONDS)
    assert workers.alive == set()
    assert workers.starting.total() == 0
    assert workers.most_running <= max_loaded_models
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert left == set(), "the pool leaves no task behind"
