"""What the grammars allow of calls whose arguments are written one by one."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
from call_grammars import Grammar, is_special
from tool_formats import NOW, TAGGED, TOOLS, WEATHER, read, say

from llamawire_server.chat.tools.text_expressions import expressions
from llamawire_server.chat.tools.tool_format import Choice, Named, ParametersError, Tool

every_format = pytest.mark.parametrize("name", TAGGED)
with_and_without_tokens = pytest.mark.parametrize("has_tokens", [True, False], ids=["tokens", "text"])


@every_format
@with_and_without_tokens
@pytest.mark.parametrize("choice", ["required", "auto"])
def test_calls_as_the_models_write_them(name: str, has_tokens: bool, choice: Choice) -> None:
    grammar = Grammar(name, choice, has_tokens)
    long = ("get_weather", json.dumps({"city": 'Paris "\\\n<b> {é}'}))
    for calls in ([WEATHER], [NOW], [long], [WEATHER, NOW, long]):
        assert grammar.takes(say(name, calls))
    if choice == "auto":
        assert grammar.takes("Any <text> {at} all.")
        assert grammar.takes(say(name, "I shall look.", [WEATHER]))
    else:
        assert not grammar.takes("")
        assert not grammar.takes("Any text")
        assert not grammar.takes(say(name, "I shall look.", [WEATHER]))


@every_format
@with_and_without_tokens
def test_one_call_where_they_may_not_be_parallel_and_the_named_one(name: str, has_tokens: bool) -> None:
    one = Grammar(name, "required", has_tokens, parallel=False)
    assert one.takes(say(name, [WEATHER]))
    assert not one.takes(say(name, [WEATHER, NOW]))
    named = Grammar(name, Named("now"), has_tokens)
    assert named.takes(say(name, [NOW]))
    assert not named.takes(say(name, [WEATHER]))


BAD_CALLS = [
    ("unheard_of", "{}"),
    ("get_weather", "{}"),
    ("get_weather", '{"days": 3}'),
    ("get_weather", '{"days": 3, "city": "Paris"}'),
    ("get_weather", '{"city": "Paris", "days": 10}'),
    ("get_weather", '{"city": "Paris", "days": "many"}'),
    ("get_weather", '{"city": "Paris", "day": 1}'),
]


@every_format
@with_and_without_tokens
@pytest.mark.parametrize("choice", ["required", "auto"])
def test_calls_that_their_schemas_do_not_allow(name: str, has_tokens: bool, choice: Choice) -> None:
    grammar = Grammar(name, choice, has_tokens)
    for call in BAD_CALLS:
        assert not grammar.takes(say(name, [call])), call


TYPES: dict[str, Any] = {
    "text": {"type": "string"},
    "short": {"type": "string", "minLength": 2, "maxLength": 4},
    "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]+$"},
    "word": {"enum": ["one", "two three", "null"]},
    "mixed": {"enum": ["all", 7, None]},
    "maybe": {"anyOf": [{"type": "string", "pattern": "^x+$"}, {"type": "null"}]},
    "number": {"type": "integer", "minimum": 1, "maximum": 30},
    "flag": {"type": "boolean"},
    "list": {"type": "array", "items": {"$ref": "#/$defs/color"}, "maxItems": 2},
    "color": {"$ref": "#/$defs/color"},
    "either": {"type": ["string", "integer"], "maxLength": 3, "minimum": 5},
    "when": {"type": "string", "format": "date"},
}
SCHEMA = {
    "type": "object",
    "properties": TYPES,
    "required": ["text", "color"],
    "additionalProperties": False,
    "$defs": {"color": {"type": "string", "enum": ["red", "dark <blue>"]}},
}
GOOD: dict[str, list[Any]] = {
    "text": ["", "a\nb", "null", "12", "</param"],
    "short": ["ab", "a\nbc"],
    "code": ["AB-1", "XY-007"],
    "word": ["one", "two three", "null"],
    "mixed": ["all", 7, None],
    "maybe": ["x", "xxx", None],
    "number": [1, 30],
    "flag": [True, False],
    "list": [[], ["red"], ["dark <blue>", "red"]],
    "color": ["red", "dark <blue>"],
    "either": ["abc", "", 12],
    "when": ["2024-02-29"],
}
BAD: dict[str, list[Any]] = {
    "short": ["a", "abcde", ""],
    "code": ["ab-1", "AB-", "xAB-1", "AB-1x"],
    "word": ["on", "One", ""],
    "mixed": ["al", 8, False],
    "maybe": ["y", "", "xy"],
    "number": [0, 31, "x"],
    "flag": ["yes"],
    "list": [["red", "red", "red"], ["green"], "red"],
    "color": ["green", ""],
    "when": ["2023-02-29", "soon"],
}


def arguments(key: str, value: Any) -> str:
    given = {"text": "t", "color": "red", key: value}
    return json.dumps({name: given[name] for name in TYPES if name in given}, ensure_ascii=False)


@every_format
@with_and_without_tokens
def test_each_argument_is_held_to_its_schema(name: str, has_tokens: bool) -> None:
    grammar = Grammar(name, "required", has_tokens, tools=[Tool("f", SCHEMA, is_strict=True)])
    for key, values in GOOD.items():
        for value in values:
            assert grammar.takes(say(name, [("f", arguments(key, value))])), (key, value)
    for key, values in BAD.items():
        for value in values:
            assert not grammar.takes(say(name, [("f", arguments(key, value))])), (key, value)


@every_format
@with_and_without_tokens
@pytest.mark.parametrize("choice", ["required", "auto"])
def test_whatever_a_grammar_allows_is_read_as_right_calls(
    name: str, has_tokens: bool, choice: Choice
) -> None:
    closed = {key: schema for key, schema in TYPES.items() if key not in ("text", "either")}
    schema = {**SCHEMA, "properties": {**closed, "text": {"enum": ["t"]}}}
    tools = [Tool("look", schema), Tool("look_up", schema)]
    validator = jsonschema.Draft202012Validator(schema)
    chance = random.Random(name)
    num_read = 0
    grammar = Grammar(name, choice, has_tokens, tools=tools)
    for text in filter(None, (grammar.walk(chance, 900) for _ in range(12))):
        answer = read(TAGGED[name], [text], tools)
        assert not answer.is_open
        for called, made in answer.named:
            assert called in ("look", "look_up")
            validator.validate(json.loads(made))
        if choice == "required":
            assert answer.content == ""
            assert answer.ends_with_call
        num_read += 1
    assert num_read > 3


@every_format
def test_parameters_that_are_not_listed(name: str) -> None:
    free = Grammar(name, "required", True, tools=[Tool("f")])
    assert free.takes(say(name, [("f", "{}")]))
    assert free.takes(say(name, [("f", '{"a": "b", "c": 1}')]))
    schema = {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "integer"}}
    some = Grammar(name, "required", True, tools=[Tool("f", schema)])
    assert some.takes(say(name, [("f", '{"a": "b", "c": 1}')]))
    assert not some.takes(say(name, [("f", '{"c": "b"}')]))
    listed = {"a": {"type": "integer"}, "b.c": {"type": "null"}, "d\ne": False}
    both = Grammar(
        name, "required", True, tools=[Tool("f", {"properties": listed, "additionalProperties": True})]
    )
    assert both.takes(say(name, [("f", '{"a": 1, "b.c": null, "ab": "x", "bac": "x"}')]))
    assert not both.takes(say(name, [("f", '{"b.c": null, "a": "x"}')]))
    assert not both.takes(say(name, [("f", '{"a": 1, "x": "y", "b.c": "x"}')]))
    missing = Grammar(name, "required", True, tools=[Tool("f", {"properties": {}, "required": ["a"]})])
    assert missing.takes(say(name, [("f", '{"a": "b"}')]))
    assert not missing.takes(say(name, [("f", "{}")]))


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"properties": {"a": {}}, "anyOf": [{"required": ["a"]}]}, "/anyOf"),
        ({"properties": {"a": {}}, "minProperties": 1}, "/minProperties"),
        ({"properties": {"a": {"enum": ["</parameter></arg_value>", 1]}}}, "/properties/a"),
        ({"properties": {"a>b": {"type": "integer"}}}, "/properties/a>b"),
        ({"properties": {"a": {"type": "string", "pattern": "(^a|b)c"}}}, "/properties/a"),
        (
            {"properties": {"a": {"type": "string", "anyOf": [{"pattern": "a"}, {"pattern": "b"}]}}},
            "/properties/a",
        ),
    ],
)
def test_what_can_not_be_enforced_is_refused_with_its_place(schema: dict[str, Any], pointer: str) -> None:
    for name, family in TAGGED.items():
        with pytest.raises(ParametersError) as caught:
            family.lark([*TOOLS, Tool("f", schema)], "required", True, is_special(True))
        assert (caught.value.tool_name, caught.value.place.whole_pointer) == ("f", pointer), name


def test_what_leads_to_the_object_is_passed_over() -> None:
    schema = {"$ref": "#/$defs/f", "$defs": {"f": {"allOf": [{"properties": {"a": {"const": 1}}}]}}}
    for name in TAGGED:
        grammar = Grammar(name, "required", True, tools=[Tool("f", schema)])
        assert grammar.takes(say(name, [("f", '{"a": 1}')]))
        assert not grammar.takes(say(name, [("f", '{"a": 2}')]))


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"pattern": "b"}, ["b", "abc", "a\nb\nc"], ["", "ac"]),
        ({"pattern": "^a|c$"}, ["a", "ab", "bc"], ["ba", "cb"]),
        ({"pattern": "^a/b$"}, ["a/b"], ["a/bc"]),
        ({"pattern": r"^[^\]|/]+$"}, ["ab"], ["a]", "a|", "a/"]),
        ({"pattern": r"^\$\^$"}, ["$^"], ["$"]),
        ({"format": "uuid"}, ["0123abcd-0123-0123-0123-0123456789ab"], ["0123abcd"]),
        ({"format": "ipv4"}, ["127.0.0.1"], ["127.0.0", "256.0.0.1"]),
        ({"format": "ipv6"}, ["::", "::1", "1::", "2001:db8::1", "1:2:3:4:5:6:7:8"], ["1", ":1", "1::2::3"]),
        ({"format": "hostname"}, ["a.example-1.org"], ["-a", "a-", "a..b"]),
        ({"format": "email"}, ["a.b+c@example.org"], ["a", "a@", ".a@b"]),
        ({"format": "uri"}, ["http://a:b@c.de:80/e?f=1#g", "urn:a:b", "a:"], ["a", "http://a b", "//a"]),
        ({"format": "duration"}, ["P1Y2M", "PT5S", "P3W", "P1DT1H"], ["P", "1D", "PT"]),
        ({"format": "time"}, ["12:00:00Z"], ["25:00:00Z"]),
        ({"format": "int32"}, ["anything"], []),
        ({"minLength": 2, "pattern": "^a*$"}, ["aa"], ["a", "ab"]),
    ],
)
def test_strings_are_held_to_what_is_said_of_them(
    schema: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    assert all("/" not in expression.replace(r"\/", "") for expression in expressions(schema))
    grammar = Grammar(
        "glm 4.7", "required", True, tools=[Tool("f", {"properties": {"a": {"type": "string", **schema}}})]
    )
    for text in good:
        assert grammar.takes(say("glm 4.7", [("f", json.dumps({"a": text}))])), text
    for text in bad:
        assert not grammar.takes(say("glm 4.7", [("f", json.dumps({"a": text}))])), text
