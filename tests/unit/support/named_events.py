"""Server-sent events that have names, and the chunks that they are made of."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from hypothesis import strategies as st

from llamawire.v1 import chat_pb2, usage_pb2


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


@st.composite
def streams(draw: st.DrawFn) -> list[chat_pb2.ChatCompletionChunk]:
    """Any stream of one choice that a service may send: what it reasons, says and calls, in pieces, in any order.

    Some of what comes one after the other is in one chunk, as for a slow reader: the end of a call before the rest.
    """
    texts = st.text("ab\u2028é", min_size=1, max_size=3)
    chunks = [chat_pb2.ChatCompletionChunk(model="m", choices=[chat_pb2.ChunkChoice()])]
    num_calls = 0
    is_call_open = False  # text ends it
    for kind in draw(
        st.lists(st.sampled_from(["reasoning", "text", "refusal", "call", "more"]), max_size=12)
    ):
        delta = chat_pb2.Delta()
        if kind == "reasoning":
            delta.reasoning_content = draw(texts)
        elif kind == "text":
            delta.content = draw(texts)
        elif kind == "refusal":
            delta.refusal = draw(texts)
        elif kind == "call" or not is_call_open:
            delta.tool_calls.append(
                call_delta(num_calls, draw(texts | st.just("")), id=f"c{num_calls}", name="f")
            )
            num_calls += 1
        else:
            delta.tool_calls.append(call_delta(num_calls - 1, draw(texts)))
            if draw(st.booleans()):
                delta.content = draw(texts)
            if draw(st.booleans()):
                delta.tool_calls.append(call_delta(num_calls, draw(texts), id=f"c{num_calls}", name="f"))
                num_calls += 1
        is_call_open = bool(delta.tool_calls) and (not delta.content or bool(delta.tool_calls[-1].id))
        chunks.append(chat_pb2.ChatCompletionChunk(choices=[chat_pb2.ChunkChoice(delta=delta)]))
    reasons = [chat_pb2.FINISH_REASON_STOP, chat_pb2.FINISH_REASON_LENGTH, chat_pb2.FINISH_REASON_TOOL_CALLS]
    last = chat_pb2.ChunkChoice(finish_reason=draw(st.sampled_from(reasons)))
    chunks.append(chat_pb2.ChatCompletionChunk(choices=[last], usage=usage_pb2.Usage(total_tokens=1)))
    return chunks


def said_in(chunks: list[chat_pb2.ChatCompletionChunk]) -> dict[str, str]:
    """What the chunks of a stream add up to, by what it is; a call's arguments by its id."""
    said: dict[str, str] = defaultdict(str)
    ids: dict[int, str] = {}
    for delta in (choice.delta for chunk in chunks for choice in chunk.choices):
        said["reasoning"] += delta.reasoning_content
        said["text"] += delta.content
        said["refusal"] += delta.refusal
        for call in delta.tool_calls:
            ids[call.index] = call.id or ids[call.index]
            said[ids[call.index]] += call.function.arguments
    return said
