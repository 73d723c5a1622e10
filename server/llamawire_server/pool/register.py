"""Which slots there are: those that names lead to, those on their way out, and what is told about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from llamawire_server.pool.slot import ModelStatus, Slot, Stage, State


class Register:
    """The slots by file: several where a new one is to take the place of those that are still answering."""

    def __init__(self, on_change: Callable[[ModelStatus], None]) -> None:
        self.current: dict[Path, Slot] = {}
        """Those that requests are led to."""
        self.failures: dict[Path, str] = {}
        """Why the last load of a file failed, or its worker died."""
        self._outgoing: dict[Slot, None] = {}
        self._told: dict[Path, ModelStatus] = {}
        self._on_change = on_change

    def all(self) -> list[Slot]:
        """Every slot, those on their way out before the ones in their place."""
        return [*self._outgoing, *self.current.values()]

    def all_of(self, path: Path) -> list[Slot]:
        """A file's slots; whatever is told of the file is told of the last one."""
        return [slot for slot in self.all() if slot.entry.path == path]

    def is_current(self, slot: Slot) -> bool:
        """Whether the slot is the one that requests for its file are led to."""
        return self.current.get(slot.entry.path) is slot

    def add(self, slot: Slot) -> None:
        """Lead requests for its file to this slot."""
        self.current[slot.entry.path] = slot

    def take_out(self, slot: Slot) -> None:
        """Lead nobody to the slot any more; it is there until it is removed."""
        slot.is_outgoing = True
        self._outgoing[slot] = None
        if self.is_current(slot):
            del self.current[slot.entry.path]
            if slot.is_loaded or slot.is_down:
                self.failures.pop(slot.entry.path, None)

    def remove(self, slot: Slot) -> None:
        """Nothing is left of the slot."""
        self._outgoing.pop(slot, None)
        if self.is_current(slot):
            del self.current[slot.entry.path]

    def note_failure(self, slot: Slot, failure: str) -> None:
        """What went wrong with a slot; no news of the file where another one is in its place."""
        if self.is_current(slot):
            self.failures[slot.entry.path] = failure

    def forget_failure(self, slot: Slot) -> None:
        """The slot's model is there."""
        if self.is_current(slot):
            self.failures.pop(slot.entry.path, None)

    def statuses(self) -> dict[Path, ModelStatus]:
        """How the models stand that have a slot, by file."""
        return {slot.entry.path: self._status(slot) for slot in self.all()}

    def tell(self, slot: Slot) -> None:
        """Tell how the slot's file stands now, where that is news."""
        slot.news.ring()
        path = slot.entry.path
        left = self.all_of(path)
        status = self._status(left[-1] if left else slot)
        if not status.is_news_after(self._told.get(path)):
            return
        if left:
            self._told[path] = status
        else:
            self._told.pop(path, None)
        self._on_change(status)

    def _status(self, slot: Slot) -> ModelStatus:
        """The slot as those see it who don't hold on to it."""
        failure = self.failures.get(slot.entry.path, "")
        status = slot.status(failure)
        if slot.stage is Stage.GONE:
            return dataclasses.replace(status, state=State.FAILED if failure else State.UNLOADED)
        return dataclasses.replace(status, state=State.UNLOADING) if slot.is_outgoing else status
