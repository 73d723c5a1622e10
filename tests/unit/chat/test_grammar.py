"""What an answer's text must be, as the grammar that a matcher takes byte by byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from matching import accepts
from msgspec import msgpack

from llamawire_server.chat.grammar import Grammar, GrammarError, json_rule, to_lark
from llamawire_server.grammar_limits import MAX_CHARACTERS


def schema(value: Any) -> Grammar:
    return Grammar("json_schema", json.dumps(value))


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "Who"},
        "age": {"type": "integer", "minimum": 0},
    },
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("grammar", "text", "expected"),
    [
        (Grammar("json_object"), "{}", True),
        (Grammar("json_object"), '{"a": [1, {"b": null}], "c": "\\u0001é\\n"}', True),
        (Grammar("json_object"), '{"a": "\\u00e9"}', False),
        (Grammar("json_object"), "[]", False),
        (Grammar("json_object"), '{"a": 1', False),
        (Grammar("json_object"), '{"a": 1} ', False),
        (Grammar("json_object"), '{\n    "a": 1,\n    "b": [\n        2\n    ]\n}', True),
        (Grammar("json_object"), "{" + " " * 200 + "}", False),
        (Grammar("json_object"), "{\n\n}", False),
        (schema(PERSON), '{"name":"x"}', True),
        (schema(PERSON), '{"name": "x", "age": 3}', True),
        (schema(PERSON), '{"name":"x","age":-3}', False),
        (schema(PERSON), '{"name":"x","more":3}', False),
        (schema(PERSON), "{}", False),
        (schema(True), "[1]", True),
        (schema({"x-guidance": {"lenient": True}, "type": "string"}), '"a"', True),
        (schema({"type": "string", "x-guidance": {"item_separator": "x"}}), '"a"', True),
        (schema({"type": "string", "pattern": "^a+$"}), '"aa"', True),
        (schema({"type": "string", "pattern": "^a+$"}), '"ab"', False),
        (schema({"format": "uuid", "type": "string"}), '"x"', False),
        (schema({"enum": ["ü", 1, None]}), '"ü"', True),
        (schema({"enum": ["ü", 1, None]}), "null", True),
        (schema({"enum": ["ü", 1, None]}), "2", False),
        (Grammar("regex", "[a-c]+/\\d"), "abc/7", True),
        (Grammar("regex", "[a-c]+/\\d"), "abc/x", False),
        (Grammar("regex", ""), "", True),
        (Grammar("regex", ""), "a", False),
        (Grammar("regex", '(a|b)\n"c"'), 'a\n"c"', True),
        (Grammar("lark", 'start: A "!"\nA: /[a-z]+/'), "abc!", True),
        (Grammar("lark", 'start: A "!"\nA: /[a-z]+/'), "abc", False),
        (Grammar("gbnf", 'root ::= "a" [b-d]+ | other\nother ::= "x" root?'), "abcd", True),
        (Grammar("gbnf", 'root ::= "a" [b-d]+ | other\nother ::= "x" root?'), "xxab", True),
        (Grammar("gbnf", 'root ::= "a" [b-d]+ | other\nother ::= "x" root?'), "a", False),
        (Grammar("gbnf", 'root ::= "caf\\u00e9 \\x41" [\\u00e0-\\u00ff]{2}'), "café Aéü", True),
        (Grammar("gbnf", 'root ::= "a\\"b\\\\" [^\\x00-\\x1f"]*'), 'a"b\\ok', True),
    ],
)
def test_the_text_must_be_what_the_grammar_says(grammar: Grammar, text: str, expected: bool) -> None:
    assert accepts(to_lark(grammar), text) is expected


@pytest.mark.parametrize(
    ("grammar", "place", "words"),
    [
        (schema({"properties": {"a": {"type": "text"}}}), "/properties/a/type", "text"),
        (schema({"properties": {"a": {"type": "string", "pattern": "(?=x)"}}}), "/properties/a/pattern", ""),
        (schema({"properties": {"a": {"type": "string", "pattern": "("}}}), "/properties/a/pattern", ""),
        (schema({"items": {"oneOf": [{"minimum": 1}, {"maximum": 2}]}}), "/items/oneOf", "oneOf"),
        (schema({"$ref": "#/$defs/a"}), "/$ref", "nowhere"),
        (schema({"$ref": "https://example.com"}), "/$ref", "document"),
        (schema({"not": {}}), "/not", "not"),
        (
            schema({"oneOf": [{"const": 1}, {"type": "string", "pattern": "("}]}),
            "/oneOf/1/pattern",
            "unclosed",
        ),
        (schema({"unevaluatedProperties": {"pattern": "("}}), "/unevaluatedProperties/pattern", "unclosed"),
        (schema({"properties": {"a": {"$ref": "#/properties/a"}}}), "/properties/a", "itself"),
        (schema({"patternProperties": {f"^{n}": {} for n in range(100)}}), "/patternProperties", "many"),
        (
            schema({"items": {"allOf": [{"multipleOf": 997}, {"multipleOf": 991}]}}),
            "/items/allOf/1/multipleOf",
            "multiples",
        ),
        (
            schema({"anyOf": [{"const": -26945}, {"type": "number", "minimum": -26945, "maximum": -26945}]}),
            "/anyOf",
            "fails",
        ),
        (schema(False), "", "false"),
        (schema(3), "", "object"),
        (Grammar("json_schema", "{"), "line 1, column 2", "JSON"),
        (Grammar("json_schema", '{"minimum": 1e999}'), "", "large"),
        (Grammar("json_schema", '{"minimum": NaN}'), "", "NaN"),
        (Grammar("json_schema", '{"minimum": ' + "1" * 5000 + "}"), "", ""),
        (Grammar("json_schema", '{"const": "\\ud800"}'), "", "surrogate"),
        (Grammar("json_schema", "[" * 5000), "", ""),
        (Grammar("json_schema", '{"items":' * 150 + "{}" + "}" * 150), "/items/items", "deep"),
        (Grammar("lark", 'start: "a"\nb: ( "c"'), "line", ""),
        (Grammar("lark", "start: nowhere"), "line 1, column 8", "nowhere"),
        (Grammar("lark", 'other: "a"'), "", "start"),
        (Grammar("gbnf", 'root ::= "a" b'), "line 1, column 14", "b"),
        (Grammar("gbnf", 'root ::= "a"\nother : "b"'), "line 2, column 7", "::="),
        (Grammar("gbnf", 'root ::= "a'), "line 1", ""),
        (Grammar("gbnf", 'rot ::= "a"'), "", "root"),
        (Grammar("gbnf", 'root ::= "a\\'), "line 1, column 12", ""),
        (Grammar("gbnf", "root ::= " + "(" * 3000), "line 1", ""),
        (Grammar("regex", "("), "", ""),
        (Grammar("regex", "a(?=b)"), "", ""),
        (Grammar("lark", "x" * (MAX_CHARACTERS + 1)), "", str(MAX_CHARACTERS)),
    ],
)
def test_what_can_not_be_read_or_enforced_is_refused_with_its_place(
    grammar: Grammar, place: str, words: str
) -> None:
    with pytest.raises(GrammarError) as caught:
        to_lark(grammar)
    assert caught.value.place.startswith(place)
    assert bool(caught.value.place) is bool(place)
    assert words in str(caught.value)
    assert str(caught.value)


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"type": "string", "pattern": "a(?=b)"}, "/properties/b/pattern"),
        ({"type": "integer", "minimum": 5, "maximum": 1}, "/properties/b"),
        ({"type": "array", "items": {"$ref": "#/$defs/bad"}}, "/properties/b/items"),
    ],
)
def test_the_place_is_right_beside_references(part: dict[str, Any], place: str) -> None:
    """What others refer to can't be compiled where the whole is not there: that is no fault of theirs."""
    properties = {"a": {"$ref": "#/$defs/one"}, "list": {"items": {"$ref": "#/$defs/two"}}, "b": part}
    definitions = {
        "one": {"enum": ["x"]},
        "two": {"type": "object", "properties": {"next": {"$ref": "#/$defs/one"}}},
        "bad": {"type": "string", "pattern": "(?<=a)b"},
    }
    whole = {"type": "object", "properties": properties, "required": ["a", "b"], "$defs": definitions}
    with pytest.raises(GrammarError) as caught:
        to_lark(schema(whole))
    assert caught.value.place.startswith(place)


