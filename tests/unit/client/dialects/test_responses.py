"""Recorded streams as responses of real HTTP clients."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from llamawire import ConnectionFailedError, MalformedResponseError
from llamawire.dialects import DONE_EVENT, AsyncSSEChatStream, SSEChatStream


class Provider(BaseHTTPRequestHandler):
    """Sends a recorded stream in small pieces. `/cut` leaves out the end, `/broken` that of the response, too."""

    protocol_version = "HTTP/1.1"
    stream = b""

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        stream = self.stream if self.path == "/" else self.stream[:-10]
        for start in range(0, len(stream), 700):
            piece = stream[start : start + 700]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if self.path == "/broken":
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


@pytest.fixture
def provider(recording) -> Iterator[str]:
    """The address of a provider that sends a recorded stream."""
    stream = b"".join(b"data: %b\n\n" % line.encode() for line in recording) + DONE_EVENT
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Recorded", (Provider,), {"stream": stream})) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def text_of(recording):
    choices = [choice for line in recording for choice in json.loads(line)["choices"]]
    return "".join(choice["delta"]["content"] for choice in choices)


def test_a_response_of_urllib(provider, recording):
    with urllib.request.urlopen(provider) as response, SSEChatStream(response) as stream:
        assert "".join(stream.text_stream) == text_of(recording)
        assert response.closed


@pytest.mark.parametrize(
    ("path", "kind"), [("/cut", MalformedResponseError), ("/broken", ConnectionFailedError)]
)
def test_a_response_of_http_client_that_ends_early(provider, path, kind):
    connection = http.client.HTTPConnection(provider.removeprefix("http://"))
    connection.request("GET", path)
    with pytest.raises(kind):
        SSEChatStream(connection.getresponse()).result()
    connection.close()


def test_a_response_of_httpx(provider, recording):
    with httpx.Client() as client, client.stream("GET", provider) as response:
        stream = SSEChatStream(response.iter_bytes(), release=response.close)
        assert stream.result().text == text_of(recording)
        assert response.is_closed


async def test_a_response_of_httpx_in_asyncio(provider, recording):
    async with httpx.AsyncClient() as client, client.stream("GET", provider) as response:
        stream = AsyncSSEChatStream(response.aiter_bytes(), release=response.aclose)
        assert (await stream.result()).text == text_of(recording)
        assert response.is_closed
