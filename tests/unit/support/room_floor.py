"""Room in memory, and what stands in it."""

from __future__ import annotations

from pool_fakes import METADATA, path_of

from llamawire_server.config import ModelSettings
from llamawire_server.errors import ServiceError
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.room import Room
from llamawire_server.pool.slot import Slot, Stage

PASSING_SECONDS = 5.0


def make_slot(name: str, need_bytes: int, *, is_pinned: bool = False) -> Slot:
    """A model that needs so much."""
    entry = ModelEntry(name, (), path_of(name), ModelSettings(pinned=is_pinned), METADATA)
    return Slot(entry, need_bytes)


class Floor:
    """A room, and what stands in it."""

    def __init__(self, budget_bytes: int, max_models: int | None = None) -> None:
        self.room = Room(budget_bytes, max_models, PASSING_SECONDS)
        self._num_uses = 0

    def put(
        self,
        name: str,
        num_bytes: int,
        *,
        stage: Stage = Stage.READY,
        num_leases: int = 0,
        is_pinned: bool = False,
        is_outgoing: bool = False,
        ready_at: float = 0.0,
    ) -> Slot:
        """A model that takes up room; it was used later than those before it."""
        slot = make_slot(name, num_bytes, is_pinned=is_pinned)
        self.room.line_up(slot)
        self.room.take(slot)
        self._num_uses += 1
        slot.stage, slot.num_leases, slot.is_outgoing = stage, num_leases, is_outgoing
        slot.last_use, slot.ready_at = self._num_uses, ready_at
        return slot

    def ask(self, name: str, num_bytes: int, *, is_pinned: bool = False) -> Slot:
        """A model that waits for room."""
        slot = make_slot(name, num_bytes, is_pinned=is_pinned)
        self.room.line_up(slot)
        return slot

    def refused(self, name: str, num_bytes: int) -> ServiceError | None:
        """Why a model that needs so much can never be let in."""
        return self.room.refusal(make_slot(name, num_bytes))
