"""Server-sent events out of bytes, as WHATWG's HTML standard has them ("Interpreting an event stream").

Stricter in two things: text that is no UTF-8 is an error, and so is an event that never ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import grpc

from llamawire.errors import MalformedResponseError

# The most bytes that one event may have, its lines' names and ends left out.
MAX_EVENT_BYTES = 16 * 1024 * 1024

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# How much of what could not be understood an error shows.
_SHOWN_BYTES = 200


@dataclass(frozen=True)
class ServerSentEvent:
    """One event of a stream."""

    data: str
    """The lines of its data, joined by line feeds."""

    event: str = ""
    """Its type; "" where it names none."""


class EventParser:
    """Finds the events in a stream of bytes, however it is cut. Comments, ids and retry times are passed over."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._line = bytearray()  # one that has not ended
        self._data: list[bytes] = []
        self._event = b""
        self._num_data_bytes = 0
        self._is_first_line = True
        self._ended_with_return = False

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent]:
        """The events that end in `piece`, the next bytes of the stream. All of them are to be taken before the next
        piece. Raises MalformedResponseError."""
        if not piece:
            return
        # A line's end can be cut, too.
        start = 1 if self._ended_with_return and piece.startswith(b"\n") else 0
        self._ended_with_return = piece.endswith(b"\r")
        *ends, rest = _LINE_END.split(piece[start:])
        for end in ends:
            self._line += end
            line = bytes(self._line)
            self._line.clear()
            event = self._take_line(line)
            if event is not None:
                yield event
        self._line += rest
        self._check_size()

    def finish(self) -> ServerSentEvent | None:
        """The event that the end of the stream cut off; None where it ended between two. Raises
        MalformedResponseError."""
        line = bytes(self._line)
        self._line.clear()
        return self._take_line(line) or self._dispatch()

    def _take_line(self, line: bytes) -> ServerSentEvent | None:
        """The event that a line ends."""
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._num_data_bytes += len(value)
            self._check_size()
        elif name == b"event":
            self._event = value
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        data, event = self._data, self._event
        self._data, self._event, self._num_data_bytes = [], b"", 0
        if not data:
            return None
        raw = b"\n".join(data)
        try:
            return ServerSentEvent(raw.decode(), event.decode())
        except UnicodeDecodeError as error:
            raise MalformedResponseError(
                f"an event of the stream is no UTF-8: {error}",
                code=grpc.StatusCode.DATA_LOSS,
                reason="MALFORMED_RESPONSE",
                raw=raw.decode("utf-8", "backslashreplace"),
            ) from error

    def _check_size(self) -> None:
        if self._num_data_bytes + len(self._line) > self._max_event_bytes:
            beginning = b"".join([*self._data, bytes(self._line[:_SHOWN_BYTES])])[:_SHOWN_BYTES]
            raise MalformedResponseError(
                f"an event of the stream has more than {self._max_event_bytes} bytes",
                code=grpc.StatusCode.DATA_LOSS,
                reason="EVENT_TOO_LARGE",
                raw=beginning.decode("utf-8", "backslashreplace"),
            )
