"""Callers that speak HTTP/1.0: their answers have no chunks, and end where the connection does."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("nothing_lost")]

PATIENCE_SECONDS = 10.0
CHAT = "POST /v1/chat/completions"


@dataclass(frozen=True)
class Answer:
    """All that came until the connection ended."""

    status: str
    headers: dict[str, str]
    body: bytes


def request(line: str, body: dict[str, Any] | None = None, *headers: str) -> bytes:
    """A request as it is on the wire."""
    data = b"" if body is None else json.dumps(body).encode()
    fields = ["host: test", *headers]
    if body is not None:
        fields += ["content-type: application/json", f"content-length: {len(data)}"]
    return "".join(f"{text}\r\n" for text in (line, *fields, "")).encode() + data


def read_answer(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    assert len(headers) == len(fields)
    return Answer(status, headers, body)


def read_events(body: bytes) -> list[Any]:
    """The data of each event; what is not its end is JSON."""
    *events, rest = body.decode().split("\n\n")
    assert rest == ""
    texts = [event.removeprefix("data: ") for event in events]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


async def exchange(url: str, *requests: bytes) -> bytes:
    """What comes for requests, sent all at once, until the server ends the connection."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"".join(requests))
        return await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


KEEP_ALIVE = pytest.mark.parametrize(
    "headers", [(), ("connection: keep-alive",)], ids=["plain", "keep-alive"]
)
VERSIONS = pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/0.9"])


@KEEP_ALIVE
@VERSIONS
async def test_a_stream_is_sent_as_it_is(running, service, script, chat_body, version, headers):
    service.steps = script.stream("Hello", " there")
    data = await exchange(running.url, request(f"{CHAT} {version}", {**chat_body, "stream": True}, *headers))
    answer = read_answer(data)
    assert answer.status == "HTTP/1.1 200 OK"
    assert "transfer-encoding" not in answer.headers
    assert "content-length" not in answer.headers
    assert answer.headers["connection"] == "close"
    *chunks, end = read_events(answer.body)
    texts = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    assert [text for text in texts if text] == ["Hello", " there"]
    assert end == "[DONE]"


@KEEP_ALIVE
@VERSIONS
async def test_a_whole_answer_has_its_length(running, service, script, chat_body, version, headers):
    service.answer = script.completion()
    answer = read_answer(await exchange(running.url, request(f"{CHAT} {version}", chat_body, *headers)))
    assert answer.status == "HTTP/1.1 200 OK"
    assert "transfer-encoding" not in answer.headers
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "Hello"


async def test_every_chunk_comes_at_once(running, service, script, chat_body):
    """The answer is not held back to be measured."""
    go_on = asyncio.Event()
    first, second, *rest = script.stream("Hello", " there")
    service.steps = [first, second, go_on, *rest]
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request(f"{CHAT} HTTP/1.0", {**chat_body, "stream": True}))
    await asyncio.wait_for(reader.readuntil(b"Hello"), PATIENCE_SECONDS)
    go_on.set()
    assert (await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)).endswith(b"data: [DONE]\n\n")
    writer.close()
    await writer.wait_closed()


async def test_a_stream_that_fails_ends_with_its_error(running, service, script, chat_body):
    service.steps = [*script.stream("Hello")[:-1], ValueError("of nobody's concern")]
    answer = read_answer(
        await exchange(running.url, request(f"{CHAT} HTTP/1.0", {**chat_body, "stream": True}))
    )
    assert "error" in read_events(answer.body)[-1]


async def test_a_failure_has_its_length(running, service):
    answer = read_answer(await exchange(running.url, request("GET /nowhere HTTP/1.0")))
    assert answer.status == "HTTP/1.1 404 Not Found"
    assert int(answer.headers["content-length"]) == len(answer.body)


async def test_a_hang_up_ends_the_work(running, service, script, chat_body):
    service.steps = [*script.stream("Hello")[:-1], asyncio.Event()]
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request(f"{CHAT} HTTP/1.0", {**chat_body, "stream": True}))
    await asyncio.wait_for(reader.readuntil(b"Hello"), PATIENCE_SECONDS)
    writer.close()
    await asyncio.wait_for(service.cancelled.wait(), PATIENCE_SECONDS)
    await asyncio.wait_for(service.cleaned_up.wait(), PATIENCE_SECONDS)
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_nobody_is_asked_to_go_on(running, service, script, chat_body):
    """HTTP/1.0 has no 100."""
    service.answer = script.completion()
    asked = request(f"{CHAT} HTTP/1.0", chat_body, "expect: 100-continue")
    assert (await exchange(running.url, asked)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_caller_of_today_gets_chunks(running, service, script, chat_body):
    """On the same connection, one after the other; the last one may be an old one."""
    service.steps = script.stream("Hello")
    body = {**chat_body, "stream": True}
    data = await exchange(running.url, request(f"{CHAT} HTTP/1.1", body), request(f"{CHAT} HTTP/1.0", body))
    first, _, second = data.partition(b"0\r\n\r\n")
    assert read_answer(first).headers["transfer-encoding"] == "chunked"
    assert "connection" not in read_answer(first).headers
    assert "transfer-encoding" not in read_answer(second).headers
    assert read_answer(second).body.endswith(b"data: [DONE]\n\n")
