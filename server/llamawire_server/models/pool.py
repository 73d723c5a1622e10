"""The pool: loaded models by file, each run by one worker process, and the leases on them.

Everything here runs on one event loop, and a slot is looked up and put in place without an `await` between the
two: that is the lock. Many requests for a cold model find the same slot and wait for the same load, which belongs
to the pool and not to whoever asked first; a load of one model never holds up a request for another.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Protocol

from llamawire_server import __version__
from llamawire_server.config import ModelSettings, PoolSettings
from llamawire_server.errors import Condition, ServiceError, engine_fault
from llamawire_server.models.names import normalize
from llamawire_server.models.resolver import ModelEntry, Resolver
from llamawire_server.worker.process import WorkerProcess

log = logging.getLogger(__name__)

# A name with a tag leads to the model without it, whatever the tag: callers may make up any number of them. Those
# beyond these many are resolved each time.
MAX_NAMES_KEPT = 64


class State(Enum):
    """Where a model stands."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    FAILED = "failed"


@dataclass(eq=False)
class Slot:
    """A model that is loaded, or on its way in or out."""

    entry: ModelEntry
    load: asyncio.Future[None]
    """The load's outcome; it is the pool's own, not that of the request that began it."""
    state: State = State.LOADING
    load_progress: float = 0.0
    fingerprint: str = ""
    worker: WorkerProcess | None = None
    num_leases: int = 0
    names: set[str] = field(default_factory=set)
    """Every name under which the slot was asked for, normalised."""
    released_at: float = field(default_factory=time.monotonic)
    idle_timer: asyncio.TimerHandle | None = None


@dataclass(frozen=True)
class ModelStatus:
    """A model as it stands now."""

    entry: ModelEntry
    state: State
    load_progress: float = 0.0
    num_requests: int = 0
    worker: WorkerProcess | None = None


@dataclass(frozen=True)
class Lease:
    """A request's hold on a loaded model: while it lasts, the model is not unloaded."""

    entry: ModelEntry
    worker: WorkerProcess
    system_fingerprint: str
    waited_seconds: float
    """How long the request waited for the model to be loaded."""


class StartWorker(Protocol):
    """How a model gets its worker; see `WorkerProcess.start`."""

    async def __call__(
        self,
        path: Path,
        settings: ModelSettings,
        chat_template: str | None,
        *,
        on_progress: Callable[[float], None],
        on_end: Callable[[str], None],
    ) -> WorkerProcess: ...


