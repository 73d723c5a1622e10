"""Models without files and workers without processes, for tests of the pool."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from llamawire_server.config import ModelSettings, PoolSettings
from llamawire_server.errors import ServiceError, model_not_found
from llamawire_server.gguf.metadata import GGUFMetadata
from llamawire_server.models.names import forms
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.pool import Lease, ModelStatus, Pool, State
from llamawire_server.worker.messages import Loaded
from llamawire_server.worker.parent.observer import WorkerObserver

PATIENCE_SECONDS = 30
NEVER_SECONDS = 3600.0

# What a model takes that says nothing of its size.
DEFAULT_BYTES = 256

# What a worker dies of.
CAUSE = "was ended by SIGSEGV"

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
        """Know a model, or know it otherwise than before."""
        self.put(ModelEntry(name, aliases, path_of(name), settings or ModelSettings(), METADATA))

    def put(self, entry: ModelEntry) -> None:
        others = {name: other for name, other in self._entries.items() if other.path != entry.path}
        self._entries = {**others, **dict.fromkeys((entry.name, *entry.aliases), entry)}

    def remove(self, path: Path) -> None:
        """Know nothing of this file any more."""
        self._entries = {name: entry for name, entry in self._entries.items() if entry.path != path}

    def touch(self, name: str) -> None:
        """Let the model's file be another one."""
        entry = self._entries[name]
        assert entry.metadata is not None
        changed = dataclasses.replace(entry.metadata, modified_ns=entry.metadata.modified_ns + 1)
        self.put(dataclasses.replace(entry, metadata=changed))

    def entries(self) -> list[ModelEntry]:
        return list({entry.path: entry for entry in self._entries.values()}.values())

    def hold(self) -> None:
        """Let what is found be told no sooner than `go_on`."""
        self._may_go_on.clear()

    def go_on(self) -> None:
        self._may_go_on.set()

    def resolve(self, name: str) -> ModelEntry:
        entries = self._entries
        found = next((entries[form] for form in forms(name) if form in entries), None)
        self.asked.append(name)
        assert self._may_go_on.wait(PATIENCE_SECONDS)
        if found is None:
            raise model_not_found(name)
        return found


class FakeWorker:
    """A worker that only knows whether it runs."""

    def __init__(
        self,
        name: str,
        memory_bytes: int,
        observer: WorkerObserver,
        end: Callable[[FakeWorker], Awaitable[None]],
    ) -> None:
        self.name = name
        self.facts = Loaded(
            num_parameters=64,
            training_context_length=128,
            context_length=128,
            vocabulary_size=32,
            parallel=8,
            kv_cache_tokens=256,
            memory_bytes=memory_bytes,
            token_seconds=0.01,
            has_chat_template=False,
        )
        self.observer = observer
        self.is_stopping = False
        self.stop_error: ServiceError | None = None
        self._end = end

    async def stop(self, error: ServiceError | None = None) -> None:
        assert not self.is_stopping, "a worker is stopped once"
        self.is_stopping = True
        self.stop_error = error
        await self._end(self)


