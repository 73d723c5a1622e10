"""Calls whose arguments are written one by one, between tags and as text: what they are as JSON, at any split."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_formats import TAGGED, ids, read, say

from llamawire_server.chat.tools.parameters import Parameters, as_json
from llamawire_server.chat.tools.tool_format import CallDelta, Tool

every_format = pytest.mark.parametrize("name", TAGGED)

WRITE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "lines": {"type": "integer"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "options": {"$ref": "#/$defs/options"},
        "share": {"type": "number"},
        "is_new": {"type": "boolean"},
        "any": {},
    },
    "required": ["path"],
    "$defs": {"options": {"type": "object", "properties": {"deep": {"type": "string"}}}},
}
TOOLS = [Tool("write", WRITE_SCHEMA), Tool("write_all"), Tool("now", {"type": "object", "properties": {}})]
NOW = ("now", "{}")
WHOLE = {
    "path": 'a "b"\\c\n<d> & é',
    "lines": 12,
    "note": None,
    "tags": ["</parameter", "x]"],
    "options": {"deep": "}"},
    "share": -1.5e3,
    "is_new": True,
    "any": "text",
}
WRITE = ("write", json.dumps(WHOLE, ensure_ascii=False))


def values(name: str, text: str) -> list[tuple[str, Any]]:
    """The calls of an answer that has nothing else, which is read the same at any split."""
    answer = read(TAGGED[name], [text], TOOLS)
    assert answer.content == ""
    assert answer.ends_with_call
    assert read(TAGGED[name], text, TOOLS) == answer
    for cut in range(len(text) + 1):
        assert read(TAGGED[name], [text[:cut], text[cut:]], TOOLS) == answer
    return [(called, json.loads(arguments)) for called, arguments in answer.named]


@every_format
def test_calls_are_read_as_they_are_written(name: str) -> None:
    assert values(name, say(name, [WRITE])) == [("write", WHOLE)]
    assert values(name, say(name, [NOW])) == [("now", {})]
    assert values(name, say(name, [WRITE, NOW, ("write_all", '{"x": [1]}')])) == [
        ("write", WHOLE),
        ("now", {}),
        ("write_all", {"x": [1]}),
    ]


@every_format
def test_text_before_between_and_after_calls(name: str) -> None:
    parts = ("I shall look: <b> {1} > [x].", [WRITE], "And <then> this.", [NOW, NOW], "Done: <para.")
    text = say(name, *parts)
    answer = read(TAGGED[name], [text], TOOLS)
    assert [called for called, _ in answer.named] == ["write", "now", "now"]
    assert answer.content.split("\n\n") == [part for part in parts if isinstance(part, str)]
    assert not answer.ends_with_call
    assert read(TAGGED[name], text, TOOLS) == answer


@every_format
def test_calls_of_no_tool_are_content_whole(name: str) -> None:
    for called in ("unheard_of", "writ", "write_"):
        text = say(name, [(called, '{"a": "b"}')])
        answer = read(TAGGED[name], [text], TOOLS)
        assert (answer.content, answer.calls) == (text, ())
        assert read(TAGGED[name], text, TOOLS) == answer


@every_format
def test_a_call_that_is_cut_is_what_there_is_of_it(name: str) -> None:
    text = say(name, [("write", '{"path": "a b", "lines": 12}')])
    whole = '{"path": "a b", "lines": 12}'
    is_begun = False
    for cut in range(len(text)):
        answer = read(TAGGED[name], [text[:cut]], TOOLS)
        assert read(TAGGED[name], text[:cut], TOOLS) == answer
        assert is_begun <= bool(answer.calls), "what is sent stays sent"
        is_begun = bool(answer.calls)
        if not is_begun:
            assert answer.content == text[:cut]
            continue
        ((called, arguments),) = answer.named
        assert (called, answer.content) == ("write", "")
        assert whole.startswith(arguments)
        assert answer.is_open == (arguments != whole)
        assert answer.ends_with_call == (arguments == whole)
    assert is_begun


@every_format
def test_strings_and_what_is_nested_come_as_they_are_made(name: str) -> None:
    text = say(name, [("write", '{"path": "some/long/path", "options": {"deep": "down"}}')])
    parser = TAGGED[name].parser(TOOLS, ids())
    come = ""
    lengths = set()
    for char in text:
        for piece in parser.feed(char):
            assert isinstance(piece, CallDelta)
            come += piece.arguments
            lengths.add(len(come))
    assert come == '{"path": "some/long/path", "options": {"deep": "down"}}'
    assert len(lengths) > len('some/long/path{"deep": "down"}'), "nearly each character by itself"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('<>/&\n"\\ '), max_size=12)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "path": TEXTS,
        "lines": st.integers(),
        "note": st.none() | TEXTS.filter(lambda text: text.strip() not in ("null", "None")),
        "tags": st.lists(TEXTS, max_size=3),
        "options": st.dictionaries(TEXTS, TEXTS | st.integers(), max_size=3),
        "share": st.floats(allow_nan=False, allow_infinity=False),
        "is_new": st.booleans(),
    },
)


@every_format
@settings(max_examples=30)
@given(arguments=VALUES, data=st.data())
def test_any_arguments_come_back_at_any_split(
    name: str, arguments: dict[str, Any], data: st.DataObject
) -> None:
    if name in ("seed", "minimax"):
        # Where a value ends, a line break is taken for one of the tags.
        arguments = {
            key: value.strip("\n") if isinstance(value, str) else value for key, value in arguments.items()
        }
    text = say(name, [("write", json.dumps(arguments)), NOW])
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    answer = read(TAGGED[name], pieces, TOOLS)
    assert read(TAGGED[name], text, TOOLS) == answer
    assert [called for called, _ in answer.named] == ["write", "now"]
    assert json.loads(answer.named[0][1]) == arguments
    assert answer.content == ""


FRAGMENTS = [
    *(marker for family in TAGGED.values() for marker in family.markers),
    *("<function=", "<parameter=", "</parameter>", "</function>", '<invoke name="', "</invoke>", '">', ">"),
    *('<parameter name="', "write", "now", "unheard_of", "path", "lines", "options", "{", "}", '"', "\\"),
    *("12", "null", "True", " ", "\n", "\n\n", "text", "<", "</", "é"),
]


@every_format
@settings(max_examples=30)
@given(data=st.data())
def test_anything_is_read_the_same_at_any_split(name: str, data: st.DataObject) -> None:
    fragment = st.sampled_from(FRAGMENTS) | st.sampled_from([say(name, [NOW]), say(name, [WRITE])])
    text = "".join(data.draw(st.lists(fragment, max_size=10)))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    whole = read(TAGGED[name], [text], TOOLS)
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(TAGGED[name], pieces, TOOLS) == whole
    assert read(TAGGED[name], text, TOOLS) == whole
    if not whole.calls:
        assert whole.content == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # As Python writes what is no string, without the first marker, and without white space.
        (
            "<function=write>\n<parameter=is_new>\nTrue\n</parameter>\n</function>\n</tool_call>",
            {"is_new": True},
        ),
        ("<tool_call><function=write><parameter=path>a</parameter></function></tool_call>", {"path": "a"}),
        ("<tool_call>\n<function=write>\n<parameter=note>\nNone\n</parameter>\n</function>", {"note": None}),
        # The end of the function is missing.
        ("<tool_call>\n<function=write>\n<parameter=path>\na\n</parameter>\n</tool_call>", {"path": "a"}),
        # Only one line break on either side is not the value's.
        ("<function=write>\n<parameter=path>\n\na\n\n</parameter>\n</function>", {"path": "\na\n"}),
        ("<function=write>\n<parameter=lines>\nmany\n</parameter>\n</function>", {"lines": "many"}),
        ("<function=write>\n<parameter=unlisted>\n[1]\n</parameter>\n</function>", {"unlisted": [1]}),
        ('<function=write>\n<parameter=any>\n{"a": 1\n</parameter>\n</function>', {"any": '{"a": 1'}),
    ],
)
def test_what_qwen_writes(text: str, expected: dict[str, Any]) -> None:
    assert values("qwen-coder", text) == [("write", expected)]


def test_what_glm_writes() -> None:
    spaced = "<tool_call> write\n<arg_key> path </arg_key>\n <arg_value>a</arg_value>\n</tool_call>"
    assert values("glm 4.7", spaced) == [("write", {"path": "a"})]
    text = "<tool_call>write is what I call</tool_call>"
    assert read(TAGGED["glm 4.5"], [text], TOOLS).content == text


def test_minimax_writes_several_calls_in_one_pair_of_tags() -> None:
    text = say("minimax", [WRITE, NOW])
    assert text.count("<minimax:tool_call>") == 1
    assert [called for called, _ in values("minimax", text)] == ["write", "now"]


@pytest.mark.parametrize(
    ("text", "kinds", "expected"),
    [
        ("12", {"integer", "number"}, "12"),
        ("12", {"string", "integer"}, "12"),
        ("12", {"string", "boolean"}, '"12"'),
        ("1.5", {"string", "integer"}, '"1.5"'),
        ("5.0", {"string", "integer", "number"}, "5.0"),
        ("null", {"string", "null"}, "null"),
        ("null", {"string"}, '"null"'),
        (" False\n", {"boolean"}, "false"),
        ('"a"', {"string", "integer"}, '"\\"a\\""'),
        ("NaN", {"number"}, '"NaN"'),
        ("[1", {"array", "string"}, '"[1"'),
        ('{"a": 1}', {"object", "string"}, '{"a": 1}'),
    ],
)
def test_a_text_is_what_it_may_be(text: str, kinds: set[str], expected: str) -> None:
    assert as_json(text, frozenset(kinds), lambda _: None) == expected


STRINGS = frozenset({"string"})


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, STRINGS),
        ({"type": ["string", "null"]}, {"string", "null"}),
        ({"type": "number"}, {"number", "integer"}),
        ({"enum": ["a", 1, None]}, {"string", "number", "integer", "null"}),
        ({"type": "string", "enum": ["a", 1]}, STRINGS),
        ({"const": True}, {"boolean"}),
        ({"$ref": "#/$defs/text"}, STRINGS),
        ({"allOf": [{"$ref": "#/$defs/text"}, {"type": ["string", "null"]}]}, STRINGS),
        ({"anyOf": [{"$ref": "#/$defs/text"}, {"type": "array"}]}, {"string", "array"}),
        (False, frozenset()),
    ],
)
def test_which_types_a_schema_allows(schema: Any, expected: Any) -> None:
    tool = {"type": "object", "properties": {"a": schema}, "$defs": {"text": {"type": "string"}}}
    parameters = Parameters(tool)
    assert parameters.kinds(parameters.schema("a")) == expected


def test_schemas_that_lead_to_each_other_have_types_too() -> None:
    parameters = Parameters(
        {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": {"anyOf": [{"$ref": "#/$defs/a"}]}}}}}
    )
    assert "string" in parameters.kinds(parameters.schema("b"))
    assert parameters.kinds(parameters.schema("c")) == parameters.kinds({})
