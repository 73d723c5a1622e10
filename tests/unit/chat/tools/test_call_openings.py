"""Where a model may write any text, whatever is read as a call was constrained as one.

Parsers read more than what models were trained to write, and see no difference between a control token and its
letters. So all that begins a call for the parser has to begin one for the grammar.
"""

# ruff: noqa: RUF001 - DeepSeek's markers have bars that are as wide as that

from __future__ import annotations

import json

import jsonschema
import pytest
from call_grammars import FAMILIES, Grammar
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_formats import HEADS, Answer, ids, read

from llamawire_server.chat.channels.channel import Channel
from llamawire_server.chat.channels.harmony import HARMONY
from llamawire_server.chat.tools.tool_format import Tool

every_format = pytest.mark.parametrize("name", FAMILIES)
with_and_without_tokens = pytest.mark.parametrize("has_tokens", [True, False], ids=["tokens", "text"])
SCHEMA = {
    "type": "object",
    "properties": {"x": {"type": "integer"}},
    "required": ["x"],
    "additionalProperties": False,
}
TOOLS = [Tool("f", SCHEMA, is_strict=True), Tool("ff", SCHEMA, is_strict=True)]
GOOD, BAD = '{"x": 1}', '{"bogus": "no"}'

# What families' parsers take for the beginning of a call beside what their models usually write.
OTHER_OPENINGS = {
    "granite": ["<tool_call>"],
    "phi": ["functools"],
    "phi functools": ["<|tool_call|>"],
    "phi objects": ["functools["],
    "llama3": ["<|python_tag|>", "<|python_start|>"],
    "deepseek v3": ["<｜tool_calls_begin｜>", "<｜tool calls begin｜>", "<｜tool▁calls｜>", ""],
    "deepseek v3.1": ["<｜tool_calls_begin｜>", "<｜tool calls begin｜>", "<｜tool▁calls｜>", ""],
    "kimi": [""],
    "qwen-coder": [""],
    "seed": [""],
    "minimax": [""],
    "functionary recipients": [">>>"],
}
USUAL_OPENINGS = {
    "deepseek v3": "<｜tool▁calls▁begin｜>",
    "deepseek v3.1": "<｜tool▁calls▁begin｜>",
    "kimi": "<|tool_calls_section_begin|>",
    "phi functools": "functools",
    "harmony": "",
    "llama3": "",
    "functionary recipients": "",
    "qwen-coder": "<tool_call>\n",
    "seed": "<seed:tool_call>\n",
    "minimax": "<minimax:tool_call>\n",
}


def calls(name: str, arguments: str, number: int = 1) -> list[str]:
    """A call, or as many, with each opening that the family's parser knows."""
    family = FAMILIES[name]
    written = family.write_calls([("f", arguments)] * number)
    usual = USUAL_OPENINGS.get(name, family.markers[0])
    assert written.startswith(usual)
    return [written, *(other + written.removeprefix(usual) for other in OTHER_OPENINGS.get(name, ()))]


def answer_of(name: str, text: str) -> Answer:
    """What is read of an answer, behind what tells its channels apart."""
    if name != "harmony":
        return read(FAMILIES[name], [text], TOOLS)
    splitter = HARMONY.splitter("<|start|>assistant")
    spans = [*splitter.feed(text), *splitter.flush()]
    return read(
        FAMILIES[name], ["".join(part for channel, part in spans if channel is Channel.CONTENT)], TOOLS
    )


def assert_constrained(name: str, text: str, parallel: bool) -> None:
    for answer in (answer_of(name, text), read(FAMILIES[name], [text], TOOLS)):
        whole = answer.calls[: len(answer.calls) - answer.is_open]
        for _, called, arguments in whole:
            assert called in ("f", "ff")
            jsonschema.validate(json.loads(arguments), SCHEMA)
        assert parallel or len(answer.calls) <= 1


