"""Values that may be strings or something else: whatever a grammar lets through is read as a valid one."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from call_grammars import Grammar
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_formats import TAGGED, read

from llamawire_server.chat.tools.argument_tags import ArgumentTags
from llamawire_server.chat.tools.tool_format import ParametersError, Tool

every_format = pytest.mark.parametrize("name", TAGGED)


def tags_of(name: str) -> ArgumentTags:
    """Those that a format's arguments are written in."""
    bare = TAGGED[name].write_calls([("f", "{}")])
    full = TAGGED[name].write_calls([("f", '{"v": "@"}')])
    assert "@" in full
    assert bare
    begin, end = full.split("@")
    return ArgumentTags(begin, "", end, call_ends=())


def call(name: str, text: str) -> str:
    """A call of `f` with a text as it is."""
    tags = tags_of(name)
    return f"{tags.name_begin}{text}{tags.value_end}"


def parsed(name: str, tool: Tool, text: str) -> Any:
    """What the call's text is, at any split; a cut one is the beginning of something."""
    answer = read(TAGGED[name], [text], [tool])
    assert answer.content == ""
    ((_, arguments),) = answer.named
    for cut in range(len(text) + 1):
        assert read(TAGGED[name], [text[:cut], text[cut:]], [tool]) == answer
        part = read(TAGGED[name], [text[:cut]], [tool])
        assert read(TAGGED[name], text[:cut], [tool]) == part
        if part.calls:
            assert_begins_json(part.calls[0][2])
    return json.loads(arguments)


def assert_begins_json(text: str) -> None:
    """Some JSON begins with this text."""
    tails = [
        "",
        '"',
        '": 1',
        ": 1",
        " 1",
        "1",
        "rue",
        "ue",
        "e",
        "alse",
        "lse",
        "se",
        "ull",
        "ll",
        "l",
        ".0",
        "0",
    ]
    for tail in tails:
        closed = text + tail
        for _ in range(6):
            try:
                json.loads(closed)
            except json.JSONDecodeError:
                closed += closing(closed)
            else:
                return
    raise AssertionError(f"no JSON begins with {text!r}")


def closing(text: str) -> str:
    """What closes the innermost bracket that is open."""
    is_in_string = is_escaped = False
    brackets = ""
    for char in text:
        if is_escaped:
            is_escaped = False
        elif char == "\\" and is_in_string:
            is_escaped = True
        elif char == '"':
            is_in_string = not is_in_string
        elif not is_in_string and char in "{[":
            brackets += "}" if char == "{" else "]"
        elif not is_in_string and char in "}]":
            brackets = brackets[:-1]
    return '"' if is_in_string else brackets[-1:]


CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
STRINGS = {"type": "array", "items": {"type": "string"}}


@every_format
@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"enum": ["1", "2", 3]}, "2", "2"),
        ({"enum": ["1", "2", 3]}, "3", 3),
        ({"anyOf": [{"enum": ["1", "2"]}, {"type": "integer", "minimum": 10}]}, "1", "1"),
        ({"anyOf": [{"enum": ["1", "2"]}, {"type": "integer", "minimum": 10}]}, "12", 12),
        ({"anyOf": [{"type": "string"}, STRINGS]}, "[1, 2]", "[1, 2]"),
        ({"anyOf": [{"type": "string"}, STRINGS]}, '["a"]', ["a"]),
        ({"type": ["string", "integer"], "minimum": 5}, "3", "3"),
        ({"type": ["string", "integer"], "minimum": 5}, "7", 7),
        ({"anyOf": [{"type": "string"}, CLOSED]}, '{"b": 1}', '{"b": 1}'),
        ({"anyOf": [{"type": "string"}, CLOSED]}, '{"a": 1}', {"a": 1}),
        ({"anyOf": [{"type": "string"}, {"type": "boolean", "enum": [False]}]}, "true", "true"),
        ({"type": ["string", "null"], "enum": ["null"]}, "null", "null"),
        ({"type": "string", "enum": ["\na", "b\n", "c"]}, None, None),
        ({"type": ["string", "number"], "pattern": "^[0-9]+$"}, "0123", "0123"),
        ({"anyOf": [{"enum": ["[a", 1]}, STRINGS]}, "[a", "[a"),
        ({"anyOf": [{"type": "integer"}, STRINGS]}, '["</parameter></arg_valu"]', ["</parameter></arg_valu"]),
    ],
)
@pytest.mark.parametrize("has_tokens", [True, False], ids=["tokens", "text"])
def test_a_text_is_read_as_what_is_valid(
    name: str, has_tokens: bool, schema: dict[str, Any], text: str | None, expected: Any
) -> None:
    tool = Tool("f", {"type": "object", "properties": {"v": schema}, "required": ["v"]}, is_strict=True)
    grammar = Grammar(name, "required", has_tokens, tools=[tool])
    if text is not None:
        assert grammar.takes(call(name, text))
        assert parsed(name, tool, call(name, text)) == {"v": expected}
        return
    # A line break at a value's edge is no part of it, unless there is another one.
    for each in schema["enum"]:
        takes = [gap for gap in ("", "\n") if grammar.takes(call(name, f"{gap}{each}{gap}"))]
        assert takes
        assert all(parsed(name, tool, call(name, f"{gap}{each}{gap}")) == {"v": each} for gap in takes)


