"""Texts and tokens to go on from as they are: what becomes of them, and how they come back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampling import GREEDY
from scripted_worker import (
    END,
    LIMITS,
    Bytes,
    Script,
    completed,
    ends_of,
    make,
    progress_of,
    run,
    step,
    text_of,
)

from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.engine.sequence import Sequence
from llamawire_server.engine.step import Sampled, Slice
from llamawire_server.worker.child.echo import PromptEcho
from llamawire_server.worker.child.prompts import PromptBuilder, RequestError
from llamawire_server.worker.messages import (
    ChatPrompt,
    Completed,
    Echo,
    Event,
    Generate,
    RawPrompt,
    TextDelta,
)

PREFIX, SUFFIX, MIDDLE = 1, 2, 3


class Infilling(Bytes):
    """A vocabulary that was taught to fill gaps; notes how it is asked."""

    infill_tokens = (PREFIX, SUFFIX, MIDDLE)

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool, bool]] = []

    def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, limit: int | None = None
    ) -> list[int]:
        self.asked.append((text, add_special, parse_special))
        return super().tokenize(text, add_special=add_special, parse_special=parse_special)


class Plain(Bytes):
    infill_tokens = None


class ScoringScript(Script):
    """Says, too, how likely a prompt's tokens were: minus their places."""

    def run(self, slices: list[Slice]) -> Mapping[Sequence, Sampled]:
        for piece in slices:
            tokens = piece.sequence.tokens
            piece.logprobs += [
                TokenLogprobs(tokens[place + 1], -float(place), [(END, -0.5)])
                for place in piece.scored_places
            ]
        return super().run(slices)


def raw(text: str = "hi", *, n: int = 1, max_tokens: int | None = None, **fields: Any) -> Generate:
    prompt_fields = {name: fields.pop(name) for name in list(fields) if name in RawPrompt.__struct_fields__}
    return Generate(
        request_id=1,
        arrived=time.monotonic(),
        arrived_at=time.time(),
        prompt=RawPrompt("prompt[0]", text, **prompt_fields),
        sampling=GREEDY,
        max_tokens=2048 if max_tokens is None else max_tokens,
        is_max_tokens_explicit=max_tokens is not None,
        num_choices=n,
        stops=fields.pop("stops", []),
        stop_token_ids=[],
        **fields,
    )


def echoes(events: list[Event]) -> dict[int, list[Echo]]:
    found: dict[int, list[Echo]] = {}
    for event in events:
        if isinstance(event, TextDelta) and event.echo is not None:
            found.setdefault(event.index, []).append(event.echo)
    return found


def builder(vocabulary: Any) -> PromptBuilder:
    return PromptBuilder(vocabulary, None, LIMITS.context_length)


def test_it_needs_no_template_and_nothing_is_put_around_it() -> None:
    script = Script("there")
    generations = make(script, None)
    generations.start(raw("hi "))
    events = run(generations)
    assert text_of(events) == "there"
    assert script.prompts == {"^hi "}
    assert completed(events).num_prompt_tokens == 4


def test_reasoning_is_text() -> None:
    generations = make(Script("<think>a</think>b"), style="think")
    generations.start(raw())
    events = run(generations)
    assert text_of(events) == "<think>a</think>b"
    assert ends_of(events) == ["stop"]


def test_tokens_are_taken_as_they_are() -> None:
    script = Script("x")
    generations = make(script)
    generations.start(raw(tokens=list(b"abc")))
    run(generations)
    assert script.prompts == {"abc"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("hi", True, True)),
        ({"add_special": False}, ("hi", False, True)),
        ({"parse_special": False}, ("hi", True, False)),
        ({"text": "^hi"}, ("^hi", False, True)),
        ({"text": "^hi", "parse_special": False}, ("^hi", True, False)),
    ],
)
def test_how_a_text_is_tokenized(fields: dict[str, Any], expected: tuple[str, bool, bool]) -> None:
    vocabulary = Infilling()
    builder(vocabulary).raw_tokens(RawPrompt("prompt[0]", **{"text": "hi", **fields}))
    assert vocabulary.asked == [expected]


def test_a_gap_is_marked_in_the_order_of_prefix_suffix_middle() -> None:
    vocabulary = Infilling()
    prompt = RawPrompt("prompt[0]", "ab", suffix="yz", parse_special=False)
    assert builder(vocabulary).raw_tokens(prompt) == [*b"^", PREFIX, *b"ab", SUFFIX, *b"yz", MIDDLE]
    assert not any(parse for _, _, parse in vocabulary.asked)
    of_tokens = RawPrompt("prompt[0]", tokens=[7, 8], suffix="z", add_special=False)
    assert builder(vocabulary).raw_tokens(of_tokens) == [PREFIX, 7, 8, SUFFIX, *b"z", MIDDLE]
    empty = RawPrompt("prompt[0]", "", suffix="z", add_special=False)
    assert builder(vocabulary).raw_tokens(empty) == [PREFIX, SUFFIX, *b"z", MIDDLE]


