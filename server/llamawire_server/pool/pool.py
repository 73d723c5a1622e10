"""The pool: names of models, the slots that they lead to, and the leases on them.

Everything here runs on one event loop, and a slot is looked up and put in place without an `await` between the
two: that is the lock. Many requests for a cold model find the same slot and wait for the same load, which belongs
to the pool and not to whoever asked first; a load of one model never holds up a request for another.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from llamawire_server.config import PoolSettings
from llamawire_server.errors import Condition, ServiceError, engine_fault, model_not_found
from llamawire_server.models.names import normalize
from llamawire_server.models.resolver import ModelEntry, Resolver
from llamawire_server.pool.footprint import Footprints, estimate_entry, load_key
from llamawire_server.pool.register import Register
from llamawire_server.pool.room import PASSING_SECONDS, Room
from llamawire_server.pool.slot import Bell, Lease, ModelStatus, Slot, Stage, State
from llamawire_server.pool.slots import Slots, StartWorker

__all__ = ["Pool", "Lease", "ModelStatus", "State", "StartWorker"]

# A name with a tag leads to the model without it, whatever the tag: callers may make up any number of them. Those
# beyond these many are resolved each time.
MAX_NAMES_KEPT = 64

# An answer that is to be seen has to leave before the caller's own clock ends the call: by so much of the time that
# the caller gave, or so many seconds at the most.
MARGIN_SHARE = 0.1
MAX_MARGIN_SECONDS = 0.25


class Pool:
    """Loads models on demand, within a memory budget."""

    def __init__(
        self,
        resolver: Resolver,
        settings: PoolSettings,
        on_change: Callable[[ModelStatus], None],
        *,
        start_worker: StartWorker,
        budget_bytes: int,
        estimate: Callable[[ModelEntry], int] = estimate_entry,
        passing_seconds: float = PASSING_SECONDS,
    ) -> None:
        """on_change: called on the event loop whenever a model stands otherwise. estimate: bytes that a load takes.

        passing_seconds: for how long requests for a loaded model may pass one that waits for room.
        """
        self._resolver = resolver
        self._settings = settings
        self._footprints = Footprints(estimate)
        self._register = Register(on_change)
        room = Room(budget_bytes, settings.max_loaded_models, passing_seconds)
        self._slots = Slots(settings, start_worker, self._register, room, self._footprints)
        self._known: dict[Path, ModelEntry] | None = None
        self._num_renewals = 0
        self._is_closed = False

    @contextlib.asynccontextmanager
    async def lease(
        self, name: str, timeout_seconds: float | None = None, *, wait: bool = True
    ) -> AsyncGenerator[Lease, None]:
        """Hold the model that `name` means, loaded first if need be.

        Not to `wait` means to be sent away where it is not loaded, which then begins. Raises ServiceError: no such
        model, it can't be loaded, too many requests are there, no room for it in time or ever, the load takes longer
        than `timeout_seconds`, the pool is closed.
        """
        started = time.monotonic()
        patience = Patience.of(timeout_seconds, self._settings.room_timeout_seconds)
        slot = await self._slot(name)
        if not wait and slot.stage is not Stage.READY:
            raise self._send_away(slot)
        self._check_queue(slot)
        # Taken before the first await that follows: a model on its way in is leased already.
        self._enter(slot)
        slot.num_leases += 1
        place = slot.num_leases
        ready_at: float | None = None
        try:
            has_to_wait = slot.stage is not Stage.READY
            while slot.stage is not Stage.READY:
                await self._wait(slot, slot.moves, patience)
            assert slot.worker is not None
            slot.wanted_until = 0.0
            ready_at = time.monotonic()
            waited_seconds = ready_at - started if has_to_wait else 0.0
            yield Lease(slot.entry, slot.worker, slot.fingerprint, waited_seconds)
        finally:
            if ready_at is not None:
                held_seconds = time.monotonic() - ready_at
                slot.turnover.note(held_seconds, place, slot.entry.settings.parallel)
            slot.num_leases -= 1
            self._slots.note_leaving(slot, comes_back=True)

    async def load(
        self, name: str, timeout_seconds: float | None = None
    ) -> AsyncGenerator[ModelStatus, None]:
        """Load the model that `name` means; gives how it stands at every change, READY as the last.

        A slow reader gets the latest. Who leaves before does not wait for it any more. Raises ServiceError as
        `lease` does.
        """
        patience = Patience.of(timeout_seconds, self._settings.room_timeout_seconds)
        slot = await self._slot(name)
        self._enter(slot)
        slot.num_loaders += 1
        try:
            last: ModelStatus | None = None
            while last is None or last.state is not State.READY:
                status = slot.status()
                if not slot.has_ended and status.is_news_after(last):
                    last = status
                    yield status
                else:
                    await self._wait(slot, slot.news, patience)
        finally:
            slot.num_loaders -= 1
            self._slots.note_leaving(slot, comes_back=False)

    async def unload(
        self, name: str, *, cancel_running: bool = False, timeout_seconds: float | None = None
    ) -> ModelEntry:
        """Take the model that `name` means out of memory, once the requests that it answers are done.

        cancel_running: end them instead. A load in progress is cancelled; a model that is not loaded stays so. Raises
        ServiceError: no such model; DEADLINE where it takes longer than `timeout_seconds`, and goes on.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        found = self._find_loaded(name)
        entry = found.entry if found else await asyncio.to_thread(self._resolver.resolve, name)
        leaving = self._register.all_of(entry.path)
        for slot in leaving:
            if cancel_running or slot.stage in (Stage.IN_LINE, Stage.STARTING):
                self._slots.dismiss(slot, _UNLOADED_BEFORE, _UNLOADED_WHILE)
            elif slot.is_loaded:
                self._slots.retire(slot)
        # Who is behind them in the line may have its turn now.
        self._slots.arrange()
        for slot in leaving:
            while slot.stage is not Stage.GONE:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not await slot.moves.wait(left):
                    raise ServiceError(
                        Condition.DEADLINE,
                        "DEADLINE_EXCEEDED",
                        f"the deadline passed while model '{entry.name}' was being unloaded; that goes on",
                    )
        return entry

    def renew(self, entries: Iterable[ModelEntry]) -> None:
        """What could be named now. A loaded model whose file or settings changed is replaced for new requests.

        Those that it is answering end on it first. One whose file can't be read just now stays.
        """
        known = {entry.path: entry for entry in entries}
        has_changed = known != self._known
        self._known = known
        if self._is_closed:
            return
        if has_changed:
            # What was resolved before may lead elsewhere now.
            self._num_renewals += 1
        for slot in list(self._register.current.values()):
            self._renew(slot, known.get(slot.entry.path))
            if has_changed:
                slot.names = {slot.entry.name, *slot.entry.aliases}
        self._slots.arrange()

    def statuses(self) -> dict[Path, ModelStatus]:
        """The models that are loaded, or on their way in or out, by file."""
        return self._register.statuses()

    def failure(self, path: Path) -> str | None:
        """Why the last load of this file failed, or its worker died; None where it did not."""
        return self._register.failures.get(path)

    def memory_bytes(self, entry: ModelEntry) -> int:
        """What the model takes up in memory: as measured when it was loaded, else as estimated."""
        return self._footprints.of(entry)

    async def close(self) -> None:
        """Unload everything, leased or not. No lease is given afterwards."""
        self._is_closed = True
        error = ServiceError(
            Condition.ENGINE, "SERVER_STOPPED", "the server was stopped before the answer was finished"
        )
        await self._slots.close(_draining(), error)

    async def _slot(self, name: str) -> Slot:
        """The slot of a name: an existing one, or a new one, in line or on its way in already."""
        while True:
            if self._is_closed:
                raise _draining()
            loaded = self._find_loaded(name)
            if loaded is not None:
                return loaded
            num_renewals = self._num_renewals
            # The resolver looks at files: not on the event loop, where it would hold everybody up.
            entry = await asyncio.to_thread(self._resolver.resolve, name)
            if num_renewals == self._num_renewals:
                break
        if self._is_closed:
            raise _draining()
        slot = self._register.current.get(entry.path)
        if slot is None:
            self._check_line()
            slot = self._slots.add(entry)
        slot.names.update((entry.name, *entry.aliases))
        if len(slot.names) < MAX_NAMES_KEPT:
            slot.names.add(normalize(name))
        return slot

    def _find_loaded(self, name: str) -> Slot | None:
        wanted = normalize(name)
        for slot in self._register.current.values():
            if wanted in slot.names:
                return slot
        return None

    def _enter(self, slot: Slot) -> None:
        """Before a caller takes hold of a slot. Raises ServiceError where too many wait in line."""
        if slot.stage is Stage.IN_LINE:
            self._check_line()
        self._slots.note_use(slot)

    def _check_queue(self, slot: Slot) -> None:
        """A model's requests are bounded while it is loaded or started again, too. Raises ServiceError."""
        parallel, max_queued = slot.entry.settings.parallel, self._settings.max_queued_requests
        if slot.num_leases < parallel + max_queued:
            return
        # Not the next place alone: many may have been sent away. Half of the line has room for half as many again.
        num_leaving = slot.num_leases - parallel - max_queued // 2
        raise ServiceError(
            Condition.BUSY,
            "QUEUE_FULL",
            f"{slot.num_leases} requests wait at model '{slot.entry.name}', as many as may",
            retry_seconds=slot.turnover.seconds_until(max(1, num_leaving), parallel),
        )

    def _check_line(self) -> None:
        """Nobody gets past who is in line: who comes while it is full would only make it longer."""
        num_waiting = sum(slot.num_leases + slot.num_loaders for slot in self._slots.room.line)
        if num_waiting >= max(1, self._settings.max_queued_requests):
            raise ServiceError(
                Condition.BUSY,
                "QUEUE_FULL",
                f"{num_waiting} requests wait for room in memory, as many as may",
            )

    async def _wait(self, slot: Slot, bell: Bell, patience: Patience) -> None:
        """Until the bell rings. Raises ServiceError where the slot has ended, or it takes too long."""
        if slot.has_ended:
            raise _refusal(slot)
        if slot.stage is Stage.IN_LINE:
            if not await bell.wait(patience.left_for_room()):
                raise self._slots.room.no_room(slot)
        elif not await bell.wait(patience.left()):
            raise ServiceError(
                Condition.DEADLINE,
                "DEADLINE_EXCEEDED",
                "the deadline passed while the model was being loaded",
            )

    def _send_away(self, slot: Slot) -> ServiceError:
        """What is said to who does not wait for a load; it goes on for a while."""
        if slot.stage in (Stage.IN_LINE, Stage.STARTING):
            self._slots.note_want(slot)
        message = f"model '{slot.entry.name}' is being loaded"
        if failure := self.failure(slot.entry.path):
            message += f"; before that, this went wrong: {failure}"
        return ServiceError(Condition.NOT_READY, "MODEL_LOADING", message)

    def _renew(self, slot: Slot, entry: ModelEntry | None) -> None:
        """Let a slot follow its entry; None: nothing leads to its file any more."""
        if entry is None:
            if slot.stage is Stage.IN_LINE:
                self._slots.dismiss(slot, model_not_found(slot.entry.name))
            else:
                self._slots.retire(slot)
            return
        if not entry.is_readable:
            entry = dataclasses.replace(slot.entry, name=entry.name, aliases=entry.aliases)
        if entry == slot.entry:
            return
        if slot.stage is Stage.IN_LINE or load_key(entry) == load_key(slot.entry):
            self._slots.replace_entry(slot, entry)
        else:
            self._slots.retire(slot)


