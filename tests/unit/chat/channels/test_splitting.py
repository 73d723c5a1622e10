"""Texts in pieces: every style, cut everywhere."""

from __future__ import annotations

import re

import pytest
from channel_cases import BY_NAME, CASES, Case
from channel_reference import letters
from hypothesis import given, settings
from hypothesis import strategies as st

from llamawire_server.chat.channels import ChannelSplitter, Span

EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def feed(splitter: ChannelSplitter, pieces: list[str]) -> list[Span]:
    spans = [span for piece in pieces for span in splitter.feed(piece)]
    return [*spans, *splitter.flush()]


@EVERY_CASE
@given(data=st.data())
def test_where_a_text_is_cut_changes_nothing(case: Case, data: st.DataObject) -> None:
    text = data.draw(case.texts())
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    spans = feed(case.splitter(), pieces)
    assert letters(spans) == case.letters(text)
    assert all(piece for _, piece in spans)


@EVERY_CASE
@settings(max_examples=25)
@given(data=st.data())
def test_held_back_is_what_is_not_decided_and_nothing_more(case: Case, data: st.DataObject) -> None:
    text = data.draw(case.texts())
    end = data.draw(st.integers(0, len(text)))
    splitter = case.splitter()
    shown = letters(splitter.feed(text[:end]))
    decided = case.decided(text[:end])
    assert decided[: len(shown)] == shown
    late = "".join(character for _, character in decided[len(shown) :])
    # The end of a tool call is shown, but not before it is whole.
    assert not late or (
        case.style == "harmony" and re.match(r"<\|(ca|e|r)", late) and text[:end].endswith(late)
    )
    held = letters(splitter.flush())
    assert shown + held == case.letters(text[:end])
    assert len(held) <= case.max_held


FIXED = {
    "think-before": [
        "<think>\nHm, 1 < 2.\n</think>\n\nYes </think> no <think>.",
        " \n<think></think>x",
        "</think>\n\nx",
        "Hello <think>no</think>",
        "<think>cut short </thin",
        "<thinking>no</thinking>",
        " " * 17 + "<think>a</think>b",
    ],
    "think-begun": ["Hm.</think>Yes.", "\n<think>\nHm.</think>\nYes.", "<thin", "no end </", "</think>"],
    "think-ended": ["\n\nYes <think>.", "<think>x</think>y", ""],
    "granite-before": [
        "Here is my thought process:\nHm.\nHere's my response: Yes. Here is my response: no.",
        "Here is my cat. Here is my response: no.",
        "<think>Hm.</think>\n<response>\nYes.</response>\n",
        "<think>Hm.</think><response>a</response> b</response></response> ",
        "<think>Hm.</think><respond>",
        "Here is my thought process:a</response>Here is my response:<response",
        "x<response>y</response>",
    ],
    "channel": [
        "<|channel>thought\nHm.<channel|>Yes.<|channel> Final \nNo.",
        "<|channel>ANALYSIS a<|channel>secret b<|channel>assistant c",
        "a <|channel>\n\n<|channel> ! <channel|> b<|channel",
        "<|channel>thoughtful x<channel|>y",
        "<|channel>tho",
        "<|channel>" + " " * 17 + "thought x",
        "<|channel>" + "n" * 70 + " x<channel|>y",
    ],
    "harmony": [
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
        "<|message|>b<|end|><|start|>assistant<|channel|>commentary to=functions.f<|message|>{}<|call|>",
        " to=functions.f<|channel|>commentary json<|message|>{}<|call|>",
        "<|channel|>analysis to=python code<|message|>1 + 1<|call|>",
        "<|channel|>secret<|message|>x<|end|><|start|>user<|message|>y<|end|>z",
        "No header, but <|channel|>final<|message|> one later",
        "<|channel|>final <|constrain|>JSON<|message|>{}",
        "<|channel|>ana",
    ],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in FIXED.items() for text in texts])
def test_every_cut_into_two_and_every_character_by_itself(name: str, text: str) -> None:
    case = BY_NAME[name]
    expected = case.letters(text)
    for cut in range(len(text) + 1):
        assert letters(feed(case.splitter(), [text[:cut], text[cut:]])) == expected, text[:cut]
    assert letters(feed(case.splitter(), list(text))) == expected


@EVERY_CASE
def test_plain_text_of_an_answer_passes_through_as_it_is(case: Case) -> None:
    splitter = case.splitter()
    for begin in ("x", "</think>", "[/THINK]", "</seed:think>", "Here is my response:", " x"):
        splitter.feed(begin)
    for text in (" of", " the", "\n\n"):
        ((_, shown),) = splitter.feed(text)
        assert shown is text


@EVERY_CASE
def test_nothing_comes_of_nothing(case: Case) -> None:
    splitter = case.splitter()
    assert splitter.feed("") == []
    assert splitter.flush() == []
