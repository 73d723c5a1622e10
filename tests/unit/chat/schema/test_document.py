"""What a schema's references lead to."""

from __future__ import annotations

from typing import Any

import pytest

from llamawire_server.chat.schema.document import MAX_LEVELS, Document, Place, moved
from llamawire_server.grammar_errors import GrammarError

SCHEMA: dict[str, Any] = {
    "$id": "https://example.com/root.json",
    "$defs": {
        "plain": {"type": "null"},
        "named": {"$anchor": "here", "type": "boolean"},
        "moving": {"$dynamicAnchor": "there"},
        "other": {
            "$id": "other.json",
            "$defs": {"inner": {"type": "string"}},
            "items": {"$ref": "#/$defs/inner"},
        },
        "a/b~c": {"type": "integer"},
    },
    "prefixItems": [{"type": "number"}, {"type": "array"}],
    "properties": {"$id": {"type": "string"}, "const": {"$anchor": "within"}},
    "const": {"$anchor": "data", "$id": "data.json"},
}


@pytest.mark.parametrize(
    ("reference", "pointer"),
    [
        ("#", ""),
        ("#/$defs/plain", "/$defs/plain"),
        ("#/%24defs/plain", "/$defs/plain"),
        ("#/$defs/a~1b~0c", "/$defs/a~1b~0c"),
        ("#/prefixItems/1", "/prefixItems/1"),
        ("#here", "/$defs/named"),
        ("#there", "/$defs/moving"),
        ("#within", "/properties/const"),
        ("root.json#/$defs/plain", "/$defs/plain"),
        ("https://example.com/root.json", ""),
        ("other.json", "/$defs/other"),
        ("other.json#/$defs/inner", "/$defs/other/$defs/inner"),
    ],
)
def test_a_reference_leads_to_a_place_of_the_document(reference: str, pointer: str) -> None:
    value, place = Document(SCHEMA).resolve(reference, SCHEMA)
    assert place.pointer == pointer
    expected: Any = SCHEMA
    for token in pointer.split("/")[1:]:
        token = token.replace("~1", "/").replace("~0", "~")
        expected = expected[int(token) if isinstance(expected, list) else token]
    assert value is expected


def test_references_are_relative_to_the_document_that_they_are_in() -> None:
    node = SCHEMA["$defs"]["other"]["items"]
    value, place = Document(SCHEMA).resolve("#/$defs/inner", node)
    assert (value, place.pointer) == ({"type": "string"}, "/$defs/other/$defs/inner")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("#/$defs/missing", "nothing"),
        ("#/prefixItems/2", "nothing"),
        ("#/prefixItems/x", "nothing"),
        ("#/$defs/plain/type/0", "nothing"),
        ("#nowhere", "anchor"),
        ("#data", "anchor"),
        ("data.json", "another document"),
        ("missing.json", "another document"),
        ("https://json-schema.org/draft/2020-12/schema", "another document"),
        ("file:///etc/passwd", "another document"),
    ],
)
def test_a_reference_that_leads_nowhere_says_why(reference: str, words: str) -> None:
    with pytest.raises(LookupError, match=words):
        Document(SCHEMA).resolve(reference, SCHEMA)


@pytest.mark.parametrize("keyword", ["items", "const", "unknown"])
def test_what_is_nested_too_deeply_is_refused(keyword: str) -> None:
    def nested(levels: int) -> dict[str, Any]:
        schema: dict[str, Any] = {}
        for _ in range(levels):
            schema = {keyword: schema}
        return schema

    Document(nested(MAX_LEVELS))
    with pytest.raises(GrammarError, match="deep") as caught:
        Document(nested(MAX_LEVELS + 1))
    assert caught.value.place.startswith(f"/{keyword}/{keyword}")


def test_a_place_is_written_as_a_pointer_of_some_length() -> None:
    assert (Place() / "a" / 0 / "b/c~d").pointer == "/a/0/b~1c~0d"
    assert len((Place() / ("x" * 10_000)).pointer) < 1000


def test_references_of_a_schema_that_was_moved_lead_where_they_led() -> None:
    schema = {
        "$ref": "#/$defs/a~1b",
        "$defs": {"a/b": {"items": [{"$ref": "#"}, {"$ref": "#name"}, {"$ref": "x#/y"}]}},
    }
    there = moved(schema, "/$defs/whole")
    assert there == {
        "$ref": "#/$defs/whole/$defs/a~1b",
        "$defs": {"a/b": {"items": [{"$ref": "#/$defs/whole"}, {"$ref": "#name"}, {"$ref": "x#/y"}]}},
    }
    assert schema["$ref"] == "#/$defs/a~1b"
    document = Document({"$defs": {"whole": there}})
    assert document.resolve(there["$ref"], there).value == there["$defs"]["a/b"]
