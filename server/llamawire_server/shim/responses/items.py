"""The items of a response's output, and of its input where that is kept, as JSON."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from llamawire.v1 import chat_pb2
from llamawire_server.shim.chat import answers
from llamawire_server.shim.http.response_types import Json
from llamawire_server.shim.responses import item_schema as schema

# What OpenAI's ids begin with, by the item's type.
_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


def new_id(item_type: str) -> str:
    """An id for an item of that type that no other one has."""
    return f"{_PREFIXES[item_type]}_{uuid.uuid4().hex}"


def message(item_id: str, parts: Sequence[Json], status: str) -> Json:
    """What the model said. parts: texts and refusals."""
    return {
        "id": item_id,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": list(parts),
    }


def text(content: str, logprobs: Sequence[Json] = ()) -> Json:
    """A part of a message."""
    return {"type": "output_text", "annotations": [], "logprobs": list(logprobs), "text": content}


def refusal(content: str) -> Json:
    """A part of a message that refuses to answer."""
    return {"type": "refusal", "refusal": content}


def reasoning(item_id: str, content: str | None, status: str) -> Json:
    """What the model reasoned. content: None where it has not begun."""
    return {
        "id": item_id,
        "type": "reasoning",
        "status": status,
        "summary": [],
        "content": [] if content is None else [reasoning_text(content)],
        "encrypted_content": None,
    }


def reasoning_text(content: str) -> Json:
    """The part of an item of reasoning."""
    return {"type": "reasoning_text", "text": content}


def function_call(item_id: str, call_id: str, name: str, arguments: str, status: str) -> Json:
    """A function that is to be called. call_id: what its output answers by."""
    return {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


def token_logprobs(source: chat_pb2.Logprobs) -> list[Json]:
    """The log probabilities of a text's tokens."""
    tokens: list[Json] = answers.logprobs(source)["content"]
    return tokens


def of_input(item: schema.ResponseItem) -> Json:
    """An item of a request's input as it is kept: with its content in parts, and a new id where it has none."""
    item_type = item.type or "message"
    kept = {"id": item.id or new_id(item_type), "type": item_type, "status": item.status or "completed"}
    if isinstance(item, schema.ResponseMessage):
        return {**kept, "role": item.role, "content": _parts(item)}
    if isinstance(item, schema.ResponseFunctionCall):
        return {**kept, "call_id": item.call_id, "name": item.name, "arguments": item.arguments}
    if isinstance(item, schema.ResponseFunctionCallOutput):
        output = item.output if isinstance(item.output, str) else [_part(part) for part in item.output]
        return {**kept, "call_id": item.call_id, "output": output}
    summary = [{"type": part.type, "text": part.text} for part in item.summary or ()]
    return {**kept, "summary": summary, "content": [reasoning_text(part.text) for part in item.content or ()]}


def _parts(item: schema.ResponseMessage) -> list[Json]:
    if not isinstance(item.content, str):
        return [_part(part) for part in item.content]
    return [text(item.content) if item.role == "assistant" else _input_text(item.content)]


def _part(part: schema.MessagePart) -> Json:
    """A part without what has no effect."""
    if isinstance(part, schema.ResponseInputText):
        return _input_text(part.text)
    if isinstance(part, schema.ResponseOutputText):
        return text(part.text)
    if isinstance(part, schema.ResponseRefusal):
        return refusal(part.refusal)
    return {"type": "input_image", "image_url": part.image_url, "detail": part.detail or "auto"}


def _input_text(content: str) -> Json:
    return {"type": "input_text", "text": content}
