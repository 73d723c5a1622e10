"""JSON Schemas of Python's types."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Optional, TypedDict, Union

import pytest

from llamawire import schema_of


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Pet:
    name: str
    color: Color
    age: Annotated[int, "In years."] = 0
    toys: list[str] = field(default_factory=list)


class Address(TypedDict):
    street: str


class Partial(Address, total=False):
    number: int


@dataclass
class Node:
    value: int
    children: list[Node]


PET = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "color": {"enum": ["red", "blue"]},
        "age": {"type": "integer", "description": "In years."},
        "toys": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "color"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (str, {"type": "string"}),
        (bool, {"type": "boolean"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (None, {"type": "null"}),
        (Any, {}),
        (dict, {"type": "object"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (Sequence[str], {"type": "array", "items": {"type": "string"}}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "items": False,
                "minItems": 2,
            },
        ),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Literal["a", 1, None], {"enum": ["a", 1, None]}),
        (Color, {"enum": ["red", "blue"]}),
        (Union[int, str], {"anyOf": [{"type": "integer"}, {"type": "string"}]}),  # noqa: UP007
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (Annotated[str, 5, "A city."], {"type": "string", "description": "A city."}),
        (Pet, PET),
        (list[Pet], {"type": "array", "items": PET}),
        (
            Partial,
            {
                "type": "object",
                "properties": {"street": {"type": "string"}, "number": {"type": "integer"}},
                "required": ["street"],
                "additionalProperties": False,
            },
        ),
        ({"type": "string", "pattern": "a"}, {"type": "string", "pattern": "a"}),
    ],
    ids=str,
)
def test_the_schema_of_a_type(kind, schema):
    assert schema_of(kind) == schema


def test_a_type_that_is_made_of_itself_is_defined_once():
    assert schema_of(Node) == {
        "$ref": "#/$defs/Node",
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                },
                "required": ["value", "children"],
                "additionalProperties": False,
            }
        },
    }


def test_what_has_a_schema_of_its_own_is_asked():
    class Own:
        @classmethod
        def model_json_schema(cls):
            return {"type": "string"}

    assert schema_of(Own) == {"type": "string"}


@pytest.mark.parametrize("kind", [set, bytes, dict[int, str], object(), "str", complex])
def test_for_others_there_is_none(kind):
    with pytest.raises(TypeError):
        schema_of(kind)
