"""The life of slots: in line, loaded, started again after a death, on their way out, ended.

All of it happens on one event loop, and every method but `close` acts at once, without an `await`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from llamawire_server.config import ModelSettings, PoolSettings
from llamawire_server.errors import ServiceError, engine_fault
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.footprint import Footprints, fingerprint
from llamawire_server.pool.register import Register
from llamawire_server.pool.room import Room, in_gib
from llamawire_server.pool.slot import Slot, Stage
from llamawire_server.worker.parent.starting import within

if TYPE_CHECKING:
    from llamawire_server.worker.parent.observer import WorkerObserver
    from llamawire_server.worker.parent.supervisor import Supervisor

log = logging.getLogger(__name__)


class StartWorker(Protocol):
    """How a model gets its worker; see `Supervisor.start`."""

    async def __call__(
        self, path: Path, settings: ModelSettings, chat_template: str | None, observer: WorkerObserver
    ) -> Supervisor: ...


class Slots:
    """Every slot that takes up memory, or waits for some."""

    def __init__(
        self,
        settings: PoolSettings,
        start_worker: StartWorker,
        register: Register,
        room: Room,
        footprints: Footprints,
    ) -> None:
        self.room = room
        self.register = register
        self._settings = settings
        self._start_worker = start_worker
        self._footprints = footprints
        self._uses = itertools.count(1)
        self._endings: set[asyncio.Task[None]] = set()
        self._next_look: asyncio.TimerHandle | None = None
        self._is_closed = False

    def add(self, entry: ModelEntry) -> Slot:
        """A new slot, in line or on its way in already. Raises ServiceError where there can't ever be room for it."""
        slot = Slot(entry, self._footprints.of(entry))
        if (refusal := self.room.refusal(slot)) is not None:
            raise refusal
        self.register.add(slot)
        self.room.line_up(slot)
        self.note_use(slot)
        self.arrange()
        return slot

    def note_use(self, slot: Slot) -> None:
        """Somebody takes hold of the slot, or lets go of it."""
        slot.last_use = next(self._uses)

    def note_want(self, slot: Slot) -> None:
        """Somebody was sent away and is to come back when the model is there."""
        seconds = self._settings.abandoned_load_seconds
        slot.wanted_until = time.monotonic() + seconds
        self._set_timer(slot, seconds)

    def note_leaving(self, slot: Slot, *, comes_back: bool) -> None:
        """Somebody lets go of the slot. comes_back: whether its load is to go on for a while with nobody there."""
        self.note_use(slot)
        if slot.is_outgoing:
            if slot.is_idle:
                self.dismiss(slot)
        elif slot.stage is Stage.STARTING and comes_back:
            self._set_timer(slot, self._settings.abandoned_load_seconds)
        elif slot.stage in (Stage.IN_LINE, Stage.STARTING):
            if slot.is_idle and slot.timer is None:
                self._abandon(slot)
        elif slot.is_loaded:
            self.rest(slot)
        self.arrange()

    def rest(self, slot: Slot) -> None:
        """Unload a model that nobody uses after its `keep_alive`, unless somebody does by then."""
        slot.cancel_timer()
        keep_alive = slot.entry.settings.keep_alive
        if not slot.is_idle or slot.is_pinned or keep_alive is None or keep_alive < 0:
            return
        self._set_timer(slot, max(keep_alive, slot.wanted_until - time.monotonic()))

    def arrange(self) -> None:
        """Let in who has room, and let go who stands in somebody's way."""
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
        if self._is_closed or self.room.is_calm:
            return
        plan = self.room.plan(time.monotonic())
        for slot, refusal in plan.hopeless:
            self.dismiss(slot, refusal)
        for slot in plan.leaving:
            self.retire(slot)
        for slot in plan.admitted:
            self._begin(slot)
        for slot in self.room.line:
            slot.detail = self.room.describe_wait(slot)
            self.register.tell(slot)
        if plan.next_look is not None:
            loop = asyncio.get_running_loop()
            delay = max(0.0, plan.next_look - time.monotonic())
            self._next_look = loop.call_later(delay, self.arrange)

    def replace_entry(self, slot: Slot, entry: ModelEntry) -> None:
        """The slot's model is known under other names, or is to be treated otherwise, from now on."""
        slot.entry = entry
        if slot.stage is Stage.IN_LINE:
            slot.need_bytes = self._footprints.of(entry)
        elif slot.is_loaded:
            slot.fingerprint = fingerprint(entry)
            self.rest(slot)
        self.register.tell(slot)

    def retire(self, slot: Slot) -> None:
        """Lead nobody to the slot any more; it ends once nobody uses it."""
        slot.cancel_timer()
        self.register.take_out(slot)
        if slot.is_idle:
            self.dismiss(slot)
        else:
            self.register.tell(slot)

    def dismiss(
        self, slot: Slot, refusal: ServiceError | None = None, error: ServiceError | None = None
    ) -> None:
        """Be done with the slot, whoever uses it: with its place in line at once, with its worker in the background.

        refusal: what those are told who wait for it; error: what the requests end with that it answers.
        """
        if slot.has_ended:
            return
        if slot.stage is Stage.IN_LINE:
            slot.error = refusal
            self.room.step_out(slot)
            self._forget(slot)
            return
        slot.cancel_timer()
        self.register.take_out(slot)
        slot.error = refusal
        slot.detail = ""
        slot.move(Stage.ENDING)
        self.register.tell(slot)
        task = asyncio.create_task(self._end_worker(slot, error), name=f"unload {slot.entry.name}")
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def close(self, refusal: ServiceError, error: ServiceError) -> None:
        """Be done with every slot, for good."""
        self._is_closed = True
        self.arrange()  # cancels its timer
        for slot in self.register.all():
            self.dismiss(slot, refusal, error)
        while self._endings:
            await asyncio.wait(set(self._endings))

    def _begin(self, slot: Slot) -> None:
        self.room.take(slot)
        slot.detail = ""
        slot.move(Stage.STARTING)
        slot.load = asyncio.create_task(self._load(slot), name=f"load {slot.entry.name}")
        self.register.tell(slot)

    async def _load(self, slot: Slot) -> None:
        entry = slot.entry
        started = time.monotonic()
        limit = self._settings.load_timeout_seconds
        start = self._start_worker(entry.path, entry.settings, entry.chat_template, Watch(self, slot))
        try:
            slot.worker = await within(limit, start, lambda worker: worker.stop())
        except asyncio.TimeoutError:
            self._fail(
                slot, engine_fault(f"the model was not loaded within {limit:g} s", "MODEL_LOAD_TIMEOUT")
            )
        except ServiceError as error:
            self._fail(slot, error)
        except Exception:
            log.exception("loading %s failed", entry.path)
            self._fail(slot, engine_fault("the model could not be loaded", "MODEL_LOAD_FAILED"))
        else:
            if slot.stage is not Stage.STARTING:
                return  # it was to be ended in that moment; its worker is ended with it
            if slot.end_cause is not None:
                self._fail(slot, engine_fault(f"the model's worker {slot.end_cause}", "WORKER_CRASHED"))
                return
            log.info("model %s is loaded, %.1f s", entry.name, time.monotonic() - started)
            slot.fingerprint = fingerprint(slot.entry)
            slot.ready_at = time.monotonic()
            self._measure(slot)
            if slot.is_down:
                slot.move(Stage.RESTARTING)  # it died before it was known to be there
                self._settle(slot)
            else:
                self.note_ready(slot)

    def _measure(self, slot: Slot) -> None:
        """Take up what the model really takes."""
        assert slot.worker is not None
        measured = slot.worker.facts.memory_bytes
        if measured <= 0:
            return  # there is no telling on this machine
        self._footprints.note(slot.entry, measured)
        room = self.room
        room.correct(slot, measured)
        if measured > slot.need_bytes and room.used_bytes > room.budget_bytes:
            log.warning(
                "model %s takes %s of memory, more than the %s it was expected to: %s are in use, of %s",
                slot.entry.name,
                in_gib(measured),
                in_gib(slot.need_bytes),
                in_gib(room.used_bytes),
                in_gib(room.budget_bytes),
            )

    def note_progress(self, slot: Slot, share: float) -> None:
        """So much of the slot's model is loaded."""
        if slot.stage not in (Stage.STARTING, Stage.RESTARTING):
            return
        is_news = int(100 * share) != int(100 * slot.load_progress)
        slot.load_progress = share
        if is_news:
            self.register.tell(slot)

    def note_death(self, slot: Slot, cause: str, pause_seconds: float) -> None:
        """The slot's worker is dead, and is going to be started again."""
        slot.is_down = True
        if slot.stage is not Stage.STARTING and not slot.is_loaded:
            return
        slot.load_progress = 0.0
        slot.detail = f"its worker {cause}; it is started again"
        if pause_seconds > 0:
            slot.detail += f" in {pause_seconds:g} s"
        self.register.note_failure(slot, f"its worker {cause}")
        if slot.is_loaded:
            slot.move(Stage.RESTARTING)
            self.register.tell(slot)
            self.arrange()

    def note_memory(self, slot: Slot) -> None:
        """The slot's worker has more in memory than it had, or less."""
        if slot.is_loaded:
            self._measure(slot)
            self.register.tell(slot)
            self.arrange()

    def note_ready(self, slot: Slot) -> None:
        """The slot's model is loaded, or loaded again."""
        slot.is_down = False
        if slot.stage is Stage.STARTING and slot.worker is None:
            return  # it is there again before its load is known to be done
        if slot.stage is not Stage.STARTING and not slot.is_loaded:
            return
        slot.load_progress = 1.0
        slot.detail = ""
        self.register.forget_failure(slot)
        slot.move(Stage.READY)
        self._settle(slot)

    def note_end(self, slot: Slot, cause: str) -> None:
        """The slot's worker is dead, and is given up."""
        slot.end_cause = cause
        if not slot.is_loaded:
            return
        self._fail(slot, engine_fault(f"the model's worker {cause}", "WORKER_CRASHED"), f"its worker {cause}")

    def _settle(self, slot: Slot) -> None:
        """The model is there: all who asked for it may have left, and it may take up another amount of room."""
        self.register.tell(slot)
        self.rest(slot)
        self.arrange()

    def _fail(self, slot: Slot, error: ServiceError, failure: str | None = None) -> None:
        """Forget a slot whose load failed, or whose worker was given up: the next request begins anew."""
        if slot.stage is Stage.ENDING:
            return
        log.warning("model %s: %s", slot.entry.name, error)
        slot.error = error
        slot.worker = None
        self.register.note_failure(slot, failure or str(error))
        self._forget(slot)
        self.arrange()

    async def _end_worker(self, slot: Slot, error: ServiceError | None) -> None:
        try:
            if slot.load is not None and not slot.load.done():
                slot.load.cancel()
                await asyncio.wait({slot.load})
            if slot.worker is not None:
                await slot.worker.stop(error)
        except Exception:
            log.exception("the worker of %s did not end as it should", slot.entry.name)
        self._forget(slot)
        self.arrange()

    def _forget(self, slot: Slot) -> None:
        """Nothing is left of the slot."""
        slot.cancel_timer()
        self.register.remove(slot)
        if slot.stage is not Stage.IN_LINE:
            self.room.vacate(slot)
        slot.worker = None
        slot.detail = ""
        slot.move(Stage.GONE)
        self.register.tell(slot)

    def _abandon(self, slot: Slot) -> None:
        if slot.stage is Stage.STARTING:
            log.info("the load of model %s is given up: nobody waits for it any more", slot.entry.name)
        self.dismiss(slot)

    def _set_timer(self, slot: Slot, seconds: float) -> None:
        slot.cancel_timer()
        slot.timer = asyncio.get_running_loop().call_later(seconds, self._note_timer, slot)

    def _note_timer(self, slot: Slot) -> None:
        slot.timer = None
        if slot.is_idle and slot.is_loaded:
            self.dismiss(slot)
        elif slot.is_idle:
            self._abandon(slot)
        self.arrange()


class Watch:
    """Tells the slots what becomes of one of their workers."""

    def __init__(self, slots: Slots, slot: Slot) -> None:
        self._slots = slots
        self._slot = slot

    def note_progress(self, share: float) -> None:
        self._slots.note_progress(self._slot, share)

    def note_death(self, cause: str, pause_seconds: float) -> None:
        self._slots.note_death(self._slot, cause, pause_seconds)

    def note_memory(self, memory_bytes: int) -> None:
        self._slots.note_memory(self._slot)

    def note_ready(self) -> None:
        self._slots.note_ready(self._slot)

    def note_end(self, cause: str) -> None:
        self._slots.note_end(self._slot, cause)