@every_format
def test_what_ends_a_value_may_come_in_a_list(name: str) -> None:
    value = ["</parameter></arg_value>", "\n</parameter></arg_value>"]
    for schema in (
        STRINGS,
        {"anyOf": [{"enum": ["[a", 1]}, STRINGS]},
        {"anyOf": [{"type": "integer"}, STRINGS]},
    ):
        tool = Tool("f", {"type": "object", "properties": {"v": schema}, "required": ["v"]}, is_strict=True)
        text = call(name, json.dumps(value))
        assert Grammar(name, "required", False, tools=[tool]).takes(text)
        assert parsed(name, tool, text) == {"v": value}


SCALARS = st.sampled_from(["1", "2", "12", "a", "", "null", "true", "True", " 3", "\n1", "[1]"])
LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.lists(SCALARS | st.integers(0, 12) | st.none() | st.booleans(), min_size=1, max_size=4).map(
        lambda values: {"enum": values}
    ),
    st.integers(0, 12).map(lambda least: {"type": "integer", "minimum": least}),
    st.integers(0, 12).map(lambda least: {"type": ["string", "integer"], "minimum": least}),
    st.integers(0, 3).map(lambda most: {"type": ["string", "null"], "maxLength": most}),
    st.sampled_from([{"type": "string"}, {"type": "null"}, {"type": "boolean"}, CLOSED, STRINGS, {}]),
    st.just({"type": "string", "pattern": "^[0-9]{1,3}$"}),
    st.just({"type": "array", "items": {"type": "integer"}, "maxItems": 1}),
)
SCHEMAS = LEAVES | st.lists(LEAVES, min_size=1, max_size=3).map(lambda every: {"anyOf": every})
TEXTS = SCALARS | st.sampled_from(
    [
        "0",
        "3",
        "5",
        "10.0",
        "1e1",
        "-1",
        "ab",
        "None",
        "[]",
        "[1, 2]",
        '["a"]',
        '{"a": 1}',
        '{"b": 1}',
        '"1"',
        "[a",
    ]
)


@every_format
@settings(max_examples=30)
@given(schema=SCHEMAS, texts=st.lists(TEXTS, min_size=1, max_size=6), has_tokens=st.booleans())
def test_whatever_a_grammar_lets_through_is_read_as_a_valid_value(
    name: str, schema: dict[str, Any], texts: list[str], has_tokens: bool
) -> None:
    whole = {"type": "object", "properties": {"v": schema}, "required": ["v"]}
    tool = Tool("f", whole, is_strict=True)
    try:
        grammar = Grammar(name, "required", has_tokens, tools=[tool])
    except ParametersError:
        return
    validator = jsonschema.Draft202012Validator(whole)
    for text in texts:
        if grammar.takes(call(name, text)):
            validator.validate(parsed(name, tool, call(name, text)))


@every_format
def test_a_listed_parameter_is_none_of_the_others(name: str) -> None:
    schema = {
        "type": "object",
        "properties": {"v": {"type": "integer"}},
        "additionalProperties": {"type": "string"},
    }
    grammar = Grammar(name, "required", True, tools=[Tool("f", schema)])
    assert grammar.takes(call(name, "1"))
    assert not grammar.takes(call(name, "a"))
