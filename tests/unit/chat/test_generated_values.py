"""Whatever is chosen of what may come, it comes out valid by the schema: an independent validator says so."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
from matching import matcher

from llamawire_server.chat.grammar import Grammar, to_lark

END = 261
"""Of the matcher's tokenizer, whose tokens are the bytes."""

SCHEMAS: list[Any] = [
    {"type": "object"},
    {"type": "string", "minLength": 2, "maxLength": 5},
    {"type": "string", "pattern": "^[a-f]{2}-\\d+$"},
    {"type": "string", "pattern": "b.d", "maxLength": 6},
    {"type": "string", "pattern": '^é?[^"\\\\]{1,3}$'},
    {"type": "string", "pattern": '^(?:[^-"]|\\\\"){1,4}$'},
    {
        "type": "object",
        "patternProperties": {'^[^"a-z]{1,2}$': {"type": "null"}},
        "additionalProperties": False,
    },
    {"type": "integer", "minimum": -17, "exclusiveMaximum": 230},
    {"type": "number", "exclusiveMinimum": -1.5, "maximum": 2.25},
    {"type": "number", "multipleOf": 0.25, "minimum": 0, "maximum": 9},
    {"type": "integer", "multipleOf": 7},
    {"type": ["string", "null", "boolean"], "maxLength": 3},
    {"enum": ["a", 1, 2.5, None, True, {"x": [1, "é\n"]}]},
    {"const": {"b": 1, "a": ["\u2028", '"\\']}},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    {
        "type": "array",
        "prefixItems": [{"type": "integer"}, {"type": "string", "maxLength": 2}],
        "items": False,
    },
    {"type": "array", "prefixItems": [{"const": 1}], "items": {"type": "null"}, "minItems": 2, "maxItems": 3},
    {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "string", "maxLength": 3},
            "c": {"type": "null"},
        },
        "required": ["b"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {"a": True},
        "additionalProperties": {"type": "integer"},
        "required": ["z"],
    },
    {"type": "object", "patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": False},
    {
        "type": "object",
        "propertyNames": {"enum": ["up", "down"]},
        "additionalProperties": {"type": "boolean"},
    },
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "maxProperties": 1},
    {"anyOf": [{"type": "string", "maxLength": 2}, {"type": "integer", "minimum": 10}]},
    {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 9}], "multipleOf": 3},
    {"allOf": [{"required": ["a"]}, {"properties": {"a": {"type": "integer"}}}], "type": "object"},
    {"oneOf": [{"type": "integer"}, {"type": "string", "pattern": "^x{1,3}$"}]},
    {
        "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
        "$defs": {
            "Cat": {
                "type": "object",
                "properties": {
                    "kind": {"const": "cat"},
                    "lives": {"type": "integer", "minimum": 1, "maximum": 9},
                },
                "required": ["kind", "lives"],
                "additionalProperties": False,
            },
            "Dog": {"type": "object", "properties": {"kind": {"enum": ["dog"]}}, "required": ["kind"]},
        },
    },
    {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer", "maximum": 99, "minimum": 0},
                    "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/tree"}]},
                },
                "required": ["value", "next"],
                "additionalProperties": False,
            }
        },
    },
    *(
        {"type": "string", "format": name}
        for name in (
            *("date", "date-time", "time", "duration", "email", "ipv4", "ipv6", "uuid"),
            *("hostname", "uri", "json-pointer", "relative-json-pointer"),
        )
    ),
    {"type": "object", "properties": {"a": {"type": "integer"}}, "unevaluatedProperties": False},
    {"type": "string", "format": "date", "pattern": "^2"},
]

# So that values come to their ends.
LIKELY = {ord(character): 40.0 for character in '"}],:'} | {END: 100.0}
CHECKED_FORMATS = jsonschema.FormatChecker(["date", "email", "ipv4", "ipv6", "uuid"])


def spelt(lark: str, generator: random.Random, longest: int = 400) -> str | None:
    """A text that the grammar allows, chosen by chance; None where it does not come to its end."""
    state = matcher(lark)
    text = bytearray()
    while len(text) < longest:
        mask = state.compute_bitmask()
        allowed = [token for token in (*range(256), END) if mask[token // 8] >> (token % 8) & 1]
        token = generator.choices(allowed, [LIKELY.get(token, 1.0) for token in allowed])[0]
        if token == END:
            return text.decode()
        text.append(token)
        assert state.consume_token(token)
    return None


@pytest.mark.parametrize("schema", SCHEMAS, ids=[json.dumps(schema)[:50] for schema in SCHEMAS])
def test_what_comes_is_valid(schema: Any) -> None:
    lark = to_lark(Grammar("json_schema", json.dumps(schema)))
    validator = jsonschema.Draft202012Validator(schema, format_checker=CHECKED_FORMATS)
    texts = [spelt(lark, random.Random(seed)) for seed in range(25)]
    whole = [text for text in texts if text is not None]
    assert whole, "some come to their ends"
    for text in whole:
        validator.validate(json.loads(text))