class FakeWorkers:
    """Starts workers as the test tells it to, and keeps watch over them."""

    def __init__(self) -> None:
        self.num_starts: Counter[str] = Counter()
        self.num_cancelled = 0
        self.most_running = 0
        self.most_bytes = 0
        self.changes: list[tuple[str, State]] = []
        self.statuses: list[ModelStatus] = []
        self.alive: set[FakeWorker] = set()
        self.starting: Counter[str] = Counter()
        self.starting_bytes = 0
        self.measured: dict[str, int] = {}
        """What models really take, where it is not what they were expected to."""
        self.has_successors = False
        """Whether a model may be loaded while an older worker of it runs."""
        self._gates: dict[str, asyncio.Event] = {}
        self._stop_gates: dict[str, asyncio.Event] = {}
        self._failures: dict[str, Exception] = {}
        self._observers: dict[str, WorkerObserver] = {}
        self._before_ready: dict[str, Callable[[FakeWorker], None]] = {}

    @property
    def running(self) -> set[str]:
        """The models whose workers run."""
        return {worker.name for worker in self.alive}

    @property
    def used_bytes(self) -> int:
        """What all workers take together."""
        return self.starting_bytes + sum(worker.facts.memory_bytes for worker in self.alive)

    def worker(self, name: str) -> FakeWorker:
        """The one worker of this model that is not being stopped."""
        (worker,) = (worker for worker in self.alive if worker.name == name and not worker.is_stopping)
        return worker

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

    def before_ready(self, name: str, happens: Callable[[FakeWorker], None]) -> None:
        """Let this befall the model's next worker between its being ready and anybody's knowing."""
        self._before_ready[name] = happens

    def be_good(self) -> None:
        """Forget what was to be held back or to fail."""
        for gate in (*self._gates.values(), *self._stop_gates.values()):
            gate.set()
        self._failures.clear()

    def report_progress(self, name: str, share: float) -> None:
        self._observers[name].note_progress(share)

    def kill(self, name: str) -> None:
        """Let this model's worker die so often that it is given up."""
        self.kill_worker(self.worker(name))

    def kill_worker(self, worker: object) -> None:
        assert isinstance(worker, FakeWorker)
        self.alive.discard(worker)
        if not worker.is_stopping:
            worker.observer.note_end(CAUSE)

    def note_change(self, status: ModelStatus) -> None:
        self.changes.append((status.entry.name, status.state))
        self.statuses.append(status)

    async def start(
        self, path: Path, settings: ModelSettings, chat_template: str | None, observer: WorkerObserver
    ) -> FakeWorker:
        name = path.stem
        num_bytes = self.measured.get(name, settings.kv_cache_tokens or DEFAULT_BYTES)
        self.num_starts[name] += 1
        self.starting[name] += 1
        self.starting_bytes += num_bytes
        if not self.has_successors:
            assert self.starting[name] == 1, f"{name} is loaded twice at once"
            there = [worker for worker in self.alive if worker.name == name and not worker.is_stopping]
            assert not there, f"{name} is loaded though it is there"
        self.most_running = max(self.most_running, len(self.alive) + self.starting.total())
        self.most_bytes = max(self.most_bytes, self.used_bytes)
        self._observers[name] = observer
        try:
            if (gate := self._gates.get(name)) is not None:
                await gate.wait()
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        finally:
            self.starting[name] -= 1
            self.starting_bytes -= num_bytes
        if (failure := self._failures.pop(name, None)) is not None:
            raise failure
        worker = FakeWorker(name, num_bytes, observer, self._stop)
        self.alive.add(worker)
        if (happens := self._before_ready.pop(name, None)) is not None:
            happens(worker)
        return worker

    async def _stop(self, worker: FakeWorker) -> None:
        gate = self._stop_gates.pop(worker.name, None)
        if gate is not None:
            await gate.wait()
        self.alive.discard(worker)


def size(num_bytes: int, **settings: Any) -> ModelSettings:
    """The settings of a model that takes so many bytes: in these tests, one for each token of its KV cache."""
    return ModelSettings(kv_cache_tokens=num_bytes, **settings)


def estimate(entry: ModelEntry) -> int:
    """What a model is expected to take."""
    return entry.settings.kv_cache_tokens or DEFAULT_BYTES


def path_of(name: str) -> Path:
    """The file of a model."""
    return Path("/models") / f"{name}.gguf"


def num_requests(pool: Pool, name: str) -> int:
    """How many wait at a model or use it."""
    status = pool.statuses().get(path_of(name))
    return status.num_requests if status is not None else 0


def is_in_line(pool: Pool, name: str) -> bool:
    """Whether a model waits for room."""
    status = pool.statuses().get(path_of(name))
    return status is not None and status.detail.startswith("waits for")


class Caller:
    """Somebody who holds a lease until told to let go."""

    def __init__(self, pool: Pool, name: str, timeout_seconds: float | None = None) -> None:
        self.name = name
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
    resolver: StubResolver,
    *names: str,
    budget_bytes: int = 2**40,
    passing_seconds: float = NEVER_SECONDS,
    is_honest: bool = True,
    **settings: Any,
) -> AsyncIterator[tuple[Pool, FakeWorkers]]:
    """A pool of these models, which leaves nothing behind.

    settings: those of the pool. is_honest: whether models take no more than they are expected to.
    """
    for name in names:
        resolver.add(name)
    workers = FakeWorkers()
    pool_settings = PoolSettings(**settings)
    pool = Pool(
        resolver,  # type: ignore[arg-type]
        pool_settings,
        workers.note_change,
        start_worker=workers.start,  # type: ignore[arg-type]
        budget_bytes=budget_bytes,
        estimate=estimate,
        passing_seconds=passing_seconds,
    )
    faults: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context))
    yield pool, workers
    workers.be_good()
    await asyncio.wait_for(pool.close(), PATIENCE_SECONDS)
    assert workers.alive == set()
    assert workers.starting.total() == 0
    assert pool.statuses() == {}
    if pool_settings.max_loaded_models is not None:
        assert workers.most_running <= pool_settings.max_loaded_models
    if is_honest:
        assert workers.most_bytes <= budget_bytes
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert left == set(), "the pool leaves no task behind"
    of_the_pool = [fault for fault in faults if "coro=<Slots." in repr(fault)]
    assert of_the_pool == [], "no task of the pool ends with an error"
    timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert timers == [], "the pool leaves no timer behind"
