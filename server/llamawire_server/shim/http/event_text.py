"""Values as server-sent events."""

from __future__ import annotations

from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder()

# JSON leaves these as they are, but clients that read a stream as lines of text end a line at them.
_ESCAPED = [
    ("\u0085".encode(), rb"\u0085"),
    ("\u2028".encode(), rb"\u2028"),
    ("\u2029".encode(), rb"\u2029"),
]


def event(data: Any) -> bytes:
    """An event without a name."""
    return b"data: " + encode(data) + b"\n\n"


def named_event(name: str, data: Any) -> bytes:
    """An event with a name."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode(data))


def encode(data: Any) -> bytes:
    """The data as JSON that is one line in everybody's eyes."""
    text = _ENCODER.encode(data)
    if not text.isascii():
        for raw, escaped in _ESCAPED:
            text = text.replace(raw, escaped)
    return text
