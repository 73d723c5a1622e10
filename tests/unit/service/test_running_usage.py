"""What a call has cost by now, by the newest counts of its prompts and their choices."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamawire.v1 import chat_pb2, completion_pb2, usage_pb2
from llamawire_server.service.answer import Answer
from llamawire_server.service.completions.answer import CompletionAnswer, PromptEvents
from llamawire_server.service.running_usage import RunningUsage
from llamawire_server.worker.event_queue import EventQueue
from llamawire_server.worker.messages import Completed, Event, TextDelta
from llamawire_server.worker.token_counts import ChoiceCounts, PromptCounts

PROMPT = PromptCounts(10, 4)


def delta(text: str, num_tokens: int, index: int = 0, **fields: Any) -> TextDelta:
    """News of a choice that has so many tokens by then; with the first one, of its prompt."""
    counts = ChoiceCounts(num_tokens, fields.pop("num_reasoning_tokens", 0))
    prompt_counts = PROMPT if num_tokens == 1 else None
    return TextDelta(1, index, text, [1], counts=counts, prompt_counts=prompt_counts, **fields)


def done(num_completion_tokens: int) -> Completed:
    return Completed(1, 10, 4, num_completion_tokens, 0.25, 0.5, 2, num_accepted_draft_tokens=1)


def answer(lease: Any, num_choices: int = 1) -> Answer:
    return Answer(lease, num_choices, time.monotonic(), has_running_usage=True)


def sizes(usage: usage_pb2.Usage) -> tuple[int, int]:
    """Tokens of the prompt and of the answer."""
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    return usage.prompt_tokens, usage.completion_tokens


def test_every_chunk_says_what_it_has_cost_by_then(lease: Any) -> None:
    steps: list[list[Event]] = [
        [delta("he", 1)],
        [delta("l", 3, reasoning="hm", num_reasoning_tokens=1)],
        [delta("", 4)],  # a part of a character
        [delta("lo", 6, num_reasoning_tokens=1), delta("", 7, finish_reason="stop"), done(7)],
    ]
    streamed = answer(lease)
    chunks = [chunk for step in steps for chunk in streamed.chunks(step)]
    assert [sizes(chunk.usage) for chunk in chunks] == [(10, 0), (10, 1), (10, 3), (10, 7), (10, 7)]
    opening, *_, last = (chunk.usage for chunk in chunks)
    assert (opening.prompt_cache_hit_tokens, opening.prompt_cache_miss_tokens) == (4, 6)
    assert opening.prompt_tokens_details.cached_tokens == 4
    assert chunks[2].usage.completion_tokens_details.reasoning_tokens == 1
    assert last.completion_tokens_details.accepted_draft_tokens == 1, "which is known at the end"
    assert [chunk.HasField("timings") for chunk in chunks] == [False] * 4 + [True]
    assert last == answer(lease).whole([event for step in steps for event in step]).usage


def test_choices_add_up_and_their_prompt_counts_once(lease: Any) -> None:
    steps: list[list[Event]] = [
        [delta("a", 1, 0), delta("b", 1, 1)],
        [delta("", 2, 1)],
        [delta("a", 2, 0, finish_reason="stop")],
        [delta("b", 3, 1, finish_reason="stop"), done(5)],
    ]
    streamed = answer(lease, 2)
    chunks = [chunk for step in steps for chunk in streamed.chunks(step)]
    told = [sizes(chunk.usage) for chunk in chunks]
    assert told == [(10, 0), (10, 2), (10, 4), (10, 4), (10, 5), (10, 5)], "what is held back counts, too"


def test_a_prompt_that_is_told_of_again_stays_as_it_was() -> None:
    usage = RunningUsage()
    usage.note([delta("a", 1)])
    usage.note([TextDelta(1, 1, "b", [1], counts=ChoiceCounts(1, 0), prompt_counts=PromptCounts(10, 0))])
    assert sizes(usage.usage()) == (10, 2)
    assert usage.usage().prompt_cache_hit_tokens == 4


def test_prompts_count_as_they_begin(lease: Any) -> None:
    steps: list[list[PromptEvents]] = [
        [(1, [delta("a", 1)])],
        [(1, [delta("b", 2)]), (0, [delta("c", 1)])],
        [(0, [delta("d", 2, finish_reason="stop"), done(2)])],
        [(1, [delta("e", 3, finish_reason="stop"), done(3)])],
    ]
    streamed = CompletionAnswer(lease, 2, 1, time.monotonic(), has_running_usage=True)
    chunks = [chunk for step in steps for chunk in streamed.chunks(step)]
    assert [sizes(chunk.usage) for chunk in chunks] == [(10, 1), (20, 3), (20, 4), (20, 5)]
    assert chunks[-1].usage.completion_tokens_details.accepted_draft_tokens == 2
    whole = CompletionAnswer(lease, 2, 1, time.monotonic()).whole([one for step in steps for one in step])
    assert chunks[-1].usage == whole.usage


def test_a_prompt_that_is_only_computed_counts_with_its_end(lease: Any) -> None:
    """It is generated nothing after it, so nothing says how much there is."""
    streamed = CompletionAnswer(lease, 2, 1, time.monotonic(), has_running_usage=True)
    first, last = (
        chunk
        for number in (0, 1)
        for chunk in streamed.chunks([(number, [TextDelta(1, 0, "", [], "length"), done(0)])])
    )
    assert [sizes(chunk.usage) for chunk in (first, last)] == [(10, 0), (20, 0)]


def test_who_does_not_ask_gets_it_at_the_end(lease: Any) -> None:
    plain = Answer(lease, 1, time.monotonic())
    chunks: list[chat_pb2.ChatCompletionChunk | completion_pb2.CompletionChunk]
    chunks = [*plain.chunks([delta("a", 1)]), *plain.chunks([delta("b", 2)])]
    completion = CompletionAnswer(lease, 1, 1, time.monotonic())
    chunks += completion.chunks([(0, [delta("a", 1)])])
    assert not any(chunk.HasField("usage") for chunk in chunks)


@pytest.fixture
def make_answer(lease: Any) -> Any:
    return lambda num_choices: answer(lease, num_choices)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_usage_never_shrinks_however_slow_the_reader_is(make_answer: Any, data: st.DataObject) -> None:
    """Events that wait for their reader become one, which has the newest counts."""
    num_choices = data.draw(st.integers(1, 3))
    lengths = [data.draw(st.integers(1, 6)) for _ in range(num_choices)]
    order = data.draw(st.permutations([i for i, length in enumerate(lengths) for _ in range(length)]))
    queue, streamed, chunks = EventQueue(), make_answer(num_choices), []
    so_far = [0] * num_choices

    def take() -> None:
        if events := queue.take():
            chunks.extend(streamed.chunks(events))
            assert sizes(chunks[-1].usage) == (10, sum(so_far)), "as it stands"

    for index in order:
        so_far[index] += 1
        end = "length" if so_far[index] == lengths[index] else ""
        queue.put(delta("x", so_far[index], index, finish_reason=end))
        if data.draw(st.booleans()):
            take()
    queue.put(done(sum(lengths)))
    take()
    told = [sizes(chunk.usage) for chunk in chunks]
    assert told == sorted(told)
    assert (told[0], told[-1]) == ((10, 0), (10, sum(lengths)))
