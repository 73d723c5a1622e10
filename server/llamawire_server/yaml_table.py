"""A mapping of a YAML file, read by a table of its keys."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from llamawire_server.yaml_document import DocumentError, Field, Value, note

MAX_INT32 = 2**31 - 1

Reader: TypeAlias = Callable[[Value], object]
"""Makes a setting of a value; raises `DocumentError` where the value can't be one."""

_LONGEST_KEY = 100  # of those whose neighbours are looked for, which takes the longer the longer they are


@dataclass(frozen=True)
class Table:
    """The keys that a mapping may have."""

    readers: Mapping[str, Reader]
    """What makes a setting of each key's value."""

    also_known: Collection[str] = ()
    """Keys that somebody else reads."""

    takes_null: Collection[str] = ()
    """Keys for which null is a value. Of the others, what is null is left out."""

    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Keys that belong somewhere else, and what a complaint calls the right place."""

    def read(
        self, fields: Iterable[Field], mistakes: list[DocumentError] | None = None
    ) -> list[tuple[Field, object]]:
        """What the keys are set to, in their order.

        mistakes: where unknown keys and unfit values are noted, and then left out; without it, the first is raised.
        """
        found = []
        for entry in fields:
            try:
                if (reader := self._reader(entry)) is not None:
                    found.append((entry, reader(entry.value)))
            except DocumentError as error:
                note(error, mistakes)
        return found

    def _reader(self, entry: Field) -> Reader | None:
        """None where there is nothing to read."""
        if entry.name in self.also_known:
            return None
        reader = self.readers.get(entry.name)
        if reader is None:
            raise entry.key.error(f"is not a key that is known here; {self._hint(entry.name)}")
        if entry.value.kind == "null" and entry.name not in self.takes_null:
            return None
        return reader

    def _hint(self, name: str) -> str:
        known = [*self.readers, *self.also_known]
        wanted = name.strip().lower()
        if wanted in self.elsewhere:
            return f"did you mean {self.elsewhere[wanted]}?"
        if near := closest(wanted, known):
            return f"did you mean '{near}'?"
        if near := closest(wanted, self.elsewhere):
            return f"did you mean {self.elsewhere[near]}?"
        return f"there are: {', '.join(sorted(known))}"


def closest(name: str, known: Iterable[str], similarity: float = 0.6) -> str | None:
    """The name that is most like this one; None where none is like it."""
    near = difflib.get_close_matches(name[:_LONGEST_KEY], list(known), n=1, cutoff=similarity)
    return near[0] if near else None


def integer(low: int, high: int = MAX_INT32) -> Reader:
    """Reads whole numbers in [low, high]."""
    return lambda value: value.integer(low, high)


def number(low: float, high: float) -> Reader:
    """Reads finite numbers in [low, high]."""
    return lambda value: value.number(low, high)


def boolean(value: Value) -> bool:
    """Reads true and false."""
    return value.boolean()
