"""Events as chunks and as a whole answer: both say the same, and the last chunk tells what it cost."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamawire.v1 import chat_pb2
from llamawire_server.chat.tools import CallDelta
from llamawire_server.service.answer import Answer
from llamawire_server.worker.messages import Completed, Event, Logprob, TextDelta

STOP, LENGTH = chat_pb2.FINISH_REASON_STOP, chat_pb2.FINISH_REASON_LENGTH
TOOL_CALLS = chat_pb2.FINISH_REASON_TOOL_CALLS
COMPLETED = Completed(
    1,
    num_prompt_tokens=10,
    num_cached_tokens=4,
    num_completion_tokens=7,
    queue_seconds=0.25,
    prompt_seconds=0.5,
    generation_seconds=2,
    num_accepted_prediction_tokens=11,
    num_rejected_prediction_tokens=12,
    num_accepted_draft_tokens=13,
    num_rejected_draft_tokens=14,
    num_reasoning_tokens=5,
)


def delta(text: str, index: int = 0, finish_reason: str = "", **fields: Any) -> TextDelta:
    return TextDelta(1, index, text, [1], finish_reason, **fields)


def chunks_of(answer: Answer, *steps: list[Event]) -> list[chat_pb2.ChatCompletionChunk]:
    return [chunk for step in steps for chunk in answer.chunks(step)]


def make(lease: Any, num_choices: int = 1, *, has_logprobs: bool = False) -> Answer:
    return Answer(lease, num_choices, time.monotonic(), has_logprobs=has_logprobs)


def test_a_stream_begins_with_the_role_and_ends_with_the_cost(lease: Any) -> None:
    steps: list[list[Event]] = [[delta("he")], [delta("llo"), delta("", 0, "stop"), COMPLETED]]
    first, *texts, last = chunks_of(make(lease), *steps)
    assert [choice.delta.role for choice in first.choices] == [chat_pb2.ROLE_ASSISTANT]
    assert [chunk.choices[0].delta.content for chunk in texts] == ["he", "llo"]
    assert last.choices[0].finish_reason == STOP
    assert last.HasField("usage")
    assert last.HasField("timings")
    assert not any(chunk.HasField("usage") or chunk.HasField("timings") for chunk in (first, *texts))


def test_all_chunks_of_an_answer_have_its_identity(lease: Any) -> None:
    answer, other = make(lease), make(lease)
    steps: list[list[Event]] = [[delta("x")], [delta("y", 0, "length"), COMPLETED]]
    chunks = chunks_of(answer, *steps)
    assert {(c.id, c.created, c.model, c.system_fingerprint, c.service_tier) for c in chunks} == {
        (chunks[0].id, chunks[0].created, "a", "fp_1", "default")
    }
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{32}", chunks[0].id)
    assert chunks_of(other, *steps)[0].id != chunks[0].id


def test_usage_and_timings(lease: Any) -> None:
    whole = make(lease).whole([delta("x", 0, "stop"), COMPLETED])
    usage, timings = whole.usage, whole.timings
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (10, 7, 17)
    assert (usage.prompt_cache_hit_tokens, usage.prompt_cache_miss_tokens) == (4, 6)
    assert usage.prompt_tokens_details.cached_tokens == 4
    details = usage.completion_tokens_details
    assert (details.accepted_prediction_tokens, details.rejected_prediction_tokens) == (11, 12)
    assert (details.accepted_draft_tokens, details.rejected_draft_tokens) == (13, 14)
    assert details.reasoning_tokens == 5
    assert timings.queue.ToMilliseconds() == 250
    assert timings.model_load.ToMilliseconds() == 1500
    assert timings.prompt.ToMilliseconds() == 500
    assert timings.generation.ToMilliseconds() == 2000
    assert timings.first_token.ToMilliseconds() >= 750


def test_news_of_several_choices_share_a_chunk(lease: Any) -> None:
    step: list[Event] = [delta("b", 1), delta("a", 0), delta("b", 1), delta("", 0, "length")]
    role, texts, ends = chunks_of(make(lease, 2), step)
    assert [choice.index for choice in role.choices] == [0, 1]
    assert [(choice.index, choice.delta.content) for choice in texts.choices] == [(0, "a"), (1, "bb")]
    assert [(choice.index, choice.finish_reason) for choice in ends.choices] == [(0, LENGTH)]
    assert not ends.HasField("usage"), "one goes on"


def test_an_answer_without_text_still_has_its_end(lease: Any) -> None:
    role, end = chunks_of(make(lease), [delta("", 0, "stop"), COMPLETED])
    assert role.choices[0].delta.content == ""
    assert end.choices[0].finish_reason == STOP
    whole = make(lease).whole([delta("", 0, "stop"), COMPLETED])
    assert whole.choices[0].message.content == ""
    assert whole.choices[0].message.HasField("content")


def test_reasoning_comes_beside_the_text(lease: Any) -> None:
    events: list[Event] = [
        delta("", reasoning="H"),
        delta("", reasoning="m"),
        delta("Yes", 0, "stop"),
        COMPLETED,
    ]
    _, first, *_ = chunks_of(make(lease), *([event] for event in events))
    assert (first.choices[0].delta.reasoning_content, first.choices[0].delta.HasField("content")) == (
        "H",
        False,
    )
    _, both, _ = chunks_of(make(lease), events)
    assert (both.choices[0].delta.reasoning_content, both.choices[0].delta.content) == ("Hm", "Yes")
    message = make(lease).whole(events).choices[0].message
    assert (message.reasoning_content, message.content) == ("Hm", "Yes")
    plain = make(lease).whole([delta("Yes", 0, "stop"), COMPLETED]).choices[0].message
    assert not plain.HasField("reasoning_content")


def test_a_call_opens_once_and_its_arguments_are_appended(lease: Any) -> None:
    steps: list[list[Event]] = [
        [delta("", calls=[CallDelta(0, "call_1", "f")])],
        [delta("", calls=[CallDelta(0, arguments="{")])],
        [
            delta("", calls=[CallDelta(0, arguments="}"), CallDelta(1, "call_2", "g", "{")]),
            delta("", calls=[CallDelta(1, arguments="}")]),
        ],
        [delta("", 0, "tool_calls"), COMPLETED],
    ]
    _, opening, more, last, end = chunks_of(make(lease), *steps)
    (call,) = opening.choices[0].delta.tool_calls
    assert (call.index, call.id, call.type, call.function.name) == (0, "call_1", "function", "f")
    (call,) = more.choices[0].delta.tool_calls
    assert (call.index, call.id, call.type, call.function.name, call.function.arguments) == (
        0,
        "",
        "",
        "",
        "{",
    )
    calls = last.choices[0].delta.tool_calls
    assert [(call.index, call.id, call.function.arguments) for call in calls] == [
        (0, "", "}"),
        (1, "call_2", "{}"),
    ]
    assert end.choices[0].finish_reason == TOOL_CALLS

    whole = make(lease).whole([event for step in steps for event in step])
    (choice,) = whole.choices
    assert not choice.message.HasField("content"), "there is none beside the calls"
    assert [(call.id, call.type) for call in choice.message.tool_calls] == [
        ("call_1", "function"),
        ("call_2", "function"),
    ]
    assert choice.message.tool_calls[1].function == chat_pb2.FunctionCall(name="g", arguments="{}")
    spoken = make(lease).whole([delta("So."), *steps[0], *steps[3]]).choices[0].message
    assert (spoken.content, len(spoken.tool_calls)) == ("So.", 1)


def test_log_probabilities_have_texts_and_bytes(lease: Any) -> None:
    half = Logprob(-0.5, b"\xc3", [(-0.5, b"\xc3"), (float("-inf"), b"<end>")])
    step: list[Event] = [delta("\xe9", logprobs=[half, Logprob(-1, b"\xa9")])]
    _, chunk = chunks_of(make(lease), step)
    first, second = chunk.choices[0].logprobs.content
    assert (first.token, first.bytes, first.logprob) == ("\ufffd", b"\xc3", -0.5)
    assert [(top.token, top.bytes, top.logprob) for top in first.top_logprobs] == [
        ("\ufffd", b"\xc3", -0.5),
        ("<end>", b"<end>", -9999),
    ]
    assert list(second.top_logprobs) == []
    end: list[Event] = [delta("", 0, "stop"), COMPLETED]
    whole = make(lease, has_logprobs=True).whole([*step, *end])
    assert list(whole.choices[0].logprobs.content) == [first, second]


def test_log_probabilities_without_text_still_come(lease: Any) -> None:
    _, chunk, _ = chunks_of(make(lease), [delta("", 0, "stop", logprobs=[Logprob(-1, b"x")]), COMPLETED])
    assert chunk.choices[0].logprobs.content[0].token == "x"
    assert chunk.choices[0].HasField("delta")


def test_log_probabilities_are_there_where_they_were_asked_for(lease: Any) -> None:
    events: list[Event] = [delta("", 0, "stop"), COMPLETED]
    assert not make(lease).whole(events).choices[0].HasField("logprobs")
    assert make(lease, has_logprobs=True).whole(events).choices[0].HasField("logprobs")


@pytest.fixture
def make_answer(lease: Any) -> Any:
    return lambda num_choices: make(lease, num_choices)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_chunks_add_up_to_the_whole_answer(make_answer: Any, data: st.DataObject) -> None:
    num_choices = data.draw(st.integers(1, 4))
    texts = [data.draw(st.lists(st.text(max_size=4), max_size=6)) for _ in range(num_choices)]
    events: list[Event] = []
    waiting = [[delta(text, index) for text in pieces] for index, pieces in enumerate(texts)]
    for index, pieces in enumerate(waiting):
        pieces.append(delta("", index, data.draw(st.sampled_from(["stop", "length"]))))
    while any(waiting):
        events.append(data.draw(st.sampled_from([pieces for pieces in waiting if pieces])).pop(0))
    events.append(COMPLETED)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(events)), max_size=5)) | {len(events)})
    steps = [events[start:end] for start, end in zip([0, *cuts], cuts, strict=False)]

    whole = make_answer(num_choices).whole(events)
    chunks = chunks_of(make_answer(num_choices), *steps)
    content = [""] * num_choices
    ends: dict[int, list[int]] = {}
    for chunk in chunks:
        indices = [choice.index for choice in chunk.choices]
        assert indices == sorted(set(indices)), "at most one entry a choice, by index"
        for choice in chunk.choices:
            assert choice.index not in ends, "nothing comes after the end of a choice"
            content[choice.index] += choice.delta.content
            if choice.finish_reason:
                ends.setdefault(choice.index, []).append(choice.finish_reason)
    assert content == [choice.message.content for choice in whole.choices] == ["".join(t) for t in texts]
    assert ends == {choice.index: [choice.finish_reason] for choice in whole.choices}
    assert [chunk.HasField("usage") for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage == whole.usage


def test_the_stop_string_that_ended_a_choice_is_named(lease: Any) -> None:
    events: list[Event] = [delta("a", 0, "stop", matched_stop="END"), delta("b", 1, "stop"), COMPLETED]
    whole = make(lease, 2).whole(events)
    assert [choice.matched_stop for choice in whole.choices] == ["END", ""]
    chunks = chunks_of(make(lease, 2), events)
    ended = {c.index: c.matched_stop for chunk in chunks for c in chunk.choices if c.finish_reason}
    assert ended == {0: "END", 1: ""}
    assert not any(c.matched_stop for chunk in chunks[:-1] for c in chunk.choices)
