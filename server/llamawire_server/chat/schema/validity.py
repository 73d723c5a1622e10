"""Whether a value is valid by a schema, as far as that can be said at little cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llamawire_server.chat.schema.document import Document
from llamawire_server.chat.schema.keywords import UNSUPPORTED

# Schemas that are looked at for one value: alternatives in alternatives may be many.
_MOST_STEPS = 20_000


class Validity:
    """What the schemas of a document say of values.

    All is by JSON Schema's draft 2020-12, with what is left of draft 4 in `items`. What a string must look like
    (`pattern`, `format`) is not looked at: expressions of callers may take Python for ever. Of a value that depends
    on that, nothing is said.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._num_steps = 0

    def verdict(self, value: Any, schema: Any) -> bool | None:
        """Whether the value, as json.loads gives it, is valid by a schema of the document; None: it is not known."""
        self._num_steps = 0
        try:
            return self._judge(value, schema)
        except RecursionError:
            return None

    def _judge(self, value: Any, schema: Any) -> bool | None:
        self._num_steps += 1
        if isinstance(schema, bool):
            return schema
        if self._num_steps > _MOST_STEPS or not isinstance(schema, dict):
            return None
        return _all(self._parts(value, schema))

    def _parts(self, value: Any, schema: dict[str, Any]) -> Iterator[bool | None]:
        """What the keywords say, one after the other."""
        if UNSUPPORTED & schema.keys():
            yield None
        if "type" in schema:
            said = schema["type"]
            yield bool(kinds_of_value(value).intersection([said] if isinstance(said, str) else said))
        if "const" in schema:
            yield _is_equal(value, schema["const"])
        if "enum" in schema:
            yield any(_is_equal(value, each) for each in schema["enum"])
        if isinstance(value, str):
            yield from _of_string(value, schema)
        elif isinstance(value, dict):
            yield from self._of_object(value, schema)
        elif isinstance(value, list):
            yield from self._of_list(value, schema)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield from _of_number(value, schema)
        yield from self._of_alternatives(value, schema)

    def _of_alternatives(self, value: Any, schema: dict[str, Any]) -> Iterator[bool | None]:
        if "$ref" in schema:
            try:
                target = self._document.resolve(schema["$ref"], schema).value
            except LookupError:
                yield None
            else:
                yield self._judge(value, target)
        for each in schema.get("allOf", ()):
            yield self._judge(value, each)
        if "anyOf" in schema:
            yield _any(self._judge(value, each) for each in schema["anyOf"])
        if "oneOf" in schema:
            verdicts = [self._judge(value, each) for each in schema["oneOf"]]
            if verdicts.count(True) > 1:
                yield False
            else:
                yield None if None in verdicts else True in verdicts

    def _of_object(self, value: dict[str, Any], schema: dict[str, Any]) -> Iterator[bool | None]:
        yield schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value))
        yield value.keys() >= set(schema.get("required", ()))
        listed = schema.get("properties", {})
        for name, each in listed.items():
            if name in value:
                yield self._judge(value[name], each)
        if schema.get("patternProperties"):
            yield None
            return
        for name in value.keys() - listed.keys():
            yield self._judge(value[name], schema.get("additionalProperties", True))

    def _of_list(self, value: list[Any], schema: dict[str, Any]) -> Iterator[bool | None]:
        yield schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        items = schema.get("items", True)
        first = schema.get("prefixItems", [])
        if isinstance(items, list):
            first, items = items, schema.get("additionalItems", True)
        for number, each in enumerate(value):
            yield self._judge(each, first[number] if number < len(first) else items)


def kinds_of_value(value: Any) -> frozenset[str]:
    """The types that a value has: whole numbers are numbers."""
    if value is None:
        return frozenset({"null"})
    if isinstance(value, bool):
        return frozenset({"boolean"})
    if isinstance(value, str):
        return frozenset({"string"})
    if isinstance(value, list):
        return frozenset({"array"})
    if isinstance(value, dict):
        return frozenset({"object"})
    is_whole = isinstance(value, int) or value.is_integer()
    return frozenset({"number", "integer"} if is_whole else {"number"})


def _of_string(value: str, schema: Mapping[str, Any]) -> Iterator[bool | None]:
    yield schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
    if "pattern" in schema or "format" in schema:
        yield None


def _of_number(value: float, schema: Mapping[str, Any]) -> Iterator[bool | None]:
    yield schema.get("minimum", value) <= value <= schema.get("maximum", value)
    low, high = schema.get("exclusiveMinimum", False), schema.get("exclusiveMaximum", False)
    # A truth value is what draft 4 has.
    if low is not False:
        yield value != schema.get("minimum") if low is True else value > low
    if high is not False:
        yield value != schema.get("maximum") if high is True else value < high
    step = schema.get("multipleOf")
    if step is not None:
        yield value % step == 0 if isinstance(value, int) and isinstance(step, int) and step else None


def _is_equal(value: Any, other: Any) -> bool:
    """As JSON: true is no 1, but 1.0 is."""
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_is_equal, value, other))
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(_is_equal(value[key], other[key]) for key in value)
    return bool(value == other)


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    result: bool | None = True
    for verdict in verdicts:
        if verdict is False:
            return False
        if verdict is None:
            result = None
    return result


def _any(verdicts: Iterable[bool | None]) -> bool | None:
    result: bool | None = False
    for verdict in verdicts:
        if verdict:
            return True
        if verdict is None:
            result = None
    return result
