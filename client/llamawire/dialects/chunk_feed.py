"""The chunks in the bytes of a stream, whoever reads them."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from llamawire.dialects.error_objects import event_error
from llamawire.dialects.event_parser import EventParser, ServerSentEvent
from llamawire.dialects.json_object import parse
from llamawire.dialects.json_reader import read_chunk
from llamawire.errors import LlamawireError, MalformedResponseError
from llamawire.v1 import chat_pb2

_DONE = "[DONE]"


class ChunkFeed:
    """Bytes in, chunks out, one at a time: a chunk that came before an error is given before the error is raised."""

    def __init__(self, max_event_bytes: int) -> None:
        self._parser = EventParser(max_event_bytes)
        self._events: Iterator[ServerSentEvent] = iter(())
        self.is_done = False
        """Whether the stream said that it is over."""

    def add(self, piece: bytes) -> None:
        """More of the stream. Every chunk of what came before has been taken."""
        self._events = self._parser.feed(piece)

    def next_chunk(self) -> chat_pb2.ChatCompletionChunk | None:
        """The next chunk of what was added; None where there is none. Raises LlamawireError."""
        event = None if self.is_done else next(self._events, None)
        if event is None:
            return None
        if event.data.strip() == _DONE:
            self.is_done = True
            return None
        if event.event == "error":
            raise _event_error(event)
        return read_chunk(event.data)

    def end(self) -> None:
        """No more bytes will come. Raises MalformedResponseError unless the stream is done by now."""
        event = self._parser.finish()
        self.is_done = event is not None and event.data.strip() == _DONE
        if not self.is_done:
            raise MalformedResponseError(
                "the stream ended without [DONE]: the answer may have been cut off",
                code=grpc.StatusCode.DATA_LOSS,
                reason="STREAM_CUT_OFF",
                raw=event.data if event is not None else "",
            )


def _event_error(event: ServerSentEvent) -> LlamawireError:
    try:
        return event_error(parse(event.data))
    except (ValueError, RecursionError):
        return event_error({"message": event.data})
