"""The events of several prompts as chunks and as a whole: both say the same."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamawire.v1 import chat_pb2, completion_pb2
from llamawire_server.service.completions.answer import CompletionAnswer, PromptEvents
from llamawire_server.worker.messages import Completed, Echo, Event, Logprob, TextDelta

STOP, LENGTH = chat_pb2.FINISH_REASON_STOP, chat_pb2.FINISH_REASON_LENGTH


def done(queue: float = 0.25, prompt: float = 0.5, generation: float = 2) -> Completed:
    return Completed(
        1,
        num_prompt_tokens=10,
        num_cached_tokens=4,
        num_completion_tokens=7,
        queue_seconds=queue,
        prompt_seconds=prompt,
        generation_seconds=generation,
        num_accepted_prediction_tokens=1,
        num_rejected_prediction_tokens=2,
        num_accepted_draft_tokens=3,
        num_rejected_draft_tokens=4,
    )


def delta(text: str, index: int = 0, finish_reason: str = "", **fields: Any) -> TextDelta:
    return TextDelta(1, index, text, [1], finish_reason, **fields)


def make(lease: Any, num_prompts: int = 1, num_choices: int = 1, **fields: Any) -> CompletionAnswer:
    return CompletionAnswer(lease, num_prompts, num_choices, time.monotonic(), **fields)


def chunks_of(
    answer: CompletionAnswer, *steps: Sequence[PromptEvents]
) -> list[completion_pb2.CompletionChunk]:
    return [chunk for step in steps for chunk in answer.chunks(step)]


def tokens(choice: completion_pb2.CompletionChoice) -> list[tuple[str, float | None, int]]:
    return [
        (one.token, one.logprob if one.HasField("logprob") else None, one.text_offset)
        for one in choice.logprobs.tokens
    ]


def test_a_stream_ends_with_the_cost(lease: Any) -> None:
    first, last = chunks_of(make(lease), [(0, [delta("he")])], [(0, [delta("llo", 0, "stop"), done()])])
    assert [(c.index, c.text, c.finish_reason) for c in first.choices] == [(0, "he", 0)]
    assert [(c.index, c.text, c.finish_reason) for c in last.choices] == [(0, "llo", STOP)]
    assert not first.HasField("usage")
    assert last.HasField("usage")
    assert last.HasField("timings")


def test_all_chunks_have_the_identity(lease: Any) -> None:
    chunks = chunks_of(make(lease), [(0, [delta("x")])], [(0, [delta("y", 0, "length"), done()])])
    assert {(c.id, c.created, c.model, c.system_fingerprint) for c in chunks} == {
        (chunks[0].id, chunks[0].created, "a", "fp_1")
    }
    assert re.fullmatch(r"cmpl-[0-9a-f]{32}", chunks[0].id)


def test_choices_are_numbered_prompt_by_prompt(lease: Any) -> None:
    events: list[PromptEvents] = [
        (1, [delta("d", 1, "stop"), delta("c", 0, "length"), done()]),
        (0, [delta("b", 1, "stop"), delta("a", 0, "stop"), done()]),
    ]
    whole = make(lease, 2, 2).whole(events)
    expected = [(0, "a", STOP), (1, "b", STOP), (2, "c", LENGTH), (3, "d", STOP)]
    assert [(c.index, c.text, c.finish_reason) for c in whole.choices] == expected
    (chunk,) = chunks_of(make(lease, 2, 2), events)
    assert [(c.index, c.text, c.finish_reason) for c in chunk.choices] == expected


def test_the_cost_is_told_when_the_last_prompt_is_done(lease: Any) -> None:
    answer = make(lease, 2)
    first, last = chunks_of(
        answer, [(1, [delta("b", 0, "stop"), done()])], [(0, [delta("a", 0, "stop"), done()])]
    )
    assert not first.HasField("usage")
    assert (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens) == (20, 14, 34)
    assert (last.usage.prompt_cache_hit_tokens, last.usage.prompt_cache_miss_tokens) == (8, 12)
    details = last.usage.completion_tokens_details
    assert (details.accepted_prediction_tokens, details.rejected_prediction_tokens) == (2, 4)
    assert (details.accepted_draft_tokens, details.rejected_draft_tokens) == (6, 8)


def test_the_times_of_several_prompts_are_those_of_one(lease: Any) -> None:
    events: list[PromptEvents] = [
        (0, [delta("a", 0, "stop"), done(queue=1, prompt=2, generation=3)]),
        (1, [delta("b", 0, "stop"), done(queue=2, prompt=0.5, generation=8)]),
    ]
    timings = make(lease, 2).whole(events).timings
    assert timings.queue.ToMilliseconds() == 1000
    assert timings.prompt.ToMilliseconds() == 1500, "the first token is the second prompt's"
    assert timings.generation.ToMilliseconds() == 8000
    assert timings.model_load.ToMilliseconds() == 1500
    assert timings.first_token.ToMilliseconds() >= 2500


def test_an_echo_comes_first(lease: Any) -> None:
    events: list[Event] = [delta("b", echo=Echo("a ")), delta("c", 0, "stop"), done()]
    assert make(lease).whole([(0, events)]).choices[0].text == "a bc"
    first, *_ = chunks_of(make(lease), *([(0, [event])] for event in events))
    assert first.choices[0].text == "a b"


def test_an_echo_alone_is_news(lease: Any) -> None:
    first, last = chunks_of(
        make(lease), [(0, [delta("", echo=Echo("a"))])], [(0, [delta("", 0, "length"), done()])]
    )
    assert first.choices[0].text == "a"
    assert last.choices[0].finish_reason == LENGTH


def test_what_is_held_back_makes_no_chunk(lease: Any) -> None:
    answer = make(lease)
    assert chunks_of(answer, [(0, [delta("")])]) == []
    assert chunks_of(answer, [(0, [delta("x")])])[0].choices[0].text == "x"


def test_log_probabilities_say_where_their_tokens_begin(lease: Any) -> None:
    fox = "🦊".encode()
    generated = [Logprob(-1.0, b" y", [(-0.5, b" z")]), Logprob(-math.inf, fox[:2]), Logprob(-2.0, fox[2:])]
    echo = Echo("é x", "é".encode(), [Logprob(-0.25, b" x")])
    events: list[Event] = [delta(" y", logprobs=generated[:1], echo=echo)]
    events += [delta("🦊", 0, "stop", logprobs=generated[1:]), done()]
    expected = [
        ("é", None, 0),
        (" x", -0.25, 1),
        (" y", -1.0, 3),
        ("\ufffd", -9999.0, 5),
        ("\ufffd\ufffd", -2.0, 5),
    ]
    whole = make(lease, has_logprobs=True).whole([(0, events)]).choices[0]
    assert tokens(whole) == expected
    assert [one.token for one in whole.logprobs.tokens[2].top_logprobs] == [" z"]
    streamed = chunks_of(make(lease, has_logprobs=True), *([(0, [event])] for event in events))
    assert [one for chunk in streamed for choice in chunk.choices for one in tokens(choice)] == expected


def test_what_the_model_was_given_beyond_the_text_begins_where_it_does(lease: Any) -> None:
    echo = Echo("ab c", b"<s>", [Logprob(-1.0, b" ab"), Logprob(-1.0, b" c")])
    events: list[Event] = [delta("d", 0, "stop", logprobs=[Logprob(-1.0, b"d")], echo=echo), done()]
    found = tokens(make(lease, has_logprobs=True).whole([(0, events)]).choices[0])
    assert [offset for _, _, offset in found] == [0, 0, 2, 4]


def test_there_are_none_where_none_are_wanted(lease: Any) -> None:
    events: list[Event] = [delta("d", 0, "stop", logprobs=[Logprob(-1.0, b"d")]), done()]
    assert not make(lease, num_generated=1).whole([(0, events)]).choices[0].HasField("logprobs")
    empty = make(lease, has_logprobs=True).whole([(0, [delta("", 0, "stop"), done()])])
    assert empty.choices[0].HasField("logprobs"), "they were asked for, and there are none"


def test_the_best_are_those_whose_tokens_are_likeliest_on_average(lease: Any) -> None:
    def choice(text: str, index: int, *values: float) -> TextDelta:
        return delta(text, index, "stop", logprobs=[Logprob(value, b"x") for value in values])

    for prompt in (0, 1):
        events = [choice("long", 0, -1, -1, -1, -1), choice("none", 1), choice("short", 2, -2), done()]
        other = [choice("x", 0, -1), choice("y", 1, -0.5), choice("z", 2, -1), done()]
        whole = make(lease, 2, 2, num_generated=3).whole([(prompt, events), (1 - prompt, other)])
        texts = [["long", "short"], ["y", "x"]]
        expected = [*texts[prompt], *texts[1 - prompt]]
        assert [(c.index, c.text) for c in whole.choices] == list(enumerate(expected))
        assert not any(c.HasField("logprobs") for c in whole.choices)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_chunks_add_up_to_the_whole(lease: Any, data: st.DataObject) -> None:
    num_prompts, num_choices = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    steps: list[list[PromptEvents]] = []
    for number in range(num_prompts):
        events: list[Event] = []
        for index in range(num_choices):
            texts = data.draw(st.lists(st.text(max_size=3), min_size=1, max_size=4))
            for place, text in enumerate(texts):
                logprobs = [Logprob(-1.0, text.encode())] if text else []
                echo = Echo("é!", "é".encode(), [Logprob(-2.0, b"!")]) if place == 0 else None
                reason = "stop" if place == len(texts) - 1 else ""
                events.append(delta(text, index, reason, logprobs=logprobs, echo=echo))
        events.append(done())
        while events:
            size = data.draw(st.integers(1, len(events)))
            steps.append([(number, events[:size])])
            del events[:size]
    whole = make(lease, num_prompts, num_choices, has_logprobs=True).whole(
        [one for step in steps for one in step]
    )
    chunks = chunks_of(make(lease, num_prompts, num_choices, has_logprobs=True), *steps)
    added: dict[int, completion_pb2.CompletionChoice] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            so_far = added.setdefault(choice.index, completion_pb2.CompletionChoice(index=choice.index))
            so_far.text += choice.text
            so_far.finish_reason = choice.finish_reason or so_far.finish_reason
            so_far.logprobs.MergeFrom(choice.logprobs)
    assert [added[index] for index in sorted(added)] == list(whole.choices)
    assert [chunk.HasField("usage") for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage == whole.usage
    for choice in whole.choices:
        for one in choice.logprobs.tokens:
            text = choice.text[one.text_offset :]
            assert text.startswith(one.bytes.decode()), "a token's text is where it is said to be"


@pytest.mark.parametrize("num_choices", [1, 2])
def test_the_likeliest_way_gives_what_the_long_one_gives(lease: Any, num_choices: int) -> None:
    answer = make(lease, 3, num_choices)
    (short,) = answer.chunks([(2, [delta("x")])])
    (long,) = answer.chunks([(2, [delta("x"), delta("")])])
    assert short == long
    assert short.choices[0].index == 2 * num_choices
