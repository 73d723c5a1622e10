"""A tool's parameters, for families that write each argument by itself and as plain text: what is meant by a text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn

from llamawire_server.chat.schema.document import Document, Found, Place
from llamawire_server.chat.schema.keywords import TYPES

ASSERTIONS = frozenset(
    {
        *("type", "enum", "const", "$ref", "allOf", "anyOf", "oneOf"),
        *("properties", "required", "additionalProperties", "patternProperties"),
        *(
            "minProperties",
            "maxProperties",
            "items",
            "prefixItems",
            "additionalItems",
            "minItems",
            "maxItems",
        ),
        *("minLength", "maxLength", "pattern", "format"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    }
)
"""Keywords that say which values are valid; all others are remarks, or were refused before."""

# Schemas may lead to each other.
_MOST_STEPS = 8

# What models write that saw Python's words in their prompts.
_WORDS = {"True": "true", "False": "false", "None": "null"}


class Parameters:
    """What a tool's schema says of its arguments."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.document = Document(schema)
        self.object = self._object()
        """The schema of the object that they are, and its place; what leads to it is passed over."""
        self._kinds: dict[int, frozenset[str]] = {}

    def schema(self, name: str) -> Any:
        """What is said of a parameter."""
        properties = self.object.value.get("properties")
        if isinstance(properties, dict) and name in properties:
            return properties[name]
        return self.object.value.get("additionalProperties", True)

    def kinds(self, schema: Any) -> frozenset[str]:
        """Which of JSON's types a schema's values may have; all, where that is not to be told."""
        if schema is False:
            return frozenset()
        if not isinstance(schema, dict):
            return TYPES
        known = self._kinds.get(id(schema))
        if known is None:
            self._kinds[id(schema)] = TYPES  # for what leads back to it
            known = self._kinds[id(schema)] = self._find_kinds(schema)
        return known

    def _find_kinds(self, schema: dict[str, Any]) -> frozenset[str]:
        found = _own_kinds(schema)
        for each in self._holding(schema):
            found &= self.kinds(each)
        for keyword in ("anyOf", "oneOf"):
            alternatives = schema.get(keyword)
            if isinstance(alternatives, list):
                found &= frozenset[str]().union(*map(self.kinds, alternatives))
        return found

    def _holding(self, schema: dict[str, Any]) -> Iterator[Any]:
        """Schemas that hold wherever this one does."""
        every = schema.get("allOf")
        yield from every if isinstance(every, list) else ()
        if isinstance(schema.get("$ref"), str):
            try:
                yield self.document.resolve(schema["$ref"], schema).value
            except LookupError:
                return

    def _object(self) -> Found:
        found = Found(self.document.root, Place())
        for _ in range(_MOST_STEPS):
            node = found.value
            said = node.keys() & ASSERTIONS - {"type"}
            if said == {"$ref"}:
                try:
                    found = self.document.resolve(node["$ref"], node)
                except LookupError:
                    break
            elif said == {"allOf"} and len(node["allOf"]) == 1:
                found = Found(node["allOf"][0], found.place / "allOf" / 0)
            else:
                break
            if not isinstance(found.value, dict):
                return Found({}, found.place)
        return found


def as_json(text: str, kinds: frozenset[str]) -> str:
    """The JSON that an argument's text stands for, whose value may be of these types: what it says as JSON, if that
    may be, and otherwise a string."""
    word = text.strip()
    word = _WORDS.get(word, word)
    try:
        value = json.loads(word, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return quoted(text)
    return word if kinds_of_value(value) & (kinds - {"string"}) or "string" not in kinds else quoted(text)


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


def quoted(text: str) -> str:
    """As a string of JSON."""
    return json.dumps(text, ensure_ascii=False)


def _own_kinds(schema: dict[str, Any]) -> frozenset[str]:
    """By what the schema says itself."""
    said = schema.get("type")
    names = [said] if isinstance(said, str) else said
    kinds = frozenset(names) if isinstance(names, list) else TYPES
    if "number" in kinds:
        kinds |= {"integer"}
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list):
        kinds &= frozenset[str]().union(*map(kinds_of_value, values))
    return kinds


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
