"""Room in memory: who takes it up, who stands in line for it, and who has to go for whom.

It decides and does nothing: no clock, no tasks, no processes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from llamawire_server.errors import Condition, FieldViolation, ServiceError
from llamawire_server.pool.slot import Slot, Stage

# For so long, requests for a loaded model may pass one that waits for its room.
PASSING_SECONDS = 5.0

# A message names no more models than these.
MAX_NAMED = 5


@dataclass(frozen=True)
class Space:
    """An amount of room; less than nothing where too much is taken."""

    num_bytes: int = 0
    num_models: int = 0

    def __add__(self, other: Space) -> Space:
        return Space(self.num_bytes + other.num_bytes, self.num_models + other.num_models)

    def __sub__(self, other: Space) -> Space:
        return Space(self.num_bytes - other.num_bytes, self.num_models - other.num_models)

    def covers(self, other: Space) -> bool:
        """Whether the other one fits into it."""
        return self.num_bytes >= other.num_bytes and self.num_models >= other.num_models


@dataclass(frozen=True)
class Plan:
    """What is to happen now."""

    hopeless: list[tuple[Slot, ServiceError]] = field(default_factory=list)
    """Those in line that can't ever get room, and why."""

    admitted: list[Slot] = field(default_factory=list)
    """Those in line for whom there is room, first come first served."""

    leaving: list[Slot] = field(default_factory=list)
    """Those that are to go: at once where they are idle, with their last lease otherwise."""

    next_look: float | None = None
    """When to plan again though nothing has happened. None: then there is no need to."""


