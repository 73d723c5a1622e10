"""What is said of a value's validity, by the standard's own words for it."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.chat.schema.document import Document
from llamawire_server.chat.schema.validity import Validity

NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 8) | st.sampled_from([1.0, 1.5, 2.5, "", "a", "ab", "abc"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)
COUNTS = st.integers(0, 3)
TYPES = ["null", "boolean", "object", "array", "number", "string", "integer"]


def keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    schemas = st.lists(inner, min_size=1, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(TYPES)
            | st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True),
            "const": VALUES,
            "enum": st.lists(VALUES, min_size=1, max_size=3),
            **dict.fromkeys(
                ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), st.integers(-1, 7)
            ),
            "multipleOf": st.integers(1, 3),
            **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), COUNTS),
            **dict.fromkeys(("minProperties", "maxProperties"), COUNTS),
            **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), schemas),
            **dict.fromkeys(("items", "additionalProperties"), inner),
            "properties": st.dictionaries(NAMES, inner, max_size=2),
            "required": st.lists(NAMES, max_size=2),
            "pattern": st.just("^a"),
            "$ref": st.just("#/$defs/a"),
        },
    )


SCHEMAS = st.recursive(st.booleans() | st.just({}), keywords, max_leaves=6)


def verdict(value: Any, schema: Any) -> bool | None:
    return Validity(Document(schema)).verdict(value, schema)


@given(
    schema=SCHEMAS,
    definition=st.booleans() | st.just({"type": "string"}),
    values=st.lists(VALUES, max_size=6),
)
def test_what_is_said_is_true(schema: Any, definition: Any, values: list[Any]) -> None:
    if isinstance(schema, dict):
        schema = {**schema, "$defs": {"a": definition}}
    validator = jsonschema.Draft202012Validator(schema)
    for value in values:
        found = verdict(value, schema)
        assert found is None or found == validator.is_valid(value)


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"type": "integer"}, 1.0, True),
        ({"const": 1}, True, False),
        ({"enum": [[1, {"a": 1}]]}, [1.0, {"a": 1}], True),
        ({"minimum": 5, "exclusiveMinimum": True}, 5, False),
        ({"items": [{"type": "string"}], "additionalItems": False}, ["a", 1], False),
        ({"items": [{"type": "string"}]}, ["a", 1], True),
        ({"pattern": "a"}, 1, True),
        ({"patternProperties": {"a": {}}}, {}, None),
        # Not looked at, or not known.
        ({"pattern": "a"}, "a", None),
        ({"format": "date"}, "a", None),
        ({"multipleOf": 0.01}, 1.01, None),
        ({"not": {"type": "string"}}, 1, None),
        ({"$ref": "#/nowhere"}, 1, None),
        # What is known decides where it can.
        ({"pattern": "a", "maxLength": 1}, "ab", False),
        ({"anyOf": [{"pattern": "a"}, {"maxLength": 1}]}, "a", True),
        ({"oneOf": [{"pattern": "a"}, {"maxLength": 1}]}, "a", None),
    ],
)
def test_what_is_known(schema: Any, value: Any, expected: bool | None) -> None:
    assert verdict(value, schema) is expected


def test_schemas_that_lead_to_each_other_come_to_an_end() -> None:
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}}
    assert verdict(1, loop) is None
    wide = {"$ref": "#/$defs/a", "$defs": {"a": {"oneOf": [{"items": {"$ref": "#/$defs/a"}}] * 4}}}
    value: Any = 1
    for _ in range(30):
        value = [value]
    assert verdict(value, wide) in (None, False)
