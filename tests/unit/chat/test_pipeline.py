"""Bytes to text, reasoning and calls: what is told from what, in which order, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.chat.channels import STYLES, ReasoningStyle
from llamawire_server.chat.pipeline import Delta, TextPipeline
from llamawire_server.chat.tools import CallDelta, Tool
from llamawire_server.chat.tools.hermes import Hermes

TOOLS = [Tool("weather", {"type": "object", "properties": {"city": {"type": "string"}}})]
HERMES = Hermes()
THINK = STYLES["think"]


def make(
    stops: Iterable[str] = (), style: ReasoningStyle | None = THINK, *, with_calls: bool = True
) -> TextPipeline:
    parser = HERMES.parser(TOOLS, lambda: "call_1") if with_calls else None
    return TextPipeline(list(stops), style.splitter("") if style else None, parser)


def run(pipeline: TextPipeline, pieces: Iterable[bytes]) -> tuple[str, str, list[CallDelta]]:
    """All that comes of the pieces: text, reasoning, and calls whose arguments are whole."""
    deltas = [pipeline.feed(piece) for piece in pieces]
    if not pipeline.is_stopped:
        deltas.append(pipeline.flush())
    calls: dict[int, list[CallDelta]] = {}
    for delta in deltas:
        for call in delta.calls:
            calls.setdefault(call.index, []).append(call)
    return (
        "".join(delta.text for delta in deltas),
        "".join(delta.reasoning for delta in deltas),
        [
            CallDelta(index, parts[0].id, parts[0].name, "".join(part.arguments for part in parts))
            for index, parts in calls.items()
        ],
    )


def whole(text: str, pipeline: TextPipeline) -> tuple[str, str, list[CallDelta]]:
    return run(pipeline, [text.encode()])


CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>'
ARGUMENTS = '{"city": "Bern"}'


def test_each_thing_goes_where_it_belongs() -> None:
    text, reasoning, calls = whole(f"<think>Hm. é</think>Let me see.\n{CALL}", make())
    assert (text.strip(), reasoning) == ("Let me see.", "Hm. é")
    assert calls == [CallDelta(0, "call_1", "weather", ARGUMENTS)]


def test_without_markers_all_is_text() -> None:
    assert whole("<think>Hm.</think>Yes", make(style=None, with_calls=False)) == (
        "<think>Hm.</think>Yes",
        "",
        [],
    )


def test_a_call_within_the_reasoning_is_none() -> None:
    text, reasoning, calls = whole(f"<think>{CALL}</think>No.", make())
    assert (text, reasoning, calls) == ("No.", CALL, [])


@pytest.mark.parametrize("stop", ["Hm", "think", "weather", "Bern", "tool_call"])
def test_a_stop_string_is_one_in_the_text_alone(stop: str) -> None:
    text, reasoning, calls = whole(f"<think>Hm.</think>So\n{CALL}", make([stop]))
    assert (text.strip(), reasoning, len(calls)) == ("So", "Hm.", 1)


def test_nothing_comes_after_a_stop_string() -> None:
    pipeline = make(["STOP"])
    assert whole(f"<think>Hm.</think>So STOP more\n{CALL}", pipeline) == ("So ", "Hm.", [])
    assert pipeline.is_stopped
    assert not pipeline.has_calls
    assert pipeline.feed(b"x") == Delta()


def test_what_is_held_back_comes_in_the_end() -> None:
    pipeline = make(["STOP"])
    assert pipeline.feed(b"a ST") == Delta("a ")
    assert pipeline.feed(b"\xc3") == Delta()
    assert pipeline.flush().text == "ST\ufffd"


def test_it_says_where_it_stands() -> None:
    pipeline = make()
    assert (pipeline.is_reasoning, pipeline.is_content) == (False, True)
    pipeline.feed(b"<think>Hm")
    assert (pipeline.is_reasoning, pipeline.is_content) == (True, False)
    pipeline.feed(b"</think>")
    assert (pipeline.is_reasoning, pipeline.is_content, pipeline.has_calls) == (False, True, False)
    pipeline.feed(b'<tool_call>{"name": "weather", "arguments": {"city": ')
    assert (pipeline.has_calls, pipeline.is_call_open) == (True, True)
    pipeline.feed(b'"Bern"}}</tool_call>')
    assert (pipeline.has_calls, pipeline.is_call_open) == (True, False)


def test_a_prompt_may_have_begun_the_reasoning() -> None:
    pipeline = TextPipeline([], THINK.splitter("<|assistant|><think>\n"))
    assert pipeline.is_reasoning
    assert whole("Hm.</think>Yes", pipeline) == ("Yes", "Hm.", [])


PARTS = st.sampled_from(
    [
        "<think>",
        "</think>",
        "Hm ",
        "é🙂",
        "STOP",
        "ST",
        "\n",
        CALL,
        "<tool_call>",
        "{",
        '"name"',
        " so",
        "\udcff",
    ]
)


@given(st.lists(PARTS, max_size=8), st.data())
def test_where_the_bytes_are_cut_changes_nothing(parts: list[str], data: st.DataObject) -> None:
    said = "".join(parts).encode("utf-8", "surrogateescape")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(said)), max_size=12)))
    pieces = [said[a:b] for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True)]
    assert run(make(["STOP"]), pieces) == run(make(["STOP"]), [said])
