"""What the grammars of calls allow, token by token."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from call_grammars import Grammar, is_special
from tool_formats import FORMATS, HEADS, NOW, SWITCHES, TOOLS, WEATHER, read, say

from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.tool_format import Choice, Named, Tool

every_format = pytest.mark.parametrize("name", FORMATS)
with_and_without_tokens = pytest.mark.parametrize("has_tokens", [True, False], ids=["tokens", "text"])
ADD = ("get", '{"url": "a/b"}')


def is_one_call_only(name: str) -> bool:
    return name == "harmony"


@every_format
@with_and_without_tokens
@pytest.mark.parametrize("choice", ["required", "auto"])
def test_calls_as_the_models_write_them(name: str, has_tokens: bool, choice: Choice) -> None:
    grammar = Grammar(name, choice, has_tokens)
    for calls in ([WEATHER], [NOW], [("get_weather", '{"city": "é\\n{}"}')]):
        assert grammar.takes(say(name, calls))
    assert grammar.takes(say(name, [WEATHER, NOW, ADD])) != is_one_call_only(name)


@every_format
@with_and_without_tokens
@pytest.mark.parametrize("choice", ["required", "auto", Named("get_weather")])
def test_one_call_where_they_may_not_be_parallel(name: str, has_tokens: bool, choice: Choice) -> None:
    grammar = Grammar(name, choice, has_tokens, parallel=False)
    assert grammar.takes(say(name, [WEATHER]))
    assert not grammar.takes(say(name, [WEATHER, WEATHER]))


@every_format
@with_and_without_tokens
def test_nothing_but_calls_where_one_is_required(name: str, has_tokens: bool) -> None:
    for choice in ("required", Named("get_weather")):
        grammar = Grammar(name, choice, has_tokens)  # type: ignore[arg-type]
        call = say(name, [WEATHER])
        assert not grammar.takes("")
        assert not grammar.takes(HEADS.get(name, "") + "Hello")
        assert not grammar.takes(say(name, "Hello", [WEATHER]))
        assert not grammar.takes(" " + call)
        assert not grammar.takes(call + "\nHello")
        assert not grammar.takes(call[: len(call) // 2])


@every_format
@with_and_without_tokens
def test_only_the_named_function_is_called(name: str, has_tokens: bool) -> None:
    grammar = Grammar(name, Named("now"), has_tokens)
    assert grammar.takes(say(name, [NOW]))
    assert not grammar.takes(say(name, [WEATHER]))
    with pytest.raises(ValueError, match="nowhere"):
        FORMATS[name].lark(TOOLS, Named("nowhere"), True, is_special(has_tokens))


BAD_CALLS = [
    ("unheard_of", "{}"),
    ("get_weathers", '{"city": "Paris"}'),
    ("get_weather", "{}"),
    ("get_weather", '{"days": 3}'),
    ("get_weather", '{"city": 1}'),
    ("get_weather", '{"city": "Paris", "days": 10}'),
    ("get_weather", '{"city": "Paris", "day": 1}'),
    ("get_weather", '{"city": "Paris"'),
    ("get_weather", '["Paris"]'),
    ("get_weather", '{ "city": "Paris"}'),
    ("get_weather", '{"city":   "Paris"}'),
    ("now", "null"),
    ("now", "[1]"),
]


@every_format
@with_and_without_tokens
@pytest.mark.parametrize("choice", ["required", "auto"])
def test_calls_that_their_schemas_do_not_allow(name: str, has_tokens: bool, choice: Choice) -> None:
    grammar = Grammar(name, choice, has_tokens)
    for call in BAD_CALLS:
        text = say(name, [call])
        assert not grammar.takes(text), call


@every_format
@with_and_without_tokens
def test_any_text_and_calls_behind_it_where_the_model_chooses(name: str, has_tokens: bool) -> None:
    grammar = Grammar(name, "auto", has_tokens)
    head, foot = HEADS.get(name, ""), ""
    if name == "harmony":
        head, foot = "<|channel|>final<|message|>", "<|channel|>commentary<|message|>"
    else:
        assert grammar.takes(say(name, "I shall look <up> {this}: >>> [1]\n\n", [WEATHER]))
    assert grammar.takes(head + "Hello {there} <b> [1] >>> \n\té")
    if name == "harmony":
        preamble = f"{foot}Looking.<|end|><|start|>assistant"
        if has_tokens:
            assert grammar.takes(preamble + say(name, [WEATHER]))
    for call in (BAD_CALLS[0], BAD_CALLS[2], BAD_CALLS[4]):
        text = say(name, "Hm.", [call])
        if name not in ("harmony", "functionary recipients") and not (name == "llama3" and not has_tokens):
            assert not grammar.takes(text)


@every_format
def test_without_tools_or_choice_anything_goes(name: str) -> None:
    for tools, choice in ((TOOLS, "none"), ([], "auto"), ([], "required")):
        grammar = Grammar(name, choice, False, tools=tools)  # type: ignore[arg-type]
        assert grammar.takes("Any <text>\nat {all}.")
        assert grammar.takes("")


CLOSED_SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Paris", "}{", 'a"b\\']},
        "days": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
        "more": {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": False},
    },
    "required": ["city"],
}
CLOSED_TOOLS = [Tool("look", CLOSED_SCHEMA), Tool("look_up", CLOSED_SCHEMA)]


@every_format
@with_and_without_tokens
@pytest.mark.parametrize("choice", ["required", "auto"])
def test_whatever_a_grammar_allows_is_read_as_right_calls(
    name: str, has_tokens: bool, choice: Choice
) -> None:
    chance = random.Random(name)
    num_read = 0
    for parallel in (True, False):
        grammar = Grammar(name, choice, has_tokens, parallel=parallel, tools=CLOSED_TOOLS)
        for text in filter(None, (grammar.walk(chance) for _ in range(15))):
            answer = read(FORMATS[name], [text], CLOSED_TOOLS)
            assert not answer.is_open
            assert all(called in ("look", "look_up") for called, _ in answer.named)
            assert all(is_allowed(json.loads(arguments)) for _, arguments in answer.named)
            assert parallel or len(answer.calls) <= 1
            if choice == "required":
                assert answer.content == ""
                assert answer.calls
            num_read += 1
    assert num_read > 8


def is_allowed(arguments: Any) -> bool:
    days, more = arguments.get("days", []), arguments.get("more", {})
    return (
        arguments["city"] in CLOSED_SCHEMA["properties"]["city"]["enum"]  # type: ignore[index]
        and set(arguments) <= {"city", "days", "more"}
        and len(days) <= 2
        and all(isinstance(day, bool) for day in days)
        and more in ({}, {"a": None})
    )


@every_format
def test_white_space_can_not_go_on_for_ever(name: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}}
    grammar = Grammar(name, "required", True, tools=[Tool("f", schema)])
    text = say(name, [("f", '{"a": [1, 2]}')])
    for at, char in enumerate(text):
        if char in '{}[],:"':
            assert not grammar.may_begin(text[: at + 1] + "  ")
            assert not grammar.may_begin(text[: at + 1] + "\n\n")


def arguments_of(tool: Tool) -> dict[str, Any]:
    lark = LarkWriter(lambda _: False)
    lark.arguments(0, tool)
    text = str(lark).removeprefix("arguments_0: %json ")
    schema = json.loads(text)
    assert isinstance(schema, dict)
    return schema


def test_arguments_are_objects_of_what_is_listed() -> None:
    assert arguments_of(Tool("f"))["type"] == "object"
    listed = {"properties": {"a": {}}}
    assert arguments_of(Tool("f", listed))["additionalProperties"] is False
    assert arguments_of(Tool("f", {"properties": {}}))["additionalProperties"] is False
    assert "additionalProperties" not in arguments_of(Tool("f"))
    for said in ({"additionalProperties": True}, {"anyOf": []}, {"$ref": "#/$defs/x"}, {"required": ["b"]}):
        assert arguments_of(Tool("f", {**listed, **said})).get("additionalProperties") is not False
    assert listed == {"properties": {"a": {}}}


def test_what_can_not_be_enforced_is_passed_over_unless_the_tool_is_strict() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "format": "unheard-of"}},
        "required": ["a"],
    }
    assert Grammar("hermes", "required", False, tools=[Tool("f", schema)]).takes(
        say("hermes", [("f", '{"a": "b"}')])
    )
    with pytest.raises(AssertionError, match="unheard-of"):
        Grammar("hermes", "required", False, tools=[Tool("f", schema, is_strict=True)])


def test_references_are_those_of_the_tools_own_schema() -> None:
    schema = {
        "type": "object",
        "properties": {"node": {"$ref": "#/$defs/node"}},
        "required": ["node"],
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/node"}, "kind": {"enum": ["a", "b"]}},
                "required": ["kind"],
                "additionalProperties": False,
            }
        },
    }
    other = {**schema, "$defs": {"node": {"type": "integer"}}}
    tools = [Tool("f", schema), Tool("g", other)]
    for name in FORMATS:
        grammar = Grammar(name, "required", True, tools=tools)
        deep = '{"node": {"next": {"kind": "a"}, "kind": "b"}}'
        assert grammar.takes(say(name, [("f", deep)]))
        assert not grammar.takes(say(name, [("g", deep)]))
        assert grammar.takes(say(name, [("g", '{"node": 5}')]))


def test_quotes_and_bars_in_names_and_schemas_are_no_grammar() -> None:
    tools = [Tool('a"b|\\c', {"type": "object", "properties": {'d|"e/\\n': {"const": '%json <x> // "'}}})]
    for name in ("hermes", "llama3", "granite"):
        text = say(name, [(tools[0].name, json.dumps({'d|"e/\\n': '%json <x> // "'}))])
        assert Grammar(name, "required", True, tools=tools).takes(text)


def test_control_tokens_are_named_or_numbered() -> None:
    def lark(name: str, special: bool | int) -> str:
        return FORMATS[name].lark(TOOLS, "required", True, lambda _: special)

    assert "start: <tool_call> body" in lark("hermes", True)
    assert "start: <[7]> body" in lark("hermes", 7)
    assert 'start: "<tool_call>" body' in lark("hermes", False)
    assert "start: <[TOOL_CALLS]> " in lark("mistral", True)
    assert "start: <[0]> " in lark("mistral", 0)


def test_switches_are_known() -> None:
    assert set(SWITCHES) <= set(FORMATS)
