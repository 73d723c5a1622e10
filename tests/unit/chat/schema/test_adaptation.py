"""Schemas as the grammar compiler takes them, and those that it can't."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llamawire_server.chat.schema.adaptation import adapt, as_written
from llamawire_server.chat.schema.document import Document, Place
from llamawire_server.chat.schema.formats import PATTERNS
from llamawire_server.grammar_errors import GrammarError


def adapted(schema: Any) -> Any:
    copied = json.loads(json.dumps(schema))
    adapt(Document(copied))
    return copied


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "text"}, "/type"),
        ({"type": ["string", "text"]}, "/type"),
        ({"type": []}, "/type"),
        ({"type": 3}, "/type"),
        ({"properties": {"a": {"type": "strnig"}}}, "/properties/a/type"),
        ({"properties": {"a": 3}}, "/properties/a"),
        ({"properties": []}, "/properties"),
        ({"items": "string"}, "/items"),
        ({"items": [{"type": "x"}]}, "/items/0/type"),
        ({"prefixItems": [{}, {"minLength": -1}]}, "/prefixItems/1/minLength"),
        ({"prefixItems": {}}, "/prefixItems"),
        ({"anyOf": []}, "/anyOf"),
        ({"anyOf": [{"not": {}}]}, "/anyOf/0/not"),
        ({"enum": []}, "/enum"),
        ({"enum": "a"}, "/enum"),
        ({"required": "a"}, "/required"),
        ({"required": [1]}, "/required"),
        ({"minimum": "1"}, "/minimum"),
        ({"minimum": True}, "/minimum"),
        ({"multipleOf": 0}, "/multipleOf"),
        ({"maxItems": 1.5}, "/maxItems"),
        ({"pattern": 1}, "/pattern"),
        ({"format": 1}, "/format"),
        ({"format": "regex"}, "/format"),
        ({"$ref": 1}, "/$ref"),
        ({"$ref": "#/$defs/missing"}, "/$ref"),
        ({"properties": {"a": {"items": {"$ref": "https://example.com/x"}}}}, "/properties/a/items/$ref"),
        ({"$ref": "#/components/x", "components": {"x": {"if": {}, "then": {}}}}, "/components/x/if"),
        ({"uniqueItems": True}, "/uniqueItems"),
        ({"uniqueItems": "no"}, "/uniqueItems"),
        ({"contains": {}}, "/contains"),
        ({"dependentRequired": {"a": ["b"]}}, "/dependentRequired"),
        ({"propertyNames": {"maxLength": 3}}, "/propertyNames"),
        ({"unevaluatedProperties": False, "allOf": [{}]}, "/unevaluatedProperties"),
        ({"$dynamicRef": "#a"}, "/$dynamicRef"),
        ({"patternProperties": {"a/b": {"type": "x"}}}, "/patternProperties/a~1b/type"),
        ([], ""),
        ("string", ""),
        (None, ""),
    ],
)
def test_what_can_not_be_enforced_is_refused_with_its_place(schema: Any, place: str) -> None:
    with pytest.raises(GrammarError) as caught:
        adapted(schema)
    assert caught.value.place == place
    assert str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        True,
        False,
        {},
        {"type": ["string", "null"], "enum": ["a", None]},
        {"properties": {"type": {"type": "integer"}, "not": {"const": 1}, "$ref": {"type": "null"}}},
        {"const": {"type": "nonsense", "not": 3}},
        {"enum": [{"$ref": "#/nowhere"}]},
        {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
        {"minimum": 1, "exclusiveMinimum": True},
        {"an-unknown-keyword": {"type": "whatever"}, "nullable": True},
        {"format": "uuid"},
    ],
)
def test_what_can_be_enforced_stays_as_it_is(schema: Any) -> None:
    assert adapted(schema) == schema


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            {
                "title": "A",
                "description": "b",
                "default": 3,
                "examples": [1],
                "deprecated": True,
                "$comment": "x",
            },
            {},
        ),
        ({"uniqueItems": False, "minContains": 2, "then": {}}, {}),
        ({"format": "int32", "type": "integer"}, {"type": "integer"}),
        ({"minItems": 2.0}, {"minItems": 2}),
        ({"type": ["null", "integer", "number"]}, {"type": ["null", "number"]}),
        (
            {
                "unevaluatedProperties": True,
                "unevaluatedItems": {},
                "propertyNames": True,
                "dependencies": {},
            },
            {},
        ),
        (
            {"properties": {"a": {}}, "unevaluatedProperties": False},
            {"properties": {"a": {}}, "additionalProperties": False},
        ),
        (
            {"prefixItems": [{}], "unevaluatedItems": {"type": "null"}},
            {"prefixItems": [{}], "items": {"type": "null"}},
        ),
        ({"$dynamicAnchor": "a"}, {"$anchor": "a"}),
        ({"format": "date", "type": "string"}, {"type": "string", "pattern": PATTERNS["date"]}),
        (
            {"format": "date", "pattern": "^2", "allOf": [{}]},
            {"pattern": "^2", "allOf": [{}, {"pattern": PATTERNS["date"]}]},
        ),
        ({"propertyNames": {"const": "a"}}, {"properties": {"a": True}, "additionalProperties": False}),
        (
            {"propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "null"}},
            {"properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "additionalProperties": False},
        ),
        (
            {"propertyNames": {"pattern": "^x", "type": "string"}},
            {"patternProperties": {"^x": True}, "additionalProperties": False},
        ),
        (
            {"properties": {"title": {"title": "T"}, "description": {}}},
            {"properties": {"title": {}, "description": {}}},
        ),
    ],
)
def test_what_says_nothing_goes_and_the_rest_is_said_in_known_words(schema: Any, expected: Any) -> None:
    assert adapted(schema) == expected


def test_alternatives_that_exclude_each_other_are_any_of_them() -> None:
    one, other = {"type": "string"}, {"type": "null"}
    assert adapted({"type": ["string", "null"], "oneOf": [one, other]}) == {
        "type": ["string", "null"],
        "anyOf": [one, other],
    }
    assert adapted({"oneOf": [one, other], "anyOf": [{}], "allOf": [{}]}) == {
        "allOf": [{}, {"anyOf": [{}]}, {"anyOf": [one, other]}]
    }
    assert adapted({"oneOf": [one, one]}) == {"oneOf": [one, one]}


def test_the_order_of_keywords_stays() -> None:
    """It is that of an object's members."""
    schema = {
        "properties": {"b": {}},
        "oneOf": [{"type": "object"}, {"type": "null"}],
        "required": ["b", "a"],
    }
    assert list(adapted(schema)) == ["properties", "anyOf", "required"]


def test_names_of_members_do_not_multiply_what_is_said_of_them() -> None:
    schema: Any = {"type": "string"}
    for _ in range(8):
        schema = {
            "propertyNames": {"enum": [str(number) for number in range(50)]},
            "additionalProperties": schema,
        }
    with pytest.raises(GrammarError, match="propertyNames"):
        adapted(schema)


@pytest.mark.parametrize(
    ("original", "tokens", "pointer"),
    [
        ({"items": [{"a": 1}]}, ("items", "0", "a"), "/items/0/a"),
        ({"oneOf": [{}]}, ("anyOf", "0"), "/oneOf/0"),
        ({"oneOf": [{}], "anyOf": [{}]}, ("allOf", "1", "anyOf", "0"), ""),
        ({"items": {"format": "date"}}, ("items", "pattern"), "/items/format"),
        ({"items": {"enum": []}}, ("items", "additionalProperties"), "/items"),
        (True, ("items",), ""),
    ],
)
def test_a_place_is_told_as_it_was_written(original: Any, tokens: tuple[str, ...], pointer: str) -> None:
    place = Place()
    for token in tokens:
        place = place / token
    assert as_written(original, place).pointer == pointer
