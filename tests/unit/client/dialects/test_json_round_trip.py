"""JSON becomes messages and JSON again without loss, whatever is in it; messages become JSON and messages again."""

from __future__ import annotations

import json
import math

import pytest
from google.protobuf import duration_pb2
from hypothesis import given
from hypothesis import strategies as st

from llamawire import MalformedResponseError
from llamawire.dialects import read_chunk, read_completion, write_chunk, write_completion
from llamawire.v1 import chat_pb2, usage_pb2

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
any_texts = st.text(max_size=8)  # halves of surrogate pairs included
uint32s = st.integers(0, 2**32 - 1)
logprobs_of_tokens = st.floats(-1000, 0, width=32)

# Messages that llamawire could have made.

tokens = st.builds(
    chat_pb2.TokenLogprob,
    token=texts,
    logprob=logprobs_of_tokens,
    bytes=st.binary(max_size=3),
    top_logprobs=st.lists(
        st.builds(chat_pb2.TopLogprob, token=texts, logprob=logprobs_of_tokens, bytes=st.binary(max_size=3)),
        max_size=2,
    ),
)
token_lists = st.lists(tokens, max_size=2)
logprobs = st.builds(
    chat_pb2.Logprobs, content=token_lists, refusal=token_lists, reasoning_content=token_lists
)
call_deltas = st.builds(
    chat_pb2.ToolCallDelta,
    index=uint32s,
    id=texts,
    type=texts,
    function=st.none() | st.builds(chat_pb2.FunctionCallDelta, name=texts, arguments=texts),
)
calls = st.builds(
    chat_pb2.ToolCall,
    id=texts,
    type=texts,
    function=st.none() | st.builds(chat_pb2.FunctionCall, name=texts, arguments=texts),
)
said = {
    "role": st.sampled_from(chat_pb2.Role.values()),
    "content": st.none() | texts,
    "reasoning_content": st.none() | texts,
    "refusal": st.none() | texts,
}
deltas = st.builds(chat_pb2.Delta, **said, tool_calls=st.lists(call_deltas, max_size=2))
messages = st.builds(chat_pb2.Message, **said, tool_calls=st.lists(calls, max_size=2))
ends = {
    "index": uint32s,
    "logprobs": st.none() | logprobs,
    "finish_reason": st.sampled_from(chat_pb2.FinishReason.values()),
}
usages = st.builds(
    usage_pb2.Usage,
    prompt_tokens=uint32s,
    completion_tokens=uint32s,
    total_tokens=uint32s,
    prompt_cache_hit_tokens=uint32s,
    prompt_cache_miss_tokens=uint32s,
    prompt_tokens_details=st.none() | st.builds(usage_pb2.PromptTokensDetails, cached_tokens=uint32s),
    completion_tokens_details=st.none()
    | st.builds(usage_pb2.CompletionTokensDetails, reasoning_tokens=uint32s, accepted_draft_tokens=uint32s),
)


def duration(nanoseconds: int) -> duration_pb2.Duration:
    made = duration_pb2.Duration()
    made.FromNanoseconds(nanoseconds)
    return made


durations = st.none() | st.integers(0, 10**15).map(duration)
timings = st.builds(
    usage_pb2.Timings, queue=durations, prompt=durations, first_token=durations, generation=durations
).filter(lambda made: made.ListFields())
head = {
    "id": texts,
    "created": st.integers(0, 2**63 - 1),
    "model": texts,
    "system_fingerprint": texts,
    "service_tier": texts,
    "usage": st.none() | usages,
    "timings": st.none() | timings,
}
chunks = st.builds(
    chat_pb2.ChatCompletionChunk,
    **head,
    choices=st.lists(st.builds(chat_pb2.ChunkChoice, **ends, delta=deltas), max_size=3),
)
completions = st.builds(
    chat_pb2.ChatCompletion,
    **head,
    choices=st.lists(st.builds(chat_pb2.Choice, **ends, message=messages), max_size=3),
)


@given(chunks)
def test_a_chunk_is_read_as_what_was_written(chunk):
    assert read_chunk(write_chunk(chunk)) == chunk


@given(completions)
def test_a_completion_is_read_as_what_was_written(completion):
    assert read_completion(write_completion(completion)) == completion


# JSON that anybody could have written.

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_texts, inner, max_size=3),
    max_leaves=6,
)


def objects(**known):
    """Objects with some of the known keys, in any order, each null at times, and with unknown ones."""
    return st.builds(
        lambda fields, more, turned: dict(
            reversed([*fields.items(), *more.items()]) if turned else [*more.items(), *fields.items()]
        ),
        st.fixed_dictionaries({}, optional={key: st.none() | value for key, value in known.items()}),
        st.dictionaries(
            any_texts.filter(lambda key: key not in known and key not in ALIASES), anything, max_size=2
        ),
        st.booleans(),
    )


