"""Bytes to text, reasoning and calls: what is told from what, in which order, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool_formats import FORMATS, TAGGED, WEATHER, ids, say
from tool_formats import TOOLS as FAMILY_TOOLS

from llamawire_server.chat.channels import STYLES, ReasoningStyle
from llamawire_server.chat.pipeline import Delta, TextPipeline
from llamawire_server.chat.tools import CallDelta, Tool
from llamawire_server.chat.tools.hermes import Hermes
from llamawire_server.chat.tools.llama3 import Llama3

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
    assert pipeline.feed(b"a ST") == Delta("a")
    assert pipeline.feed(b"\xc3") == Delta()
    assert pipeline.flush().text == " ST\ufffd"


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


STOPS = st.sampled_from([["STOP"], ["\n"], ["\n\n", "so"], [" ", "{"], ["Hm \n"], [">\n"]])


@given(st.lists(PARTS, max_size=8), STOPS, st.data())
def test_where_the_bytes_are_cut_changes_nothing(
    parts: list[str], stops: list[str], data: st.DataObject
) -> None:
    said = "".join(parts).encode("utf-8", "surrogateescape")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(said)), max_size=12)))
    pieces = [said[a:b] for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True)]
    cut, whole = make(stops), make(stops)
    assert run(cut, pieces) == run(whole, [said])
    assert cut.matched_stop == whole.matched_stop


def first_stop(text: str, stops: list[str]) -> tuple[str, str]:
    """What stands before the stop string that is complete first, and that; by reading a character at a time."""
    for end in range(1, len(text) + 1):
        if found := [stop for stop in stops if text[:end].endswith(stop)]:
            longest = max(found, key=len)
            return text[: end - len(longest)], longest
    return text, ""


def expected(texts: list[str], stops: list[str]) -> tuple[str, str, int]:
    """Of texts with a call between each and the next: the content, the stop string and the number of calls."""
    for number, text in enumerate(texts):
        shown, stop = first_stop(text, stops)
        if stop:
            texts = [*texts[:number], shown]
            break
    else:
        stop = ""
    if len(texts) == 1:
        return texts[0], stop, 0
    content = "".join(text for text in texts if text.strip())
    content = content if texts[0].strip() else content.lstrip()
    return content if texts[-1].strip() else content.rstrip(), stop, len(texts) - 1


def outcome(pipeline: TextPipeline, pieces: Iterable[str]) -> tuple[str, str, int]:
    text, reasoning, calls = run(pipeline, [piece.encode() for piece in pieces])
    assert reasoning == ""
    assert all(call.arguments == ARGUMENTS for call in calls)
    assert pipeline.is_stopped == bool(pipeline.matched_stop)
    assert not pipeline.is_call_open
    assert pipeline.has_calls == bool(calls)
    return text, pipeline.matched_stop, len(calls)


@pytest.mark.parametrize("stop", ["\n", "\n\n", " \n", ".\n", ". ", "look.\n"])
def test_a_stop_string_in_white_space_comes_before_the_call_behind_it(stop: str) -> None:
    answer = f"Let me look. \n\n{CALL}"
    if stop == ".\n" or stop == "look.\n":
        answer = answer.replace(" \n", "\n")
    for cut in range(len(answer)):
        found = outcome(make([stop]), [answer[:cut], answer[cut:]])
        assert found == (answer[: answer.index(stop)], stop, 0)


def test_a_stop_string_in_white_space_is_found_as_it_comes() -> None:
    pipeline = make(["\n\n"])
    assert [pipeline.feed(piece).text for piece in (b"Done.", b"\n", b"\n")] == ["Done.", "", ""]
    assert (pipeline.is_stopped, pipeline.matched_stop) == (True, "\n\n")


def test_a_stop_string_behind_a_call_ends_the_answer_with_it() -> None:
    answer = f"So:\n{CALL}\n\n{CALL}"
    assert outcome(make(["\n\n"]), [answer]) == ("So:", "\n\n", 1)
    assert outcome(make(["\n\n"]), answer) == ("So:", "\n\n", 1)


def test_no_stop_string_goes_over_a_call() -> None:
    answer = f"ab{CALL}cd"
    pipeline = make(["bc", "\n\n"])
    deltas = [pipeline.feed(char.encode()) for char in answer]
    called = next(number for number, delta in enumerate(deltas) if delta.calls)
    assert "".join(delta.text for delta in deltas[: called + 1]) == "ab", (
        "held back no longer than up to the call"
    )
    assert outcome(make(["bc", "\n\n"]), [answer]) == ("abcd", "", 1)
    assert outcome(make(["bc", "\n\n"]), [f"a\n{CALL}\nd"]) == ("a\n\nd", "", 1)


@given(
    texts=st.lists(st.text("ab \n<", max_size=8), min_size=1, max_size=4),
    stops=st.lists(st.text("ab \n<", min_size=1, max_size=3), max_size=3),
    data=st.data(),
)
def test_stop_strings_around_calls_are_found_at_any_split(
    texts: list[str], stops: list[str], data: st.DataObject
) -> None:
    answer = CALL.join(texts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(answer)), max_size=12)))
    right = expected(texts, stops)
    for pieces in (
        [answer],
        list(answer),
        [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)],
    ):
        assert outcome(make(stops, style=None), pieces) == right
    for cut in range(len(answer) + 1):
        assert outcome(make(stops, style=None), [answer[:cut], answer[cut:]]) == right


@pytest.mark.parametrize("name", [*FORMATS, *TAGGED])
def test_white_space_before_a_call_is_looked_at_in_all_families(name: str) -> None:
    family = FORMATS.get(name) or TAGGED[name]
    answer = say(name, "Look. \n", [WEATHER])
    for pieces in (answer, *([answer[:cut], answer[cut:]] for cut in range(len(answer)))):
        pipeline = TextPipeline(["\n\n"], None, family.parser(FAMILY_TOOLS, ids()))
        text = "".join(pipeline.feed(piece.encode()).text for piece in pieces)
        assert (text, pipeline.matched_stop, pipeline.has_calls) == ("Look. ", "\n\n", False)


@pytest.mark.parametrize("stop", ["\n", "\n\n"])
def test_white_space_before_an_object_that_begins_the_answer_is_looked_at(stop: str) -> None:
    answer = ' \n\n{"name": "weather", "parameters": {"city": "Bern"}}'
    for pieces in ([answer], list(answer), [" \n\n"]):
        pipeline = TextPipeline([stop], None, Llama3().parser(TOOLS, lambda: "call_1"))
        for number, piece in enumerate(pieces):
            pipeline.feed(piece.encode())
            assert pipeline.is_stopped == (stop in "".join(pieces[: number + 1]))
        assert pipeline.matched_stop == stop
        assert not pipeline.has_calls
