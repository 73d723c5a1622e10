"""Which tokens' log probabilities a caller gets, and when."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.chat.channels import STYLES
from llamawire_server.chat.pipeline import TextPipeline
from llamawire_server.chat.tools import Tool
from llamawire_server.chat.tools.hermes import Hermes
from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.worker.child.text_logprobs import TextLogprobs

TOOLS = [Tool("f", {"type": "object"})]
HERMES = Hermes()


def given_at(pieces: Sequence[bytes], pipeline: TextPipeline) -> list[list[int]]:
    """After each piece, and in the end, the numbers of the pieces whose log probabilities came."""
    logprobs = TextLogprobs(pipeline)
    found = []
    for number, piece in enumerate(pieces):
        delta = pipeline.feed(piece)
        found.append(logprobs.take(piece, TokenLogprobs(number, -1.0, []), delta))
    if not pipeline.is_stopped:
        found.append(logprobs.take(b"", None, pipeline.flush()))
    return [[one.token for one in some] for some in found]


def pieces_given(pieces: Sequence[bytes], pipeline: TextPipeline) -> list[bytes]:
    return [pieces[number] for some in given_at(pieces, pipeline) for number in some]


def reasoning(*stops: str) -> TextPipeline:
    return TextPipeline(stops, STYLES["think"].splitter(""), HERMES.parser(TOOLS, lambda: "call_1"))


def test_each_comes_with_its_text() -> None:
    assert given_at([b"Hi", b" you"], TextPipeline([])) == [[0], [1], []]


def test_a_character_s_tokens_come_together() -> None:
    assert given_at([b"a", b"\xf0\x9f", b"\x99\x82", b"b"], TextPipeline([])) == [[0], [], [1, 2], [3], []]


def test_bytes_that_are_no_text_count_as_what_they_were_replaced_by() -> None:
    assert given_at([b"\xff", b"a", b"\xc3"], TextPipeline([])) == [[0], [1], [], [2]]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        # Held back, and let go.
        ([b"a ", b"ST", b"EP"], [[0], [], [1, 2], []]),
        ([b"S", b"S", b"S"], [[], [0], [1], [2]]),
        ([b"aS"], [[0], []]),
        ([b"aS", b"b"], [[0], [1], []]),
        # A stop string: none of its tokens but those that have text beside.
        ([b"a", b"ST", b"OP"], [[0], [], []]),
        ([b"a", b"bST", b"OP"], [[0], [1], []]),
    ],
)
def test_what_is_held_back_waits(pieces: list[bytes], expected: list[list[int]]) -> None:
    assert given_at(pieces, TextPipeline(["STOP"])) == expected


def test_reasoning_and_its_markers_are_left_out() -> None:
    pieces = [b"<think>", b"So", b"</", b"think", b">", b"\n\n", b"Yes", b"."]
    assert pieces_given(pieces, reasoning()) == [b"Yes", b"."]


def test_calls_and_their_markers_are_left_out() -> None:
    call = [
        b"<tool_",
        b"call>",
        b'{"name":',
        b' "f", ',
        b'"arguments": ',
        b'{"a": "Go"}',
        b"}",
        b"</tool_call>",
    ]
    assert pieces_given([b"Let", b" us", *call], reasoning()) == [b"Let", b" us"]
    assert pieces_given([*call, b"\n", b"Go", b" on"], reasoning()) == [b"Go", b" on"]


def test_text_that_was_held_back_for_a_stop_string_is_text_before_a_call() -> None:
    call = [b"<tool_call>", b'{"name": "f", ', b'"arguments": {}', b"}</tool_call>"]
    assert pieces_given([b"a", b" S", b"TO", *call, b"P", b" on"], reasoning("STOP")) == [
        b"a",
        b" S",
        b"TO",
        b"P",
        b" on",
    ]
    assert pieces_given([b"a", b" ", b"\n", *call], reasoning("\n\n", "\nS")) == [b"a"]
    assert pieces_given([b"a", b" ", b"\n", *call], reasoning("\n")) == [b"a", b" "]


def test_what_looked_like_a_call_and_is_none_is_text() -> None:
    pieces = [b"a ", b"<tool_", b"call>", b" is", b" a", b" tag"]
    assert pieces_given(pieces, reasoning()) == pieces


WORDS = st.lists(
    st.sampled_from([b"a", b"ab", b"S", b"ST", b"STO", b"\xc3", b"\xa9", b" ", b"<", b"<th"]), max_size=12
)


@given(WORDS)
def test_of_plain_text_none_is_lost(pieces: list[bytes]) -> None:
    assert pieces_given(pieces, TextPipeline(["STOPPED"])) == pieces


@given(WORDS)
def test_of_an_answer_none_comes_twice_and_all_in_order(pieces: list[bytes]) -> None:
    found = [
        number
        for some in given_at([b"<think>", *pieces, b"</think>", *pieces], reasoning("STO"))
        for number in some
    ]
    assert found == sorted(set(found))
    assert all(number > len(pieces) + 1 for number in found)