# Known under these names, too, wherever they stand.
ALIASES = {"error", "object", "reasoning", "function_call", "timings"}

numbers = uint32s | st.floats(0, 2**32 - 1)
json_tokens = objects(
    token=any_texts,
    logprob=st.floats(-1e308, 0) | st.integers(-9999, 0),
    bytes=st.lists(st.integers(0, 255), max_size=3),
    top_logprobs=st.lists(objects(token=any_texts, logprob=st.floats(-100, 0)), max_size=2),
)
json_logprobs = objects(
    content=st.lists(json_tokens, max_size=2),
    refusal=st.lists(json_tokens, max_size=1),
    reasoning_content=st.lists(json_tokens, max_size=1),
)
json_functions = objects(name=any_texts, arguments=any_texts)
json_calls = st.lists(
    objects(index=numbers, id=any_texts, type=any_texts, function=json_functions), max_size=2
)
json_said = {
    "role": st.sampled_from(["assistant", "user", "bot", ""]),
    "content": any_texts,
    "reasoning_content": any_texts,
    "reasoning": anything,
    "refusal": any_texts,
    "tool_calls": json_calls,
    "function_call": json_functions,
}
json_ends = {
    "index": numbers,
    "logprobs": json_logprobs,
    "finish_reason": st.sampled_from(["stop", "", "eos", "insufficient_system_resource"]),
}
json_details = objects(cached_tokens=numbers, audio_tokens=numbers, reasoning_tokens=st.just(3))
json_usage = objects(
    prompt_tokens=numbers,
    total_tokens=numbers,
    prompt_cache_hit_tokens=numbers,
    prompt_tokens_details=json_details,
    completion_tokens_details=json_details,
)
json_head = {
    "id": any_texts,
    "object": anything.filter(lambda value: value != "error"),
    "created": st.integers(0, 2**63 - 1) | st.floats(0, 2**62),
    "model": any_texts,
    "system_fingerprint": any_texts,
    "service_tier": any_texts,
    "usage": json_usage,
    "timings": anything | objects(queue_seconds=st.floats(0, 1e12), prompt_ms=st.floats(0, 10)),
}
json_chunks = objects(
    **json_head, choices=st.lists(objects(**json_ends, delta=objects(**json_said)), max_size=2)
)
json_completions = objects(
    **json_head, choices=st.lists(objects(**json_ends, message=objects(**json_said)), max_size=2)
)


