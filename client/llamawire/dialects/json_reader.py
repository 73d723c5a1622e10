"""OpenAI-compatible JSON as llamawire's messages.

What a provider's JSON says is in the fields; how it says it, and what there is no field for, is in the `dialect`. A
key that llamawire knows must have its type or be null; every other key may be anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from llamawire.dialects.difference import difference
from llamawire.dialects.error_objects import find_error
from llamawire.dialects.json_object import MAX_INT64, Json, JsonObject, parse
from llamawire.dialects.json_writer import chunk_json, completion_json
from llamawire.dialects.names import FINISH_REASONS, ROLES
from llamawire.errors import MalformedResponseError
from llamawire.v1 import chat_pb2, usage_pb2

_Answer = TypeVar("_Answer", chat_pb2.ChatCompletion, chat_pb2.ChatCompletionChunk)

# The longest time that a Duration can hold is longer; nobody waits for so long.
_MAX_SECONDS = 1e9


def read_chunk(text: str | bytes) -> chat_pb2.ChatCompletionChunk:
    """The chunk that is the data of an event, as JSON.

    Raises MalformedResponseError where it is none, with the text, and the LlamawireError that an error object in its
    place stands for.
    """
    return _read("chunk", text, _chunk, chunk_json)


def read_completion(text: str | bytes) -> chat_pb2.ChatCompletion:
    """The whole answer that is the body of a response, as JSON. Raises what `read_chunk` does."""
    return _read("completion", text, _completion, completion_json)


def _read(
    what: str, text: str | bytes, build: Callable[[JsonObject], _Answer], write: Callable[[_Answer], Json]
) -> _Answer:
    try:
        source = parse(text)
        if (failure := find_error(source)) is not None:
            raise failure
        answer = build(JsonObject(source))
        dialect = difference(write(answer), source)
        if dialect.ByteSize():
            answer.dialect.CopyFrom(dialect)
    except (ValueError, RecursionError) as error:
        raise MalformedResponseError(
            f"the server sent no {what} that can be read: {error}",
            code=grpc.StatusCode.DATA_LOSS,
            reason="MALFORMED_RESPONSE",
            raw=text if isinstance(text, str) else text.decode("utf-8", "backslashreplace"),
        ) from error
    return answer


def _chunk(source: JsonObject) -> chat_pb2.ChatCompletionChunk:
    return chat_pb2.ChatCompletionChunk(
        id=source.text("id") or "",
        created=source.count("created", MAX_INT64) or 0,
        model=source.text("model") or "",
        system_fingerprint=source.text("system_fingerprint") or "",
        service_tier=source.text("service_tier") or "",
        choices=[_chunk_choice(choice, place) for place, choice in enumerate(source.objects("choices"))],
        usage=_usage(source),
        timings=_timings(source),
    )


def _completion(source: JsonObject) -> chat_pb2.ChatCompletion:
    return chat_pb2.ChatCompletion(
        id=source.text("id") or "",
        created=source.count("created", MAX_INT64) or 0,
        model=source.text("model") or "",
        system_fingerprint=source.text("system_fingerprint") or "",
        service_tier=source.text("service_tier") or "",
        choices=[_choice(choice, place) for place, choice in enumerate(source.objects("choices"))],
        usage=_usage(source),
        timings=_timings(source),
    )


def _chunk_choice(source: JsonObject, place: int) -> chat_pb2.ChunkChoice:
    delta = source.object("delta")
    return chat_pb2.ChunkChoice(
        index=_index(source, place),
        delta=_delta(delta) if delta is not None else None,
        logprobs=_logprobs(source),
        finish_reason=_finish_reason(source),
    )


def _choice(source: JsonObject, place: int) -> chat_pb2.Choice:
    message = source.object("message")
    return chat_pb2.Choice(
        index=_index(source, place),
        message=_message(message) if message is not None else None,
        logprobs=_logprobs(source),
        finish_reason=_finish_reason(source),
    )


def _delta(source: JsonObject) -> chat_pb2.Delta:
    calls = [_tool_call_delta(call, place) for place, call in enumerate(source.objects("tool_calls"))]
    function = source.object("function_call")
    if function is not None and not calls:
        # OpenAI's older form of a single call, which has no id.
        calls = [chat_pb2.ToolCallDelta(index=0, type="function", function=_function_delta(function))]
    return chat_pb2.Delta(
        role=_role(source),
        content=source.text("content"),
        reasoning_content=_reasoning(source),
        refusal=source.text("refusal"),
        tool_calls=calls,
    )


def _message(source: JsonObject) -> chat_pb2.Message:
    calls = [_tool_call(call) for call in source.objects("tool_calls")]
    function = source.object("function_call")
    if function is not None and not calls:
        calls = [chat_pb2.ToolCall(type="function", function=_function(function))]
    return chat_pb2.Message(
        role=_role(source),
        content=source.text("content"),
        reasoning_content=_reasoning(source),
        refusal=source.text("refusal"),
        tool_calls=calls,
    )


def _tool_call_delta(source: JsonObject, place: int) -> chat_pb2.ToolCallDelta:
    function = source.object("function")
    return chat_pb2.ToolCallDelta(
        index=_index(source, place),
        id=source.text("id") or "",
        type=source.text("type") or "",
        function=_function_delta(function) if function is not None else None,
    )


def _tool_call(source: JsonObject) -> chat_pb2.ToolCall:
    function = source.object("function")
    return chat_pb2.ToolCall(
        id=source.text("id") or "",
        type=source.text("type") or "",
        function=_function(function) if function is not None else None,
    )


def _function_delta(source: JsonObject) -> chat_pb2.FunctionCallDelta:
    return chat_pb2.FunctionCallDelta(
        name=source.text("name") or "", arguments=source.text("arguments") or ""
    )


def _function(source: JsonObject) -> chat_pb2.FunctionCall:
    return chat_pb2.FunctionCall(name=source.text("name") or "", arguments=source.text("arguments") or "")


def _index(source: JsonObject, place: int) -> int:
    """An entry's index; its place in the list where it names none."""
    index = source.count("index")
    return place if index is None else index


