"""uvicorn's HTTP/1 connection, which gives callers of HTTP/1.0 what they understand.

uvicorn sends every body that has no length in chunks, and HTTP/1.0 has no chunks: such a caller reads their sizes as
text of the answer. Older versions of nginx speak it to the servers behind them, unless they are told otherwise.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

_OLD_VERSIONS = ("0.9", "1.0")


class HTTPProtocol(HttpToolsProtocol):
    """One connection. It reads requests and starts their answers, each with a cycle of its own."""

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.scope["http_version"] in _OLD_VERSIONS:
            # uvicorn names the cycle's class itself. Its task is scheduled by now, and has taken no step yet.
            self.cycle.__class__ = _UnframedCycle
            self.cycle.keep_alive = False
            self.cycle.waiting_for_100_continue = False


class _UnframedCycle(RequestResponseCycle):
    """One request of HTTP/1.0 and its answer (RFC 9112, 6.1 and 6.3; RFC 9110, 15.2).

    A body without a length is sent as it is, and ends where the connection does. No 100 goes before an answer.
    """

    _is_unframed = False

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start":
            if all(name.lower() != b"content-length" for name, _ in message.get("headers", ())):
                self._is_unframed = True
                self.chunked_encoding = False
                # uvicorn counts down from the length that was declared. Here it is known at the end.
                self.expected_content_length = sys.maxsize
        elif message["type"] == "http.response.body" and self._is_unframed and not message.get("more_body"):
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
