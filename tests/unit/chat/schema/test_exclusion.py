"""Which schemas no value is valid by both of."""

from __future__ import annotations

from typing import Any

import pytest

from llamawire_server.chat.schema.document import Document
from llamawire_server.chat.schema.exclusion import Exclusion


def tagged(value: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"kind": {"const": value}, **more}, "required": ["kind"]}


DEFS: dict[str, Any] = {
    "cat": tagged("cat", name={"type": "string"}),
    "dog": tagged("dog"),
    "both": {"allOf": [{"$ref": "#/$defs/dog"}, {"properties": {"age": {"type": "integer"}}}]},
    "loop": {"type": "object", "properties": {"next": {"$ref": "#/$defs/loop"}}, "required": ["next"]},
    "pool": {"type": "object", "properties": {"next": {"$ref": "#/$defs/pool"}}, "required": ["next"]},
    "missing": {"$ref": "#/nowhere"},
}


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


@pytest.mark.parametrize(
    ("schemas", "expected"),
    [
        ([{"type": "string"}, {"type": "number"}, {"type": ["null", "boolean"]}], True),
        ([{"type": "integer"}, {"type": "number"}], False),
        ([{"type": "integer"}, {"const": 1}], False),
        ([{"const": 1}, {"const": 2}], True),
        ([{"const": 1}, {"const": 1.0}], False),
        ([{"const": True}, {"const": 1}], True),
        ([{"enum": ["a", "b"]}, {"enum": ["c"]}], True),
        ([{"enum": ["a", "b"]}, {"enum": ["c", "b"]}], False),
        ([{"const": {"a": 1}}, {"const": {"a": 1.0}}], False),
        ([{"type": "string", "minLength": 3}, {"type": "string", "maxLength": 2}], False),
        ([tagged("a"), tagged("b"), tagged("c")], True),
        ([tagged("a"), tagged("b"), tagged("a")], False),
        ([{**tagged("a"), "required": []}, {**tagged("b"), "required": []}], False),
        ([tagged("a"), {**tagged("b"), "required": []}], True),
        (
            [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"properties": {"a": {"const": 2}}}],
            False,
        ),
        ([tagged("a"), {"type": "object", "additionalProperties": False}], True),
        (
            [tagged("a"), {"type": "object", "additionalProperties": False, "patternProperties": {"k": {}}}],
            False,
        ),
        ([ref("cat"), ref("dog")], True),
        ([ref("cat"), ref("both")], True),
        ([ref("dog"), ref("both")], False),
        ([ref("loop"), ref("pool")], False),
        ([ref("missing"), ref("dog")], False),
        ([{"type": "string"}, False], True),
        ([{"type": "string"}, True], False),
        ([{"type": "string"}], True),
        ([{}, {}], False),
    ],
)
def test_schemas_exclude_each_other_where_that_can_be_told(schemas: list[Any], expected: bool) -> None:
    document = Document({"$defs": DEFS, "oneOf": schemas})
    assert Exclusion(document).holds(schemas) is expected
    assert Exclusion(document).holds(schemas[::-1]) is expected


def test_it_takes_no_long_time() -> None:
    many = [
        tagged(number, **{str(member): {"enum": list(range(50))} for member in range(50)})
        for number in range(300)
    ]
    for schema in many:
        schema["required"] = [str(member) for member in range(50)]
    Exclusion(Document({"oneOf": many})).holds(many)
    every = [{"allOf": [{"allOf": [{}] * 30}] * 30} for _ in range(30)]
    assert not Exclusion(Document({"oneOf": every})).holds(every)