def test_discriminated_unions_are_enforced() -> None:
    """As libraries of types write them."""
    union = {
        "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
        "discriminator": {"propertyName": "kind"},
        "$defs": {
            name: {
                "type": "object",
                "properties": {"kind": {"const": name, "type": "string"}, "age": {"type": age}},
                "required": ["kind", "age"],
                "additionalProperties": False,
            }
            for name, age in (("Cat", "integer"), ("Dog", "string"))
        },
    }
    lark = to_lark(schema(union))
    assert accepts(lark, '{"kind":"Cat","age":3}')
    assert accepts(lark, '{"kind":"Dog","age":"3"}')
    assert not accepts(lark, '{"kind":"Cat","age":"3"}')


def test_recursive_schemas_are_enforced() -> None:
    tree = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    }
    lark = to_lark(schema(tree))
    assert accepts(lark, '{"next":{"next":{"next":null}}}')
    assert not accepts(lark, '{"next":{"next":{}}}')


def test_a_schema_can_stand_in_a_rule() -> None:
    original = {"type": "object", "title": "T", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
    copied = json.loads(json.dumps(original))
    lark = f'start: "<" {json_rule(original)} ">" {json_rule(True)}'
    assert original == copied
    assert accepts(lark, '<{"a":1}>[null]')
    assert not accepts(lark, '<{"a":3}>[null]')


@pytest.mark.parametrize(
    "value", [{"const": float("nan")}, {"const": {1, 2}}, {"const": "\ud800"}, {"a": "b" * 500_000}]
)
def test_what_is_no_json_can_not_stand_in_a_rule(value: Any) -> None:
    with pytest.raises(GrammarError):
        json_rule(value)


def test_a_grammar_crosses_between_processes() -> None:
    grammar = Grammar("regex", "a+")
    assert msgpack.decode(msgpack.encode(grammar), type=Grammar) == grammar
