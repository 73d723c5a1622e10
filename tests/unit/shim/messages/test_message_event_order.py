"""Whatever a service streams, the events of a message come in order, and add up to what was streamed."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from named_events import events_of, said_in, streams

from llamawire.v1 import chat_pb2
from llamawire_server.shim.messages.events import MessageEvents


@given(streams())
def test_any_stream(chunks: list[chat_pb2.ChatCompletionChunk]) -> None:
    writer = MessageEvents("m", "req_1", shows_thinking=True)
    text = b"".join([*map(writer.write, chunks), writer.end()]).decode()
    start, *events, delta, stop = events_of(text)
    assert [event["type"] for event in (start, delta, stop)] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]
    found: dict[str, str] = defaultdict(str)
    open_name, num_blocks = "", 0
    for event in events:
        if event["type"] == "content_block_start":
            assert not open_name, "the one before has stopped"
            block = event["content_block"]
            open_name = block["id"] if block["type"] == "tool_use" else block["type"]
            num_blocks += 1
        assert open_name
        assert event["index"] == num_blocks - 1
        if event["type"] == "content_block_stop":
            open_name = ""
        elif event["type"] == "content_block_delta":
            more = event["delta"]
            found[open_name] += more.get("text", more.get("partial_json", more.get("thinking", "")))
    assert not open_name
    expected = said_in(chunks)
    assert found["thinking"] == expected["reasoning"]
    assert sorted(found["text"]) == sorted(expected["text"] + expected["refusal"])
    assert {name: found[name] for name in expected if name.startswith("c")} == {
        name: text for name, text in expected.items() if name.startswith("c")
    }
