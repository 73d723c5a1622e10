"""Callers over HTTP: ones that read their answers, and ones that hang up."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import httpx

PATIENCE_SECONDS = 60


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Poll until something holds; what it takes is not asserted, only that it comes."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def chat_body(content: str, **fields: Any) -> dict[str, Any]:
    """A greedy request for a short answer, unless told otherwise."""
    messages = [{"role": "user", "content": content}]
    return {"model": "smollm2", "messages": messages, "temperature": 0, "max_tokens": 16, **fields}


def http_client(http_address: str) -> httpx.Client:
    """A client that goes straight to the server, whatever proxy this machine has."""
    return httpx.Client(base_url=f"http://{http_address}", timeout=PATIENCE_SECONDS, trust_env=False)


def post(http_address: str, body: dict[str, Any]) -> httpx.Response:
    """One chat request, answered to its end."""
    with http_client(http_address) as client:
        return client.post("/v1/chat/completions", json=body)


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream that came to its end."""
    *events, done, nothing = response.text.split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


class RawCaller:
    """A connection with one chat request on it, which can be ended in any way."""

    def __init__(self, http_address: str, body: dict[str, Any]) -> None:
        host, port = http_address.rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)
        encoded = json.dumps(body).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
            f"content-length: {len(encoded)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + encoded)

    def read_until(self, mark: bytes) -> bytes:
        """What comes until `mark` has come."""
        received = b""
        while mark not in received:
            piece = self._socket.recv(65536)
            assert piece, f"the connection ended before {mark!r}: {received!r}"
            received += piece
        return received

    def close(self) -> None:
        """Hang up as a program does that has had enough."""
        self._socket.close()

    def reset(self) -> None:
        """Hang up as a program does that was killed with data unread."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self._socket.close()

    def __enter__(self) -> RawCaller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
