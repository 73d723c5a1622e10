"""Server-sent events that have names, and the chunks that they are made of."""

from __future__ import annotations

import json
from typing import Any

from llamawire.v1 import chat_pb2


def events_of(text: str) -> list[dict[str, Any]]:
    """The data of every event of a stream; each is named by its type."""
    assert text.endswith("\n\n")
    events = []
    for lines in text.removesuffix("\n\n").split("\n\n"):
        name, data = lines.split("\n")
        assert name.startswith("event: ")
        assert data.startswith("data: ")
        events.append(json.loads(data[6:]))
        assert events[-1]["type"] == name[7:]
    return events


def reasoning(text: str) -> chat_pb2.ChunkChoice:
    return chat_pb2.ChunkChoice(delta=chat_pb2.Delta(reasoning_content=text))


def refusal(text: str) -> chat_pb2.ChunkChoice:
    return chat_pb2.ChunkChoice(delta=chat_pb2.Delta(refusal=text))


def call_delta(index: int, arguments: str, *, id: str = "", name: str = "") -> chat_pb2.ToolCallDelta:
    function = chat_pb2.FunctionCallDelta(name=name, arguments=arguments)
    return chat_pb2.ToolCallDelta(index=index, id=id, type="function" if id else "", function=function)


def calls(*deltas: chat_pb2.ToolCallDelta, content: str | None = None) -> chat_pb2.ChunkChoice:
    return chat_pb2.ChunkChoice(delta=chat_pb2.Delta(content=content, tool_calls=deltas))


def tool_call(id: str, name: str, arguments: str) -> chat_pb2.ToolCall:
    function = chat_pb2.FunctionCall(name=name, arguments=arguments)
    return chat_pb2.ToolCall(id=id, type="function", function=function)
