"""A tool's parameters, for families that write each argument by itself and as plain text: what is meant by a text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from llamawire_server.chat.schema.document import Document, Found, Place
from llamawire_server.chat.schema.keywords import TYPES
from llamawire_server.chat.schema.validity import Validity, kinds_of_value
from llamawire_server.chat.tools.json_scanner import JsonScanner

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
        self._validity = Validity(self.document)

    def schema(self, name: str) -> Any:
        """What is said of a parameter."""
        properties = self.object.value.get("properties")
        if isinstance(properties, dict) and name in properties:
            return properties[name]
        return self.object.value.get("additionalProperties", True)

    def as_json(self, text: str, schema: Any) -> str:
        """The JSON that the text of an argument stands for, of which the schema is what is said."""
        return as_json(text, self.kinds(schema), lambda value: self._validity.verdict(value, schema))

    def is_begun(self, text: str, schema: Any) -> bool:
        """Whether the text of an argument can only be the beginning of a list or an object: what ends a value may
        come in a string in it."""
        body = text.lstrip()
        is_open = body.startswith(("{", "[")) and JsonScanner().feed(body, 0) is None
        return is_open and self._validity.verdict(text, schema) is False

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


def as_json(text: str, kinds: frozenset[str], verdict: Callable[[Any], bool | None]) -> str:
    """The JSON that an argument's text stands for, whose value may be of these types.

    It is what the text says as JSON, if that may be, and otherwise a string. Where both may be by their types, it is
    the one that is valid, as far as that is known. verdict: whether a value is valid; None: that is not known.
    """
    word = text.strip()
    word = _WORDS.get(word, word)
    try:
        value = json.loads(word, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return quoted(text)
    if "string" not in kinds:
        return word
    if not kinds_of_value(value) & (kinds - {"string"}):
        return quoted(text)
    is_valid = verdict(value)
    if is_valid:
        return word
    is_text = verdict(text)
    return quoted(text) if is_text or (is_valid is False and is_text is None) else word


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