class Pool:
    """Loads models on demand and unloads the least recently used ones."""

    def __init__(
        self,
        resolver: Resolver,
        settings: PoolSettings,
        on_change: Callable[[ModelStatus], None],
        *,
        start_worker: StartWorker = WorkerProcess.start,
    ) -> None:
        """on_change: called on the event loop whenever a model's state has changed."""
        self._resolver = resolver
        self._settings = settings
        self._on_change = on_change
        self._start_worker = start_worker
        self._slots: dict[Path, Slot] = {}
        self._failures: dict[Path, str] = {}
        self._unloads: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @contextlib.asynccontextmanager
    async def lease(self, name: str, timeout_seconds: float | None = None) -> AsyncGenerator[Lease, None]:
        """Hold the model that `name` means, loaded first if need be.

        Raises ServiceError: no such model, it can't be loaded, no room for it, the load takes longer than
        `timeout_seconds`, the pool is closed.
        """
        started = time.monotonic()
        slot = await self._slot(name)
        # Taken before the first await that follows: a model on its way in is leased already.
        slot.num_leases += 1
        try:
            has_to_wait = not slot.load.done()
            worker = await self._loaded(slot, timeout_seconds)
            waited_seconds = time.monotonic() - started if has_to_wait else 0.0
            yield Lease(slot.entry, worker, slot.fingerprint, waited_seconds)
        finally:
            self._release(slot)

    def statuses(self) -> dict[Path, ModelStatus]:
        """The models that are loaded or on their way in, by file."""
        return {path: self._status(slot) for path, slot in self._slots.items()}

    def failure(self, path: Path) -> str | None:
        """Why the last load of this file failed, or its worker died; None where it did not."""
        return self._failures.get(path)

    async def close(self) -> None:
        """Unload everything, leased or not. No lease is given afterwards."""
        self._is_closed = True
        for slot in list(self._slots.values()):
            self._unload(slot)
        await asyncio.gather(*self._unloads)

    async def _slot(self, name: str) -> Slot:
        """The slot of a name: an existing one, or a new one whose load has begun."""
        if self._is_closed:
            raise ServiceError(Condition.NOT_READY, "DRAINING", "the server is shutting down")
        loaded = self._find_loaded(name)
        if loaded is not None:
            return loaded
        # The resolver looks at files: not on the event loop, where it would hold everybody up.
        entry = await asyncio.to_thread(self._resolver.resolve, name)
        if self._is_closed:
            raise ServiceError(Condition.NOT_READY, "DRAINING", "the server is shutting down")
        slot = self._slots.get(entry.path)
        if slot is None:
            leaving = self._make_room()
            slot = self._slots[entry.path] = Slot(entry, asyncio.get_running_loop().create_future())
            slot.load = asyncio.create_task(self._load(slot, leaving), name=f"load {entry.name}")
            slot.load.add_done_callback(_retrieve_exception)
            self._on_change(self._status(slot))
        slot.names.update((entry.name, *entry.aliases))
        if len(slot.names) < MAX_NAMES_KEPT:
            slot.names.add(normalize(name))
        return slot

    def _find_loaded(self, name: str) -> Slot | None:
        wanted = normalize(name)
        for slot in self._slots.values():
            if wanted in slot.names:
                return slot
        return None

    async def _loaded(self, slot: Slot, timeout_seconds: float | None) -> WorkerProcess:
        """The slot's worker, once its model is loaded. Raises ServiceError where the load fails or takes too long.

        A caller that gives up does not end the load that others wait for.
        """
        await asyncio.wait({slot.load}, timeout=timeout_seconds)
        if not slot.load.done():
            raise ServiceError(
                Condition.DEADLINE,
                "DEADLINE_EXCEEDED",
                "the deadline passed while the model was being loaded",
            )
        if slot.load.cancelled() or slot.state in (State.UNLOADING, State.UNLOADED):
            raise ServiceError(Condition.NOT_READY, "DRAINING", "the server is shutting down")
        error = slot.load.exception()
        if isinstance(error, ServiceError):
            # Each waiter raises an error of its own: a shared one would collect everybody's traceback.
            raise dataclasses.replace(error)
        if slot.worker is None:
            raise engine_fault("the model's worker has ended", "WORKER_CRASHED")
        return slot.worker

    async def _load(self, slot: Slot, leaving: set[asyncio.Task[None]]) -> None:
        """Load a slot's model once the workers that make room for it have ended."""
        entry = slot.entry

        def note_progress(share: float) -> None:
            slot.load_progress = share

        if leaving:
            await asyncio.wait(leaving)
        started = time.monotonic()
        try:
            worker = await asyncio.wait_for(
                self._start_worker(
                    entry.path,
                    entry.settings,
                    entry.chat_template,
                    on_progress=note_progress,
                    on_end=lambda cause: self._drop(slot, f"its worker {cause}"),
                ),
                self._settings.load_timeout_seconds,
            )
        except Exception as error:
            cause = error
            if isinstance(error, asyncio.TimeoutError):
                limit = self._settings.load_timeout_seconds
                cause = engine_fault(f"the model was not loaded within {limit:g} s", "MODEL_LOAD_TIMEOUT")
            elif not isinstance(error, ServiceError):
                log.exception("loading %s failed", entry.path)
                cause = engine_fault("the model could not be loaded", "MODEL_LOAD_FAILED")
            log.warning("model %s: %s", entry.name, cause)
            self._drop(slot, str(cause))
            raise cause from None
        if slot.state is State.FAILED:
            return  # the worker ended in the moment in which it was ready
        slot.worker = worker
        if slot.state is not State.LOADING:
            return  # the pool was closed in that moment; the worker is ended with the others
        self._failures.pop(entry.path, None)
        slot.fingerprint = _fingerprint(entry)
        slot.state = State.READY
        slot.load_progress = 1.0
        log.info("model %s is loaded, %.1f s", entry.name, time.monotonic() - started)
        self._on_change(self._status(slot))
        # All who asked for it may have left while it was loaded.
        self._await_idleness(slot)

    def _drop(self, slot: Slot, failure: str) -> None:
        """Forget a slot that failed: the next request for its model begins anew."""
        if self._slots.get(slot.entry.path) is not slot:
            return  # it was on its way out already, and another may be in its place
        del self._slots[slot.entry.path]
        slot.worker = None
        slot.state = State.FAILED
        self._failures[slot.entry.path] = failure
        self._on_change(self._status(slot))

    def _make_room(self) -> set[asyncio.Task[None]]:
        """Unload the least recently used model without a lease where the pool is full.

        Gives what has to end before another model may be loaded: a model on its way out takes up memory still.
        """
        limit = self._settings.max_loaded_models
        if len(self._slots) < limit:
            return set(self._unloads) if len(self._slots) + len(self._unloads) >= limit else set()
        idle = [slot for slot in self._slots.values() if slot.num_leases == 0 and slot.state is State.READY]
        if not idle:
            raise ServiceError(
                Condition.BUSY,
                "ALL_MODELS_BUSY",
                f"{len(self._slots)} models are loaded, as many as may be, and all of them are in use",
            )
        self._unload(min(idle, key=lambda slot: slot.released_at))
        return set(self._unloads)

    def _release(self, slot: Slot) -> None:
        slot.num_leases -= 1
        slot.released_at = time.monotonic()
        self._await_idleness(slot)

    def _await_idleness(self, slot: Slot) -> None:
        """Unload a model that nobody uses after its `keep_alive`, unless somebody does by then."""
        keep_alive = slot.entry.settings.keep_alive
        if slot.num_leases or slot.state is not State.READY or keep_alive is None or keep_alive < 0:
            return
        if slot.idle_timer is not None:
            slot.idle_timer.cancel()
        slot.idle_timer = asyncio.get_running_loop().call_later(keep_alive, self._unload_if_idle, slot)

    def _unload_if_idle(self, slot: Slot) -> None:
        if slot.num_leases == 0 and slot.state is State.READY:
            self._unload(slot)

    def _unload(self, slot: Slot) -> None:
        """Take a slot out of the pool; its worker ends in the background."""
        if self._slots.get(slot.entry.path) is slot:
            del self._slots[slot.entry.path]
        slot.state = State.UNLOADING
        if slot.idle_timer is not None:
            slot.idle_timer.cancel()
        self._on_change(self._status(slot))
        task = asyncio.create_task(self._end_worker(slot), name=f"unload {slot.entry.name}")
        self._unloads.add(task)
        task.add_done_callback(self._unloads.discard)

    async def _end_worker(self, slot: Slot) -> None:
        if not slot.load.done():
            slot.load.cancel()
            await asyncio.wait({slot.load})
        if slot.worker is not None:
            await slot.worker.stop()
        slot.state = State.UNLOADED
        if slot.entry.path not in self._slots:
            self._on_change(self._status(slot))

    def _status(self, slot: Slot) -> ModelStatus:
        return ModelStatus(
            entry=slot.entry,
            state=slot.state,
            load_progress=slot.load_progress,
            num_requests=slot.num_leases,
            worker=slot.worker,
        )


def _fingerprint(entry: ModelEntry) -> str:
    """Changes with whatever can change an answer to the same seed: the file, its settings, the programs."""
    assert entry.metadata is not None  # what `resolve` gives was read just before
    parts = (
        entry.metadata.file_size_bytes,
        entry.metadata.modified_ns,
        entry.settings,
        __version__,
        metadata.version("llama-cpp-python"),
    )
    return "fp_" + hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _retrieve_exception(load: asyncio.Future[None]) -> None:
    """A load may fail after everybody who waited for it has left; asyncio would complain."""
    if not load.cancelled():
        load.exception()
