"""Answers, from the gRPC contract's form to Anthropic's JSON. Pure functions, but for new ids."""

from __future__ import annotations

import uuid

import msgspec

from llamawire.v1 import chat_pb2, usage_pb2
from llamawire_server.shim.cut_arguments import as_object
from llamawire_server.shim.http.response_types import Json

# Clients send reasoning back only where it is signed, though this signs nothing.
SIGNATURE = "llamawire"

_STOP_REASONS = {
    chat_pb2.FINISH_REASON_STOP: "end_turn",
    chat_pb2.FINISH_REASON_LENGTH: "max_tokens",
    chat_pb2.FINISH_REASON_TOOL_CALLS: "tool_use",
    chat_pb2.FINISH_REASON_CONTENT_FILTER: "refusal",
    chat_pb2.FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE: "pause_turn",
}


def begun(model: str, cost: usage_pb2.Usage) -> Json:
    """A message that nothing has come of yet, with an id of its own. cost: what is known of it."""
    return {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage(cost), "service_tier": "standard"},
    }


def message(answer: chat_pb2.ChatCompletion, *, shows_thinking: bool) -> Json:
    """A whole answer. shows_thinking: whether what was reasoned is to be in it."""
    choice = answer.choices[0]
    said = choice.message
    content: list[Json] = []
    if said.reasoning_content:
        content.append(thinking(said.reasoning_content if shows_thinking else "", SIGNATURE))
    if text_of := said.content or said.refusal:
        content.append(text(text_of))
    for call in said.tool_calls:
        arguments = msgspec.Raw(as_object(call.function.arguments).encode())
        content.append(tool_use(call.id, call.function.name, arguments))
    return {
        **begun(answer.model, answer.usage),
        "content": content,
        **ending(choice.finish_reason, choice.matched_stop),
    }


def ending(reason: chat_pb2.FinishReason.ValueType, matched_stop: str) -> Json:
    """Why a message ended. matched_stop: the stop string that ended it, if one did."""
    if matched_stop and reason == chat_pb2.FINISH_REASON_STOP:
        return {"stop_reason": "stop_sequence", "stop_sequence": matched_stop}
    return {"stop_reason": _STOP_REASONS.get(reason, "end_turn"), "stop_sequence": None}


def usage(source: usage_pb2.Usage) -> Json:
    """What an answer cost in tokens."""
    return {
        "input_tokens": source.prompt_cache_miss_tokens,
        "cache_read_input_tokens": source.prompt_cache_hit_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": source.completion_tokens,
        "output_tokens_details": {"thinking_tokens": source.completion_tokens_details.reasoning_tokens},
    }


def text(content: str) -> Json:
    """A block of text."""
    return {"type": "text", "text": content, "citations": None}


def thinking(content: str, signature: str) -> Json:
    """A block of reasoning."""
    return {"type": "thinking", "thinking": content, "signature": signature}


def tool_use(call_id: str, name: str, arguments: object) -> Json:
    """A block that uses a tool. arguments: as JSON that is encoded already, or to be encoded."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
