"""Where in a schema the compiler stumbles."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llamawire_server.chat.schema.fault import find_fault


def compiles(schema: dict[str, Any]) -> bool:
    """As a compiler that stumbles over the word BAD where a schema, or what it refers to, has it."""
    rest = {key: value for key, value in schema.items() if key != "$defs"}
    if "$ref" in rest:
        value: Any = schema
        for token in rest.pop("$ref").split("/")[1:]:
            token = token.replace("~1", "/").replace("~0", "~")
            value = value[int(token) if isinstance(value, list) else token]
        rest = value
    return "BAD" not in json.dumps(rest)


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"properties": {"a": {"type": "string", "pattern": "BAD"}}}, "/properties/a/pattern"),
        ({"anyOf": [{}, {"items": {"multipleOf": "BAD"}}]}, "/anyOf/1/items/multipleOf"),
        ({"$defs": {"x/y": {"enum": ["BAD"]}}, "$ref": "#/$defs/x~1y"}, "/$defs/x~1y/enum"),
        ({"items": [True, {"const": "BAD"}]}, "/items/1/const"),
        ({"additionalProperties": {"unknown": "BAD"}}, "/additionalProperties"),
        ({"unknown": "BAD"}, ""),
        ({"$id": "https://example.com/x", "prefixItems": [{"pattern": "BAD"}]}, "/prefixItems/0/pattern"),
    ],
)
def test_the_innermost_place_is_found(schema: dict[str, Any], pointer: str) -> None:
    assert find_fault(schema, compiles).pointer == pointer


def test_the_search_gives_up_in_time() -> None:
    now = [0.0]
    calls = []

    def slow(schema: dict[str, Any]) -> bool:
        calls.append(schema)
        now[0] += 0.04
        return True

    schema = {"properties": {str(number): {"type": "string"} for number in range(1000)}}
    assert find_fault(schema, slow, clock=lambda: now[0]).pointer == ""
    assert len(calls) < 5