def test_a_model_that_was_not_taught_to_fill_gaps_says_so() -> None:
    with pytest.raises(RequestError, match="can't fill one") as caught:
        builder(Plain()).raw_tokens(RawPrompt("prompt[0]", "ab", suffix="yz"))
    error = caught.value
    assert (error.condition, error.reason, error.field) == ("UNSUPPORTED", "NO_INFILL", "suffix")


def test_a_prompt_of_no_tokens_is_named() -> None:
    with pytest.raises(RequestError, match="no tokens") as caught:
        make(Script()).start(raw("", add_special=False))
    assert (caught.value.reason, caught.value.field) == ("EMPTY_PROMPT", "prompt[0]")


@pytest.mark.parametrize("text", ["x" * 150, "x" * 5000])
def test_a_prompt_longer_than_the_context_is_named(text: str) -> None:
    with pytest.raises(RequestError, match="the model's context has 100") as caught:
        make(Script()).start(raw(text))
    assert (caught.value.reason, caught.value.field) == ("CONTEXT_LENGTH_EXCEEDED", "prompt[0]")


def test_an_echo_comes_once_before_all_else() -> None:
    generations = make(Script("first", "other"))
    generations.start(raw("hi ", n=2, echo=True))
    events = run(generations)
    assert echoes(events) == {0: [Echo("hi ")], 1: [Echo("hi ")]}
    first = [event for event in events if isinstance(event, TextDelta)][:2]
    assert all(event.echo is not None for event in first)
    assert [text_of(events, 0), text_of(events, 1)] == ["first", "other"], (
        "the echo is no part of what is generated"
    )
    assert completed(events).num_completion_tokens == 12


def test_tokens_are_echoed_as_their_text() -> None:
    tokens = [*"é".encode(), END, ord("a")]
    sequence = Sequence(1, 0, [*tokens, ord("b")], len(tokens), 9, GREEDY)
    echo = PromptEcho(RawPrompt("prompt[0]", tokens=tokens), [sequence], Plain())
    assert echo.take(sequence) == Echo("é<end>a")
    assert echo.take(sequence) is None


def test_an_echo_says_how_likely_the_prompt_was() -> None:
    generations = make(ScoringScript("xy", "z"))
    generations.start(raw("abc", n=2, echo=True, scores_prompt=True, num_top_logprobs=1))
    found = echoes(run(generations))
    for echo in (*found[0], *found[1]):
        assert (echo.text, echo.first_token) == ("abc", b"^")
        assert [one.piece for one in echo.logprobs] == [b"a", b"b", b"c"]
        assert [one.logprob for one in echo.logprobs] == [0, -1, -2]
        assert [one.top for one in echo.logprobs] == [[(-0.5, b"<end>")]] * 3
    assert found.keys() == {0, 1}


def test_with_nothing_to_generate_the_prompt_alone_is_computed() -> None:
    script = ScoringScript("xyz", "")
    generations = make(script)
    generations.start(raw("ab", n=2, max_tokens=0, echo=True, scores_prompt=True, num_top_logprobs=0))
    events = run(generations)
    assert (text_of(events), ends_of(events)) == ("", ["length", "length"])
    assert all(not event.tokens and not event.logprobs for event in events if isinstance(event, TextDelta))
    assert len(echoes(events)[0][0].logprobs) == 2
    done = completed(events)
    assert (done.num_prompt_tokens, done.num_completion_tokens) == (3, 0)
    assert not generations.has_work


def test_nothing_to_generate_and_nothing_to_tell() -> None:
    generations = make(Script("x"))
    generations.start(raw("ab", max_tokens=0))
    events = run(generations)
    assert ends_of(events) == ["length"]
    assert not echoes(events)


def test_messages_cross_between_processes() -> None:
    for prompt in (RawPrompt("prompt[1]", tokens=[1, 2], suffix="x"), ChatPrompt([{"role": "user"}])):
        request = msgspec.structs.replace(raw(), prompt=prompt)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=Generate) == request
    delta = TextDelta(1, 0, "", [], echo=Echo("a", b"a", []))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(delta), type=TextDelta) == delta
    assert delta.has_news


TEXTS = ("the é first", "stöp no", "🙂 stop now")


@given(cut=st.integers(0, 30), n=st.integers(1, 3), max_tokens=st.integers(0, 12))
def test_it_goes_on_anywhere_as_if_nothing_had_happened(cut: int, n: int, max_tokens: int) -> None:
    request = raw(
        "abc", n=n, max_tokens=max_tokens, stops=["stop"], echo=True, scores_prompt=True, num_top_logprobs=0
    )
    undisturbed = make(ScoringScript(*TEXTS[:n]))
    undisturbed.start(request)
    expected = run(undisturbed)

    first = make(script := ScoringScript(*TEXTS[:n]))
    first.start(request)
    before: list[Event] = []
    for _ in range(cut):
        before += step(first)
    if any(isinstance(event, Completed) for event in before):
        return
    progress = progress_of(before, n)
    second = make(script)
    second.start(msgspec.structs.replace(request, progress=progress))
    after = run(second)
    assert echoes(before + after) == echoes(expected), "it comes once, from whichever worker"
    for index in range(n):
        assert text_of(before + after, index) == text_of(expected, index)
    assert completed(after).num_completion_tokens == completed(expected).num_completion_tokens
