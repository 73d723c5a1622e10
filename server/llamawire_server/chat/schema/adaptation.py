"""Checks a schema, and puts what the grammar compiler does not know into words that it knows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from llamawire_server.chat.schema.cycles import refuse_cycles
from llamawire_server.chat.schema.depth import Depth
from llamawire_server.chat.schema.document import MAP_KEYWORDS, Document, Found, Place
from llamawire_server.chat.schema.exclusion import Exclusion
from llamawire_server.chat.schema.expense import Expense, refuse_many_expressions
from llamawire_server.chat.schema.formats import spell_out
from llamawire_server.chat.schema.keywords import (
    ANNOTATIONS,
    DEFINITIONS,
    FORMATS,
    LIST_KEYWORDS,
    SCHEMA_KEYWORDS,
    UNSUPPORTED,
    problem,
)
from llamawire_server.chat.schema.names import refuse_uncountable
from llamawire_server.chat.schema.numbers import settle_numbers
from llamawire_server.chat.schema.pattern import to_rust
from llamawire_server.grammar_errors import GrammarError

# Keywords whose members say what the object's or list's own say, as far as they are there.
_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "$ref", "$dynamicRef", "if", "not", "dependentSchemas"})


# What stands for another keyword in the changed document.
_WRITTEN = {
    "anyOf": "oneOf",
    "additionalProperties": "unevaluatedProperties",
    "items": "unevaluatedItems",
    "pattern": "format",
}

# How much is said anew of each name of `propertyNames`, in characters, and of how many.
_MOST_REPEATED = 200
_MOST_NAMES = 1_000


def adapt(document: Document) -> None:
    """Change the document, in place, into one that says the same to the grammar compiler.

    Raises GrammarError, with its place, for what is no schema, leads nowhere, can't be enforced or takes too much.
    """
    exclusion = Exclusion(document)
    expense = Expense()
    waiting = [Found(document.root, Place())]
    seen: dict[int, Found] = {}
    within: dict[int, list[int]] = {}
    targets: dict[int, Any] = {}
    while waiting:
        found = waiting.pop()
        if isinstance(found.value, bool):
            continue
        if not isinstance(found.value, dict):
            raise GrammarError("a schema must be an object, true or false", found.place.pointer)
        if id(found.value) in seen:
            continue
        seen[id(found.value)] = found
        _simplify(found.value)
        _check(found)
        settle_numbers(found)
        refuse_uncountable(found)
        _translate_patterns(found.value)
        spell_out(found.value)
        expense.add(found)
        inner, definitions = _subschemas(found), _definitions(found)
        target = _referred(document, found)
        within[id(found.value)] = [id(each.value) for each in inner]
        if target is not None:
            targets[id(found.value)] = target.value
        # The first place that is wrong is to be told.
        waiting += [*reversed(definitions), *reversed(inner), *([target] if target else [])]
    if isinstance(document.root, bool):
        return
    places = {number: found.place for number, found in seen.items()}
    refuse_cycles(_same(seen.values(), targets), places)
    refuse_many_expressions(targets, seen.values())
    Depth(within, {number: id(target) for number, target in targets.items()}).check(id(document.root), places)
    # What is referred to by its place has to stay there.
    if not any("oneOf" in found.value.get("$ref", "") for found in seen.values()):
        for found in seen.values():
            _settle_alternatives(found.value, exclusion)


def as_written(original: Any, place: Place) -> Place:
    """Where a place of the changed document is in the one that it was made of."""
    tokens: list[str] = []
    while place.parent is not None:
        tokens.append(place.token)
        place = place.parent
    for token in reversed(tokens):
        if isinstance(original, dict):
            token = token if token in original else _WRITTEN.get(token, token)
        try:
            original = original[int(token) if isinstance(original, list) else token]
        except (LookupError, ValueError, TypeError):
            return place  # what is there was not there
        place = place / token
    return place


def _simplify(node: dict[str, Any]) -> None:
    """Leave out what says nothing, and say otherwise what can be said otherwise."""
    for keyword in ANNOTATIONS & node.keys():
        del node[keyword]
    if node.get("uniqueItems") is False:
        del node["uniqueItems"]
    if "contains" not in node:
        node.pop("minContains", None)
        node.pop("maxContains", None)
    if "if" not in node or not {"then", "else"} & node.keys():
        for keyword in ("if", "then", "else"):
            node.pop(keyword, None)
    for keyword in ("dependentRequired", "dependentSchemas", "dependencies"):
        if node.get(keyword) == {}:
            del node[keyword]
    for keyword in ("unevaluatedProperties", "unevaluatedItems"):
        if node.get(keyword) is True or node.get(keyword) == {}:
            del node[keyword]
    _close(node, "unevaluatedProperties", "additionalProperties")
    if "contains" not in node:
        _close(node, "unevaluatedItems", "items")
    _name_members(node)
    for keyword in ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"):
        if isinstance(node.get(keyword), float) and node[keyword].is_integer():
            node[keyword] = int(node[keyword])
    kinds = node.get("type")
    if isinstance(kinds, list) and "number" in kinds and "integer" in kinds:
        node["type"] = [kind for kind in kinds if kind != "integer"]
    name = node.get("format")
    if isinstance(name, str) and name not in FORMATS and not problem("format", name):
        del node["format"]
    if "$dynamicAnchor" in node:
        node.setdefault("$anchor", node.pop("$dynamicAnchor"))


def _close(node: dict[str, Any], keyword: str, plain: str) -> None:
    """`keyword` says what `plain` says where nothing else is said of the members."""
    if keyword in node and plain not in node and not _IN_PLACE & node.keys():
        node[plain] = node.pop(keyword)


def _name_members(node: dict[str, Any]) -> None:
    """Say of what names members may have, in an object that has no others, in terms of the members."""
    names = node.get("propertyNames")
    if names is True or names == {} or names == {"type": "string"}:
        del node["propertyNames"]
        return
    if not isinstance(names, dict) or {"properties", "patternProperties"} & node.keys():
        return
    if "const" in names:
        names = {**names, "enum": [names["const"]]}
        del names["const"]
    said = names.keys() - ANNOTATIONS - {"type"}
    if names.get("type", "string") != "string":
        return
    every = node.get("additionalProperties", True)
    if said == {"enum"} and not problem("enum", names["enum"]) and _is_small(every, names["enum"]):
        node["properties"] = {name: every for name in names["enum"] if isinstance(name, str)}
    elif said == {"pattern"} and isinstance(names["pattern"], str):
        node["patternProperties"] = {names["pattern"]: every}
    else:
        return
    node["additionalProperties"] = False
    del node["propertyNames"]


def _translate_patterns(node: dict[str, Any]) -> None:
    if "pattern" in node:
        node["pattern"] = to_rust(node["pattern"])
    if "patternProperties" not in node:
        return
    translated: dict[str, Any] = {}
    for pattern, schema in node["patternProperties"].items():
        name = to_rust(pattern)
        translated[name] = {"allOf": [translated[name], schema]} if name in translated else schema
    node["patternProperties"] = translated


def _is_small(schema: Any, names: list[Any]) -> bool:
    """Whether the schema can be said of each name without saying too much."""
    text = json.dumps(schema)
    return len(text) <= _MOST_REPEATED and len(names) <= _MOST_NAMES and "propertyNames" not in text


def _check(found: Found) -> None:
    """Raises GrammarError for a keyword that can't be enforced, or whose value is none of its own."""
    for keyword, value in found.value.items():
        if keyword in UNSUPPORTED:
            raise GrammarError(f"{keyword} can't be enforced", (found.place / keyword).pointer)
        if wrong := problem(keyword, value):
            raise GrammarError(wrong, (found.place / keyword).pointer)