class Room:
    """The memory budget, and the line of those who wait for a part of it."""

    def __init__(
        self, budget_bytes: int, max_models: int | None, passing_seconds: float = PASSING_SECONDS
    ) -> None:
        self._budget = Space(budget_bytes, sys.maxsize if max_models is None else max_models)
        self._passing_seconds = passing_seconds
        self._held: dict[Slot, int] = {}
        self._line: list[Slot] = []
        self._blocked: Slot | None = None
        """The first in line for whom no room could be made of what was idle."""
        self._blocked_since = 0.0

    @property
    def line(self) -> Sequence[Slot]:
        """Those who wait, first come first."""
        return tuple(self._line)

    @property
    def is_calm(self) -> bool:
        """Whether nobody waits and no more is taken than may be."""
        return not self._line and self._free.covers(Space())

    @property
    def used_bytes(self) -> int:
        """What is taken up, or about to be."""
        return sum(self._held.values())

    @property
    def budget_bytes(self) -> int:
        return self._budget.num_bytes

    def line_up(self, slot: Slot) -> None:
        """Wait at the end of the line."""
        self._line.append(slot)

    def step_out(self, slot: Slot) -> None:
        """Wait no longer."""
        self._line.remove(slot)

    def take(self, slot: Slot) -> None:
        """Take up what the slot needs, coming from the line."""
        self._line.remove(slot)
        self._held[slot] = slot.need_bytes

    def correct(self, slot: Slot, num_bytes: int) -> None:
        """The slot took up another amount than it was to need."""
        self._held[slot] = num_bytes

    def vacate(self, slot: Slot) -> None:
        """Nothing of the slot is in memory any more."""
        del self._held[slot]

    def plan(self, now: float) -> Plan:
        """Who gets room, and who goes to make some. now: by time.monotonic.

        Nobody passes anybody in the line. Where what is idle is not enough, whoever waits lets others pass for a
        while; then those who are busy go too, once they are done.
        """
        hopeless = [(slot, refusal) for slot in self._line if (refusal := self.refusal(slot)) is not None]
        waiting = [slot for slot in self._line if slot not in dict(hopeless)]
        free = self._free
        admitted = []
        for slot in waiting:
            if not free.covers(_need(slot)):
                break
            admitted.append(slot)
            free -= _need(slot)
        # What will be free as soon as those have ended who are about to, without what is promised to others.
        prospect = free + self._space(slot for slot in self._held if slot.stage is Stage.ENDING)
        idle = self._candidates(is_idle=True)
        leaving: list[Slot] = []
        if not prospect.covers(Space()):
            excess = Space() - prospect
            leaving = self._choose(idle, excess) or list(idle)
            prospect += self._space(leaving)
        for slot in waiting[len(admitted) :]:
            idle = [other for other in idle if other not in leaving]
            chosen = self._choose(idle, _need(slot) - prospect)
            if chosen is None:
                self._note_blocked(slot, now)
                busy, next_look = self._take_turns(_need(slot) - prospect, idle, now)
                return Plan(hopeless, admitted, leaving + busy, next_look)
            leaving += chosen
            prospect += self._space(chosen) - _need(slot)
        return Plan(hopeless, admitted, leaving)

    def refusal(self, slot: Slot) -> ServiceError | None:
        """Why there can't ever be room for the slot; None where there can."""
        name, need = slot.entry.name, in_gib(slot.need_bytes)
        budget = in_gib(self.budget_bytes)
        if slot.need_bytes > self.budget_bytes:
            return _too_large(f"model '{name}' needs {need} of memory; the budget for all models is {budget}")
        pinned = [other for other in self._held if other.is_pinned and other.is_loaded]
        if not (self._budget - self._space(pinned)).covers(_need(slot)):
            if len(pinned) >= self._budget.num_models:
                message = f"no other model can be loaded than those that are pinned: {_names(pinned)}"
                return _too_large(message, "ALL_MODELS_PINNED")
            return _too_large(
                f"model '{name}' needs {need} of memory; of the budget of {budget}, "
                f"{in_gib(self._space(pinned).num_bytes)} are kept by pinned models: {_names(pinned)}"
            )
        return None

    def no_room(self, slot: Slot) -> ServiceError:
        """What is said to who waited for room in vain."""
        held = _names(self._held)
        if self._is_short_of_bytes(slot):
            return ServiceError(
                Condition.BUSY,
                "MEMORY_BUDGET_FULL",
                f"there was no room for model '{slot.entry.name}' in time: it needs {in_gib(slot.need_bytes)} of "
                f"memory, and of the budget of {in_gib(self.budget_bytes)}, {in_gib(self.used_bytes)} are in use by "
                f"{held or 'none'}{self._others_before(slot)}",
            )
        return ServiceError(
            Condition.BUSY,
            "ALL_MODELS_BUSY",
            f"there was no room for model '{slot.entry.name}' in time: {len(self._held)} models are loaded, as many "
            f"as may be, and all of them are in use: {held}{self._others_before(slot)}",
        )

    def describe_wait(self, slot: Slot) -> str:
        """What a slot in the line waits for."""
        amount = in_gib(slot.need_bytes) if self._is_short_of_bytes(slot) else "a place"
        ending = [other for other in self._held if other.stage is Stage.ENDING]
        staying = [
            other
            for other in self._held
            if other.stage is not Stage.ENDING and (other.is_pinned or not other.is_idle)
        ]
        for others, what in ((staying, "in use"), (ending, "being unloaded")):
            if others:
                return f"waits for {amount}; {_names(others)} {'is' if len(others) == 1 else 'are'} {what}"
        return f"waits for {amount}"

    @property
    def _free(self) -> Space:
        return self._budget - self._space(self._held)

    def _space(self, slots: Iterable[Slot]) -> Space:
        """What those take up who have room."""
        sizes = [self._held[slot] for slot in slots]
        return Space(sum(sizes), len(sizes))

    def _candidates(self, *, is_idle: bool) -> list[Slot]:
        """Those who may have to go, least recently used first: idle ones, or busy ones."""
        found = [
            slot
            for slot in self._held
            if slot.is_loaded and slot.is_idle == is_idle and not slot.is_outgoing and not slot.is_pinned
        ]
        return sorted(found, key=lambda slot: slot.last_use)

    def _choose(self, candidates: Sequence[Slot], needed: Space) -> list[Slot] | None:
        """As few of them as are enough, the first ones rather than the last; None where all are too few."""
        chosen: list[Slot] = []
        freed = Space()
        for slot in candidates:
            if freed.covers(needed):
                break
            chosen.append(slot)
            freed += self._space([slot])
        if not freed.covers(needed):
            return None
        for slot in reversed(chosen.copy()):
            if (freed - self._space([slot])).covers(needed):
                chosen.remove(slot)
                freed -= self._space([slot])
        return chosen

    def _note_blocked(self, slot: Slot, now: float) -> None:
        if self._blocked is not slot:
            self._blocked, self._blocked_since = slot, now

    def _take_turns(
        self, missing: Space, idle: Sequence[Slot], now: float
    ) -> tuple[list[Slot], float | None]:
        """Who of the busy ones, and of the idle ones, has to go for who is blocked; and when to look again."""
        turn = self._blocked_since + self._passing_seconds
        if now < turn:
            return [], turn
        draining = [slot for slot in self._held if slot.is_outgoing and slot.stage is not Stage.ENDING]
        missing -= self._space(draining)
        busy = self._candidates(is_idle=False)
        # Who was loaded a moment ago keeps its turn too.
        young = [slot for slot in busy if now < slot.ready_at + self._passing_seconds]
        chosen = self._choose([*idle, *(slot for slot in busy if slot not in young)], missing)
        if chosen is not None:
            return chosen, None
        if not young:
            return [], None
        return [], min(slot.ready_at for slot in young) + self._passing_seconds

    def _is_short_of_bytes(self, slot: Slot) -> bool:
        """Whether it is the budget that keeps the slot waiting, and not the number of models."""
        before = self._line[: self._line.index(slot)] if slot in self._line else []
        wanted = slot.need_bytes + sum(other.need_bytes for other in before)
        return self.used_bytes + wanted > self.budget_bytes

    def _others_before(self, slot: Slot) -> str:
        num_others = self._line.index(slot) if slot in self._line else 0
        if not num_others:
            return ""
        return f"; {num_others} other model{'s' if num_others > 1 else ''} waited longer"


def in_gib(num_bytes: int) -> str:
    """An amount of memory, for people."""
    return f"{num_bytes / 2**30:.2f} GiB"


def _need(slot: Slot) -> Space:
    return Space(slot.need_bytes, 1)


def _names(slots: Iterable[Slot]) -> str:
    """The names of models, each once, as a sentence has them."""
    names = list(dict.fromkeys(f"'{slot.entry.name}'" for slot in slots))
    if len(names) > MAX_NAMED:
        names = [*names[: MAX_NAMED - 1], f"{len(names) - MAX_NAMED + 1} others"]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _too_large(message: str, reason: str = "MODEL_TOO_LARGE") -> ServiceError:
    return ServiceError(
        Condition.UNSUPPORTED, reason, message, violations=(FieldViolation("model", message),)
    )
