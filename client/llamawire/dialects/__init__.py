"""OpenAI-compatible answers of any provider: server-sent events and JSON, to llamawire's messages and back.

    request = urllib.request.Request(url, body, {"content-type": "application/json", …})
    with urllib.request.urlopen(request) as response, SSEChatStream(response) as stream:
        for chunk in stream:
            print(chunk.text, end="", flush=True)

What is read can be written again as the JSON that it was, nulls, missing keys and unknown ones included.
"""

from llamawire.dialects.error_objects import http_error
from llamawire.dialects.event_parser import MAX_EVENT_BYTES, EventParser, ServerSentEvent
from llamawire.dialects.json_reader import read_chunk, read_completion
from llamawire.dialects.json_writer import DONE_EVENT, write_chunk, write_completion, write_event
from llamawire.dialects.sse_stream import AsyncSSEChatStream, SSEChatStream

__all__ = [
    # Streams
    "AsyncSSEChatStream",
    "SSEChatStream",
    "http_error",
    # JSON
    "read_chunk",
    "read_completion",
    "write_chunk",
    "write_completion",
    # Events
    "DONE_EVENT",
    "MAX_EVENT_BYTES",
    "EventParser",
    "ServerSentEvent",
    "write_event",
]
