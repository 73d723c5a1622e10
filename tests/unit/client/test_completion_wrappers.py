"""What Completion, Choice and Chunk say of their protos."""

from __future__ import annotations

import pytest

from llamawire import Chunk, Completion
from llamawire.completion import finish_reason_name
from llamawire.v1 import chat_pb2, usage_pb2


@pytest.fixture
def proto() -> chat_pb2.ChatCompletion:
    function = chat_pb2.FunctionCall(name="weather", arguments='{"city": "Bern"}')
    message = chat_pb2.Message(
        role=chat_pb2.ROLE_ASSISTANT,
        content="Let me see.",
        reasoning_content="They ask for weather.",
        tool_calls=[chat_pb2.ToolCall(id="call_1", type="function", function=function)],
    )
    proto = chat_pb2.ChatCompletion(
        id="chatcmpl-1",
        model="m",
        choices=[
            chat_pb2.Choice(index=0, message=message, finish_reason=chat_pb2.FINISH_REASON_TOOL_CALLS),
            chat_pb2.Choice(index=1, message=chat_pb2.Message(content="Other.", refusal="No.")),
        ],
        usage=usage_pb2.Usage(prompt_tokens=3),
    )
    proto.timings.first_token.FromMilliseconds(1500)
    return proto


def test_a_completion_speaks_for_its_first_choice(proto):
    completion = Completion(proto, "id-1")

    assert (completion.id, completion.model, completion.request_id) == ("chatcmpl-1", "m", "id-1")
    assert completion.text == "Let me see."
    assert completion.reasoning == "They ask for weather."
    assert completion.refusal == ""
    assert completion.finish_reason == "tool_calls"
    assert completion.message == proto.choices[0].message
    assert completion.usage.prompt_tokens == 3
    assert completion.timings.first_token_seconds == 1.5
    assert completion.timings.queue_seconds == 0
    assert completion.proto is proto
    assert list(completion.logprobs.content) == []


def test_an_answer_that_follows_a_schema_is_parsed(proto):
    proto.choices[0].message.content = '{"age": 7}'
    assert Completion(proto).parse() == {"age": 7}
    proto.choices[0].message.content = '{"age": '
    with pytest.raises(ValueError):  # noqa: PT011
        Completion(proto).parse()


def test_the_other_choices_are_there_too(proto):
    other = Completion(proto).choices[1]

    assert (other.index, other.text, other.refusal, other.finish_reason) == (1, "Other.", "No.", None)
    assert other.tool_calls == []
    assert list(other.logprobs.content) == []


def test_a_tool_call_parses_its_arguments(proto):
    (call,) = Completion(proto).tool_calls

    assert (call.id, call.name, call.parse_arguments()) == ("call_1", "weather", {"city": "Bern"})


def test_arguments_that_were_cut_off_are_a_value_error(proto):
    proto.choices[0].message.tool_calls[0].function.arguments = '{"city": "Be'

    with pytest.raises(ValueError):  # noqa: PT011
        Completion(proto).tool_calls[0].parse_arguments()


def test_an_answer_that_has_not_begun_is_empty():
    completion = Completion(chat_pb2.ChatCompletion())

    assert (completion.text, completion.finish_reason, completion.tool_calls) == ("", None, [])


def test_a_chunk_speaks_for_choice_0_wherever_it_stands():
    other = chat_pb2.ChunkChoice(index=1, delta=chat_pb2.Delta(content="b"))
    first = chat_pb2.ChunkChoice(
        index=0,
        delta=chat_pb2.Delta(content="a", reasoning_content="r"),
        finish_reason=chat_pb2.FINISH_REASON_LENGTH,
    )

    chunk = Chunk(chat_pb2.ChatCompletionChunk(choices=[other, first]))

    assert (chunk.text, chunk.reasoning, chunk.finish_reason) == ("a", "r", "length")
    assert (chunk.refusal, list(chunk.tool_calls), list(chunk.logprobs.content)) == ("", [], [])
    assert Chunk(chat_pb2.ChatCompletionChunk(choices=[other])).text == ""
    assert chunk.usage.total_tokens == 0


def test_every_finish_reason_has_openai_s_name():
    names = [finish_reason_name(value) for value in chat_pb2.FinishReason.values()]

    assert names == [
        None,
        "stop",
        "length",
        "tool_calls",
        "content_filter",
        "function_call",
        "insufficient_system_resource",
        "other",
    ]


def test_a_newer_server_s_finish_reason_is_its_number():
    assert finish_reason_name(99) == "99"
