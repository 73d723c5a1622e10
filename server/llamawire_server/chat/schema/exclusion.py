"""Which schemas exclude each other: no value is valid by both.

`oneOf` asks for exactly one of its schemas to hold, which a grammar can't see to. Where they exclude each other, it
says the same as `anyOf`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llamawire_server.chat.schema.document import Document
from llamawire_server.chat.schema.keywords import TYPES

# Of one document, so that it takes no long time.
_MOST_COMPARISONS = 5_000
_MOST_PARTS = 16
# Schemas can lead to themselves.
_MOST_LEVELS = 8


class Exclusion:
    """Compares the schemas of a document. What it can't tell in time is taken not to hold."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._num_comparisons = 0
        self._summaries: dict[int, _Summary] = {}

    def holds(self, schemas: list[Any]) -> bool:
        """Whether each of them excludes each other one."""
        return all(
            self._excludes(first, second, 0)
            for number, first in enumerate(schemas)
            for second in schemas[number + 1 :]
        )

    def _excludes(self, first: Any, second: Any, level: int) -> bool:
        if first is False or second is False:
            return True
        return any(
            self._contradict(one, other, level) for one in self._parts(first) for other in self._parts(second)
        )

    def _parts(self, schema: Any) -> Iterator[dict[str, Any]]:
        """Schemas that all hold where this one does."""
        waiting, num_parts = [schema], 0
        while waiting and num_parts < _MOST_PARTS:
            part = waiting.pop()
            num_parts += 1
            if not isinstance(part, dict):
                continue
            yield part
            every = part.get("allOf")
            waiting += every[:_MOST_PARTS] if isinstance(every, list) else []
            if isinstance(part.get("$ref"), str):
                try:
                    waiting.append(self._document.resolve(part["$ref"], part).value)
                except LookupError:
                    continue  # whoever comes there complains of it

    def _contradict(self, first: dict[str, Any], second: dict[str, Any], level: int) -> bool:
        self._num_comparisons += 1
        if self._num_comparisons > _MOST_COMPARISONS or level > _MOST_LEVELS:
            return False
        one, other = self._summary(first), self._summary(second)
        if not one.types & other.types:
            return True
        if one.values is not None and other.values is not None and one.values.isdisjoint(other.values):
            return True
        return one.is_object and other.is_object and self._members_exclude(first, second, level)

    def _members_exclude(self, first: dict[str, Any], second: dict[str, Any], level: int) -> bool:
        """Whether an object would have to have something that can't be."""
        for name in self._summary(first).required | self._summary(second).required:
            member, other = _member(first, name), _member(second, name)
            if member is not None and other is not None and self._excludes(member, other, level + 1):
                return True
        return False

    def _summary(self, schema: dict[str, Any]) -> _Summary:
        summary = self._summaries.get(id(schema))
        if summary is None:
            summary = self._summaries[id(schema)] = _summarize(schema)
        return summary


@dataclass(frozen=True)
class _Summary:
    """What a schema says by itself."""

    types: frozenset[str]
    values: frozenset[str] | None
    """The only ones that are valid, as JSON; None where others may be."""
    required: frozenset[str]

    @property
    def is_object(self) -> bool:
        return self.types == {"object"}


def _summarize(schema: dict[str, Any]) -> _Summary:
    literals = [schema["const"]] if "const" in schema else schema.get("enum")
    values = None
    kinds = schema.get("type")
    types = frozenset([kinds] if isinstance(kinds, str) else _strings(kinds)) or TYPES
    if isinstance(literals, list):
        values = frozenset(json.dumps(_plain(value), sort_keys=True) for value in literals)
        if kinds is None:
            types = frozenset(_type(value) for value in literals)
    if "number" in types:
        types |= {"integer"}  # whole numbers are numbers
    return _Summary(types, values, frozenset(_strings(schema.get("required"))))


def _type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "number"


def _member(schema: dict[str, Any], name: str) -> Any:
    """What the schema says of the member; None where it says nothing."""
    named = schema.get("properties")
    if isinstance(named, dict) and name in named:
        return named[name]
    return (
        False if schema.get("additionalProperties") is False and "patternProperties" not in schema else None
    )


def _plain(value: Any) -> Any:
    """1.0 and 1 are one number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