@every_format
@with_and_without_tokens
@pytest.mark.parametrize("parallel", [True, False], ids=["several", "one"])
def test_no_opening_leads_past_the_constraint(name: str, has_tokens: bool, parallel: bool) -> None:
    grammar = Grammar(name, "auto", has_tokens, parallel=parallel, tools=TOOLS)
    texts = [*calls(name, BAD), *calls(name, GOOD, 2), *calls(name, GOOD)]
    for text in [*texts, *(f"{text}\n{calls(name, BAD)[-1]}" for text in texts)]:
        for head in ("", HEADS.get(name, "") + "Text ", " "):
            for is_spelled in (False, True):
                come, is_whole = grammar.lead([(head, False), (text, not is_spelled)])
                if is_whole:
                    assert_constrained(name, come, parallel)
                # With the first marker spelled out, and the others as they should be.
                at = text.find(">") + 1
                come, is_whole = grammar.lead([(head, False), (text[:at], False), (text[at:], True)])
                if is_whole:
                    assert_constrained(name, come, parallel)


@every_format
@with_and_without_tokens
def test_each_opening_leads_to_calls(name: str, has_tokens: bool) -> None:
    grammar = Grammar(name, "auto", has_tokens, tools=TOOLS)
    for number, text in enumerate(calls(name, GOOD)):
        head = "" if number == 0 else HEADS.get(name, "")
        if name == "phi" and number:
            head, text = "", 'functools[{"name": "f", "arguments": {"x": 1}}]'
        if name == "phi objects" and number:
            text = f"{text.removesuffix('<|/tool_call|>')}]"
        if name == "phi functools" and number:
            text += "<|/tool_call|>"
        come, is_whole = grammar.lead([(head, False), (text, True)])
        assert (come, is_whole) == (head + text, True)
        assert answer_of(name, come).named == [("f", GOOD)]


@every_format
def test_an_answer_that_is_content_or_calls_has_none_in_its_content(name: str) -> None:
    for number, text in enumerate(calls(name, GOOD)):
        alone = HEADS.get(name, "") if number else ""
        for answer, is_call in ((alone + text, True), (f'"Text {text}', False)):
            for cut in range(len(answer)):
                parser = FAMILIES[name].parser(TOOLS, ids(), is_either=True)
                out = [*parser.feed(answer[:cut]), *parser.feed(answer[cut:]), *parser.flush()]
                content = "".join(piece for piece in out if isinstance(piece, str))
                if not is_call:
                    assert (content, parser.num_calls) == (answer, 0)
                elif not number:
                    assert (content, parser.num_calls) == ("", 1)


FRAGMENTS = [
    *(
        "f",
        "ff",
        "x",
        "1",
        "\n",
        " ",
        "{",
        "}",
        "[",
        "]",
        ">",
        '">',
        "; ",
        ", ",
        ":0",
        "functions.",
        "function",
        "json",
    ),
    *(
        "<function=",
        "<parameter=",
        "</parameter>",
        '<invoke name="',
        '<parameter name="',
        "</invoke>",
        ">>>",
        "all\n",
    ),
    *(
        "functools",
        "functools[",
        "assistant",
        "commentary",
        "final",
        " to=functions.f",
        "to=functions.f ",
        "Text",
    ),
    *("<tool_call>", "<|return|>", "<｜tool_calls_begin｜>", "<arg_key>x</arg_key>", "```json\n", "\n```"),
    *('{"name": "f", "arguments": ', '{"name": "f", "parameters": ', GOOD, BAD, GOOD + "}", BAD + "}"),
]


@every_format
@settings(max_examples=40)
@given(data=st.data(), has_tokens=st.booleans(), parallel=st.booleans())
def test_whatever_is_allowed_is_read_as_text_or_right_calls(
    name: str, data: st.DataObject, has_tokens: bool, parallel: bool
) -> None:
    own = [*FAMILIES[name].markers, *calls(name, GOOD), *calls(name, BAD)]
    fragment = st.sampled_from(FRAGMENTS) | st.sampled_from(own)
    fragments = data.draw(st.lists(st.tuples(fragment, st.booleans()), min_size=1, max_size=24))
    grammar = Grammar(name, "auto", has_tokens, parallel=parallel, tools=TOOLS)
    text, _ = grammar.lead(fragments)
    assert_constrained(name, text, parallel)