def same(one: object, other: object) -> bool:
    """Whether two JSON values are the same, to the type of a number, key order aside."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@given(json_chunks)
def test_any_chunk_is_written_as_it_was_read(source):
    chunk = read_chunk(json.dumps(source))

    assert same(json.loads(write_chunk(chunk)), source)
    assert read_chunk(write_chunk(chunk)) == chunk


@given(json_completions)
def test_any_completion_is_written_as_it_was_read(source):
    completion = read_completion(json.dumps(source, ensure_ascii=True))

    assert same(json.loads(write_completion(completion)), source)
    assert read_completion(write_completion(completion)) == completion


# One by one.


def chunk_of(**delta):
    return {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}],
    }


def test_content_beside_reasoning():
    chunk = read_chunk(json.dumps(chunk_of(content=None, reasoning_content="Okay,")))

    assert chunk.choices[0].delta.reasoning_content == "Okay,"
    assert not chunk.choices[0].delta.HasField("content")
    assert chunk.dialect.nulls == ["/choices/0/delta/content"]
    assert not chunk.dialect.absent


@pytest.mark.parametrize("content", [None, ""])
def test_nothing_is_null_empty_or_absent(content):
    source = chunk_of(content=content)

    assert same(json.loads(write_chunk(read_chunk(json.dumps(source)))), source)
    assert read_chunk(json.dumps(source)) != read_chunk(json.dumps(chunk_of()))


def test_reasoning_under_its_other_name():
    source = chunk_of(content="", reasoning="Okay,")
    chunk = read_chunk(json.dumps(source))

    assert chunk.choices[0].delta.reasoning_content == "Okay,"
    assert same(json.loads(write_chunk(chunk)), source)


def test_a_call_in_its_older_form():
    source = chunk_of(function_call={"name": "f", "arguments": "{"})
    chunk = read_chunk(json.dumps(source))

    (call,) = chunk.choices[0].delta.tool_calls
    assert (call.function.name, call.function.arguments, call.type) == ("f", "{", "function")
    assert same(json.loads(write_chunk(chunk)), source)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("insufficient_system_resource", chat_pb2.FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE),
        ("content_filter", chat_pb2.FINISH_REASON_CONTENT_FILTER),
        ("model_length", chat_pb2.FINISH_REASON_OTHER),
        ("", chat_pb2.FINISH_REASON_UNSPECIFIED),
    ],
)
def test_finish_reasons(name, value):
    source = chunk_of()
    source["choices"][0]["finish_reason"] = name
    chunk = read_chunk(json.dumps(source))

    assert chunk.choices[0].finish_reason == value
    assert same(json.loads(write_chunk(chunk)), source)


def test_cached_tokens_by_both_names():
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "total_tokens": 25,
        "prompt_tokens_details": {"cached_tokens": 16},
        "completion_tokens_details": {"reasoning_tokens": 3, "text_tokens": 2},
        "prompt_cache_hit_tokens": 16,
        "prompt_cache_miss_tokens": 4,
    }
    source = {**chunk_of(), "choices": [], "usage": usage}
    chunk = read_chunk(json.dumps(source))

    assert chunk.usage.prompt_cache_hit_tokens == 16
    assert chunk.usage.prompt_cache_miss_tokens == 4
    assert chunk.usage.prompt_tokens_details.cached_tokens == 16
    assert chunk.usage.completion_tokens_details.reasoning_tokens == 3
    assert chunk.dialect.values == {"/usage/completion_tokens_details/text_tokens": "2"}
    assert same(json.loads(write_chunk(chunk)), source)


def test_log_probabilities_of_reasoning_and_to_the_last_digit():
    token = {"token": "a", "logprob": -0.31725305, "bytes": None, "top_logprobs": []}
    source = chunk_of(reasoning_content="a")
    source["choices"][0]["logprobs"] = {"content": None, "reasoning_content": [token]}
    chunk = read_chunk(json.dumps(source))

    (read,) = chunk.choices[0].logprobs.reasoning_content
    assert math.isclose(read.logprob, -0.31725305, rel_tol=1e-6)
    assert same(json.loads(write_chunk(chunk)), source)


def test_whole_numbers_of_any_size_that_llamawire_does_not_know():
    source = {**chunk_of(), "trace": 2**70 + 1, "cost": 1e-7, "created": 2**53 + 1}
    chunk = read_chunk(json.dumps(source))

    assert chunk.created == 2**53 + 1
    assert same(json.loads(write_chunk(chunk)), source)


def test_what_is_not_there_any_more_takes_its_dialect_along():
    chunk = read_chunk(json.dumps(chunk_of(content=None, role=None)))
    del chunk.choices[:]

    assert json.loads(write_chunk(chunk))["choices"] == []


def test_fields_that_were_changed_are_written_as_they_are():
    chunk = read_chunk(json.dumps(chunk_of(content="secret", role=None)))
    chunk.choices[0].delta.content = "***"

    assert json.loads(write_chunk(chunk))["choices"][0]["delta"] == {"content": "***", "role": None}


def test_minus_infinity_is_written_as_openai_has_it():
    token = chat_pb2.TokenLogprob(token="a", logprob=-math.inf)
    choice = chat_pb2.ChunkChoice(logprobs=chat_pb2.Logprobs(content=[token]))
    written = json.loads(write_chunk(chat_pb2.ChatCompletionChunk(choices=[choice])))

    assert written["choices"][0]["logprobs"]["content"][0]["logprob"] == -9999.0
    assert written["choices"][0]["delta"] == {}


def test_an_event_is_one_line_for_everybody():
    written = write_chunk(read_chunk(json.dumps(chunk_of(content="a\u2028b\u2029c\x85d\ne"))))

    assert len(written.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "a JSON object is expected"),
        ('{"choices": [], "x": NaN}', "NaN is no JSON"),
        ('{"choices": [], "x": 1e999}', "1e999 is more than a number can be"),
        ('{"choices": {}}', "choices is not a list of objects"),
        ('{"choices": [null]}', "choices is not a list of objects"),
        ('{"choices": [{"index": -1}]}', r"choices\[0\].index is not a number from 0 to 4294967295"),
        ('{"choices": [{"index": true}]}', r"choices\[0\].index is not a number from 0"),
        ('{"choices": [{}, {"delta": {"content": ["a"]}}]}', r"choices\[1\].delta.content is not a string"),
        (
            '{"choices": [{"logprobs": {"content": [{"bytes": [256]}]}}]}',
            r"content\[0\].bytes is not a list of bytes",
        ),
        ('{"usage": {"total_tokens": 4294967296}}', "usage.total_tokens is not a number from 0 to"),
        ('{"usage": 3}', "usage is not an object"),
        ('{"id": 7}', "id is not a string"),
        ("[" * 100_000, "recursion"),
        ('{"x": ' + "9" * 5000 + "}", "Exceeds the limit"),
    ],
)
def test_what_can_t_be_read_is_an_error_with_the_text(text, message):
    with pytest.raises(MalformedResponseError, match=message) as caught:
        read_chunk(text)

    assert caught.value.raw == text
    assert caught.value.reason == "MALFORMED_RESPONSE"


def test_bytes_that_are_no_utf_8_are_an_error_with_their_text():
    with pytest.raises(MalformedResponseError) as caught:
        read_completion(b'{"id": "\xff"}')

    assert caught.value.raw == '{"id": "\\xff"}'
