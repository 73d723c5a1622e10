"""Whatever a service streams, the events of a response come in order, and add up to what was streamed."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import given
from named_events import events_of, said_in, streams

from llamawire.v1 import chat_pb2
from llamawire_server.shim.responses import answers
from llamawire_server.shim.responses.events import ResponseEvents
from llamawire_server.shim.responses.request_schema import ResponseRequest


def written(chunks: list[chat_pb2.ChatCompletionChunk]) -> list[dict[str, Any]]:
    kept: list[Any] = []
    writer = ResponseEvents(answers.begun(ResponseRequest(model="m", input="Hi"), is_kept=True), kept.append)
    text = b"".join([*map(writer.write, chunks), writer.end()]).decode()
    events = events_of(text)
    assert kept == [events[-1]["response"]]
    return events


@given(streams())
def test_any_stream(chunks: list[chat_pb2.ChatCompletionChunk]) -> None:
    events = written(chunks)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    open_item: dict[str, Any] | None = None
    deltas: dict[tuple[str, int], str] = defaultdict(str)
    output = []
    for event in events[2:-1]:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert open_item is None, "the one before is done"
            assert event["output_index"] == len(output)
            open_item = event["item"]
            continue
        assert open_item is not None
        assert event.get("item_id", open_item["id"]) == open_item["id"]
        place = open_item["id"], event.get("content_index", 0)
        if kind == "output_item.done":
            output.append(event["item"])
            assert event["item"]["id"] == open_item["id"]
            open_item = None
        elif kind.endswith(".delta"):
            deltas[place] += event["delta"]
        elif kind in ("output_text.done", "reasoning_text.done"):
            assert event["text"] == deltas[place]
        elif kind == "refusal.done":
            assert event["refusal"] == deltas[place]
        elif kind == "function_call_arguments.done":
            assert event["arguments"] == deltas[place]
    assert open_item is None
    response = events[-1]["response"]
    assert response["output"] == output
    assert len({item["id"] for item in output}) == len(output) > 0
    assert_says(output, said_in(chunks))


def assert_says(output: list[dict[str, Any]], expected: dict[str, str]) -> None:
    found: dict[str, str] = defaultdict(str)
    for item in output:
        if item["type"] == "function_call":
            found[item["call_id"]] = item["arguments"]
        for part in item.get("content", ()):
            kind = {"reasoning_text": "reasoning", "output_text": "text"}.get(part["type"], part["type"])
            found[kind] += part.get("text", "") + part.get("refusal", "")
    assert {name: text for name, text in found.items() if text} == {
        name: text for name, text in expected.items() if text
    }