def _subschemas(found: Found) -> list[Found]:
    """The schemas in a schema that say something of its value, or of what is in that."""
    node, place = found
    inner: list[Found] = []
    for keyword, value in node.items():
        here = place / keyword
        if keyword in LIST_KEYWORDS or (keyword == "items" and isinstance(value, list)):
            inner += [Found(item, here / number) for number, item in enumerate(value)]
        elif keyword in MAP_KEYWORDS.difference(DEFINITIONS):
            inner += [Found(item, here / name) for name, item in value.items()]
        elif keyword in SCHEMA_KEYWORDS:
            inner.append(Found(value, here))
    return inner


def _definitions(found: Found) -> list[Found]:
    """The schemas in a schema that are there to be referred to."""
    return [
        Found(item, found.place / keyword / name)
        for keyword in DEFINITIONS
        for name, item in found.value.get(keyword, {}).items()
    ]


def _referred(document: Document, found: Found) -> Found | None:
    """What a schema refers to. Raises GrammarError where that leads nowhere."""
    if "$ref" not in found.value:
        return None
    reference = found.value["$ref"]
    try:
        return document.resolve(reference, found.value)
    except LookupError as error:
        raise GrammarError(
            f"the reference {reference[:100]!r} leads nowhere: {error}", (found.place / "$ref").pointer
        ) from None


def _same(schemas: Iterable[Found], targets: Mapping[int, Any]) -> dict[int, list[int]]:
    """Of each schema those that hold for a value where it does, by `allOf` or `$ref`."""
    same: dict[int, list[int]] = {}
    for schema, _ in schemas:
        every = [*schema.get("allOf", ()), targets.get(id(schema))]
        same[id(schema)] = [id(each) for each in every if isinstance(each, dict)]
    return same


def _settle_alternatives(node: dict[str, Any], exclusion: Exclusion) -> None:
    """Where no two of `oneOf` can hold, any of them will do. Otherwise it stays, for the compiler to judge."""
    alternatives = node.get("oneOf")
    if alternatives is None or not exclusion.holds(alternatives):
        return
    # In its place: the order of keywords is that of an object's members.
    settled = {("anyOf" if keyword == "oneOf" else keyword): value for keyword, value in node.items()}
    if "anyOf" in node:
        settled.pop("anyOf")
        every = node.get("allOf", [])
        settled["allOf"] = [*every, {"anyOf": node["anyOf"]}, {"anyOf": alternatives}]
    node.clear()
    node.update(settled)
