"""Answers, from the gRPC contract's form to OpenAI's JSON. Pure functions that give plain dictionaries."""

from __future__ import annotations

from collections.abc import Iterable

from llamawire.v1 import chat_pb2
from llamawire_server.shim.http.answer_cost import cost
from llamawire_server.shim.http.response_types import Json

_FINISH_REASONS = {
    chat_pb2.FINISH_REASON_UNSPECIFIED: None,
    chat_pb2.FINISH_REASON_STOP: "stop",
    chat_pb2.FINISH_REASON_LENGTH: "length",
    chat_pb2.FINISH_REASON_TOOL_CALLS: "tool_calls",
    chat_pb2.FINISH_REASON_CONTENT_FILTER: "content_filter",
    chat_pb2.FINISH_REASON_FUNCTION_CALL: "function_call",
    chat_pb2.FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE: "insufficient_system_resource",
    chat_pb2.FINISH_REASON_OTHER: "other",
}


def chat_completion(answer: chat_pb2.ChatCompletion, as_functions: bool) -> Json:
    """A whole answer; `as_functions`: in the form that requests with the deprecated `functions` expect."""
    return {
        **envelope(answer, "chat.completion"),
        "choices": [
            {
                "index": choice.index,
                "message": _message(choice.message, as_functions),
                "logprobs": logprobs(choice.logprobs) if choice.HasField("logprobs") else None,
                "finish_reason": finish_reason(choice.finish_reason, as_functions),
                **matched_stop(choice),
            }
            for choice in answer.choices
        ],
        **cost(answer),
    }


def envelope(answer: chat_pb2.ChatCompletion | chat_pb2.ChatCompletionChunk, kind: str) -> Json:
    """What an answer says of itself, and each of its chunks repeats."""
    return {
        "id": answer.id,
        "object": kind,
        "created": answer.created,
        "model": answer.model,
        "system_fingerprint": answer.system_fingerprint,
        "service_tier": answer.service_tier,
    }


def finish_reason(reason: chat_pb2.FinishReason.ValueType, as_functions: bool) -> str | None:
    """The reason's name in OpenAI's API, None where there is none."""
    if as_functions and reason == chat_pb2.FINISH_REASON_TOOL_CALLS:
        return "function_call"
    return _FINISH_REASONS.get(reason)


def matched_stop(choice: chat_pb2.Choice | chat_pb2.ChunkChoice) -> Json:
    """The field that names the stop text which ended a choice; none where none did."""
    return {"matched_stop": choice.matched_stop} if choice.matched_stop else {}


def logprobs(source: chat_pb2.Logprobs) -> Json:
    """The log probabilities of generated tokens."""
    return {
        "content": _tokens(source.content),
        "refusal": _tokens(source.refusal) if source.refusal else None,
    }


def _message(source: chat_pb2.Message, as_functions: bool) -> Json:
    calls = source.tool_calls
    message: Json = {
        "role": "assistant",
        "content": source.content if source.content or not calls else None,
        "refusal": source.refusal or None,
    }
    if source.reasoning_content:
        message["reasoning_content"] = source.reasoning_content
    if calls and as_functions:
        message["function_call"] = _function(calls[0].function)
    elif calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": _function(call.function)} for call in calls
        ]
    return message


def _function(call: chat_pb2.FunctionCall) -> Json:
    return {"name": call.name, "arguments": call.arguments}


def _tokens(tokens: Iterable[chat_pb2.TokenLogprob]) -> list[Json]:
    return [
        {**_token(token), "top_logprobs": [_token(likely) for likely in token.top_logprobs]}
        for token in tokens
    ]


def _token(token: chat_pb2.TokenLogprob | chat_pb2.TopLogprob) -> Json:
    return {"token": token.token, "logprob": token.logprob, "bytes": list(token.bytes)}