def _role(source: JsonObject) -> chat_pb2.Role.ValueType:
    return ROLES.get(source.text("role") or "", chat_pb2.ROLE_UNSPECIFIED)


def _reasoning(source: JsonObject) -> str | None:
    """The reasoning, whose key is "reasoning" with vLLM, OpenRouter, Groq and Ollama."""
    reasoning = source.text("reasoning_content")
    return source.text_if_any("reasoning") if reasoning is None else reasoning


def _finish_reason(source: JsonObject) -> chat_pb2.FinishReason.ValueType:
    name = source.text("finish_reason")
    if not name:
        return chat_pb2.FINISH_REASON_UNSPECIFIED
    return FINISH_REASONS.get(name, chat_pb2.FINISH_REASON_OTHER)


def _logprobs(choice: JsonObject) -> chat_pb2.Logprobs | None:
    source = choice.object("logprobs")
    if source is None:
        return None
    return chat_pb2.Logprobs(
        content=_tokens(source.objects("content")),
        refusal=_tokens(source.objects("refusal")),
        reasoning_content=_tokens(source.objects("reasoning_content")),
    )


def _tokens(sources: Sequence[JsonObject]) -> list[chat_pb2.TokenLogprob]:
    return [
        chat_pb2.TokenLogprob(
            token=source.text("token") or "",
            logprob=_logprob(source),
            bytes=source.octets("bytes") or b"",
            top_logprobs=[
                chat_pb2.TopLogprob(
                    token=likely.text("token") or "",
                    logprob=_logprob(likely),
                    bytes=likely.octets("bytes") or b"",
                )
                for likely in source.objects("top_logprobs")
            ],
        )
        for source in sources
    ]


def _logprob(token: JsonObject) -> float:
    logprob = token.number("logprob")
    return 0.0 if logprob is None else logprob  # and not -0.0 as well


def _usage(answer: JsonObject) -> usage_pb2.Usage | None:
    source = answer.object("usage")
    if source is None:
        return None
    usage = usage_pb2.Usage()
    _read_counts(source, usage)
    return usage


def _read_counts(source: JsonObject, counts: Message) -> None:
    """Fill in counts, and the messages of counts in them, by the names of their fields."""
    for field in counts.DESCRIPTOR.fields:
        if field.message_type is None:
            setattr(counts, field.name, source.count(field.name) or 0)
        elif (part := source.object(field.name)) is not None:
            nested = getattr(counts, field.name)
            nested.SetInParent()
            _read_counts(part, nested)


def _timings(answer: JsonObject) -> usage_pb2.Timings | None:
    """llamawire's own; what others have under that name is not."""
    source = answer.object_if_any("timings")
    if source is None:
        return None
    timings = usage_pb2.Timings()
    for field in timings.DESCRIPTOR.fields:
        seconds = source.number(f"{field.name}_seconds")
        if seconds is not None and 0 <= seconds <= _MAX_SECONDS:
            getattr(timings, field.name).FromNanoseconds(round(seconds * 1e9))
    return timings if timings.ListFields() else None