@dataclass(frozen=True)
class Patience:
    """Until when a caller waits, by time.monotonic."""

    deadline: float | None
    room_deadline: float
    """When to tell who is still in line that there is no room, so early that this is heard."""

    @classmethod
    def of(cls, timeout_seconds: float | None, room_timeout_seconds: float) -> Patience:
        """That of a caller who comes now."""
        now = time.monotonic()
        if timeout_seconds is None:
            return cls(None, now + room_timeout_seconds)
        margin = min(MAX_MARGIN_SECONDS, MARGIN_SHARE * timeout_seconds)
        return cls(now + timeout_seconds, now + min(room_timeout_seconds, timeout_seconds - margin))

    def left(self) -> float | None:
        """Seconds until the deadline; None where there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def left_for_room(self) -> float:
        """Seconds for which there is a point in standing in line."""
        return max(0.0, self.room_deadline - time.monotonic())


def _refusal(slot: Slot) -> ServiceError:
    """What is said to who waited for a slot that has ended."""
    # Each waiter raises an error of its own: a shared one would collect everybody's traceback.
    return dataclasses.replace(slot.error or engine_fault("the model's worker has ended", "WORKER_CRASHED"))


def _draining() -> ServiceError:
    return ServiceError(Condition.NOT_READY, "DRAINING", "the server is shutting down")


# What those are told who wait for a model that is unloaded, and those whose requests it was answering.
_UNLOADED_BEFORE = ServiceError(
    Condition.NOT_READY, "MODEL_UNLOADED", "the model was unloaded before it was loaded"
)
_UNLOADED_WHILE = ServiceError(
    Condition.CANCELLED, "MODEL_UNLOADED", "the model was unloaded before the answer was finished"
)
