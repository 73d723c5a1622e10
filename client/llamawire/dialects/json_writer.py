"""llamawire's messages as OpenAI-compatible JSON.

An answer without a dialect is written as llamawire's HTTP side writes it: what a choice always has in OpenAI's API is
there, null where it is nothing, and of all else what is set. One that was read from JSON is written as that.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable

from google.protobuf import duration_pb2
from google.protobuf.message import Message

from llamawire.completion import finish_reason_name
from llamawire.dialects.difference import apply
from llamawire.dialects.json_object import Json
from llamawire.dialects.names import CHUNK_KIND, COMPLETION_KIND, ROLE_NAMES
from llamawire.v1 import chat_pb2, usage_pb2

# The event that ends a stream which came to its end.
DONE_EVENT = b"data: [DONE]\n\n"

# OpenAI's API has this in place of minus infinity, which JSON has not.
_MINUS_INFINITY = -9999.0

# What JSON leaves as it is, but readers of lines may end a line at, or UTF-8 can't hold.
_ESCAPED = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


def write_chunk(chunk: chat_pb2.ChatCompletionChunk) -> str:
    """A chunk as JSON, on one line. Raises ValueError where it has a number that JSON has not."""
    return _encode(apply(chunk_json(chunk), chunk.dialect))


def write_event(chunk: chat_pb2.ChatCompletionChunk) -> bytes:
    """A chunk as a server-sent event. The last event of a stream is DONE_EVENT."""
    return b"data: %b\n\n" % write_chunk(chunk).encode()


def write_completion(completion: chat_pb2.ChatCompletion) -> str:
    """A whole answer as JSON. Raises what `write_chunk` does."""
    return _encode(apply(completion_json(completion), completion.dialect))


def chunk_json(chunk: chat_pb2.ChatCompletionChunk) -> Json:
    """A chunk as JSON, whatever its dialect."""
    choices = [
        {
            "index": choice.index,
            "delta": _delta(choice.delta),
            "logprobs": _logprobs(choice.logprobs) if choice.HasField("logprobs") else None,
            "finish_reason": finish_reason_name(choice.finish_reason),
        }
        for choice in chunk.choices
    ]
    return {**_head(chunk, CHUNK_KIND), "choices": choices, **_costs(chunk)}


def completion_json(completion: chat_pb2.ChatCompletion) -> Json:
    """A whole answer as JSON, whatever its dialect."""
    choices = [
        {
            "index": choice.index,
            "message": _message(choice.message),
            "logprobs": _logprobs(choice.logprobs) if choice.HasField("logprobs") else None,
            "finish_reason": finish_reason_name(choice.finish_reason),
        }
        for choice in completion.choices
    ]
    return {**_head(completion, COMPLETION_KIND), "choices": choices, **_costs(completion)}


def _head(answer: chat_pb2.ChatCompletion | chat_pb2.ChatCompletionChunk, kind: str) -> Json:
    head: Json = {"id": answer.id, "object": kind, "created": answer.created, "model": answer.model}
    if answer.system_fingerprint:
        head["system_fingerprint"] = answer.system_fingerprint
    if answer.service_tier:
        head["service_tier"] = answer.service_tier
    return head


def _costs(answer: chat_pb2.ChatCompletion | chat_pb2.ChatCompletionChunk) -> Json:
    costs: Json = {}
    if answer.HasField("usage"):
        costs["usage"] = _counts(answer.usage)
    if answer.HasField("timings"):
        costs["timings"] = _timings(answer.timings)
    return costs


def _delta(delta: chat_pb2.Delta) -> Json:
    found: Json = {}
    if delta.role in ROLE_NAMES:
        found["role"] = ROLE_NAMES[delta.role]
    if delta.HasField("content"):
        found["content"] = delta.content
    if delta.HasField("reasoning_content"):
        found["reasoning_content"] = delta.reasoning_content
    if delta.HasField("refusal"):
        found["refusal"] = delta.refusal
    if delta.tool_calls:
        found["tool_calls"] = [_tool_call_delta(call) for call in delta.tool_calls]
    return found


def _message(message: chat_pb2.Message) -> Json:
    found: Json = {}
    if message.role in ROLE_NAMES:
        found["role"] = ROLE_NAMES[message.role]
    found["content"] = message.content if message.HasField("content") else None
    found["refusal"] = message.refusal if message.HasField("refusal") else None
    if message.HasField("reasoning_content"):
        found["reasoning_content"] = message.reasoning_content
    if message.tool_calls:
        found["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    return found


def _tool_call_delta(call: chat_pb2.ToolCallDelta) -> Json:
    found: Json = {"index": call.index}
    if call.id:
        found["id"] = call.id
    if call.type:
        found["type"] = call.type
    if call.HasField("function"):
        name = {"name": call.function.name} if call.function.name else {}
        found["function"] = {**name, "arguments": call.function.arguments}
    return found


def _tool_call(call: chat_pb2.ToolCall) -> Json:
    found: Json = {"id": call.id, "type": call.type}
    if call.HasField("function"):
        found["function"] = {"name": call.function.name, "arguments": call.function.arguments}
    return found


def _logprobs(logprobs: chat_pb2.Logprobs) -> Json:
    found: Json = {
        "content": _tokens(logprobs.content),
        "refusal": _tokens(logprobs.refusal) if logprobs.refusal else None,
    }
    if logprobs.reasoning_content:
        found["reasoning_content"] = _tokens(logprobs.reasoning_content)
    return found


def _tokens(tokens: Iterable[chat_pb2.TokenLogprob]) -> list[Json]:
    return [
        {**_token(token), "top_logprobs": [_token(likely) for likely in token.top_logprobs]}
        for token in tokens
    ]


def _token(token: chat_pb2.TokenLogprob | chat_pb2.TopLogprob) -> Json:
    logprob = _MINUS_INFINITY if token.logprob == -math.inf else token.logprob
    return {"token": token.token, "logprob": logprob, "bytes": list(token.bytes)}


def _counts(counts: Message) -> Json:
    """Counts, and those of the messages of counts that are set, by the names of their fields."""
    found: Json = {}
    for field in counts.DESCRIPTOR.fields:
        if field.message_type is None:
            found[field.name] = getattr(counts, field.name)
        elif counts.HasField(field.name):
            found[field.name] = _counts(getattr(counts, field.name))
    return found


def _timings(timings: usage_pb2.Timings) -> Json:
    """The times that are set, in seconds."""
    return {f"{field.name}_seconds": _seconds(duration) for field, duration in timings.ListFields()}


def _seconds(duration: duration_pb2.Duration) -> float:
    return duration.ToNanoseconds() / 1e9


def _encode(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if text.isascii():
        return text
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
