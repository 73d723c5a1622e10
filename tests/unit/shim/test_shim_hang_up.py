"""A caller that hangs up: the work it asked for ends at once, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from typing import Any

import pytest

from llamawire_server.service.interface import Call
from llamawire_server.shim.chat.events import ChunkEvents
from llamawire_server.shim.chat.request_schema import ChatCompletionRequest
from llamawire_server.shim.chat.translate import to_chat_request
from llamawire_server.shim.http.body import validate
from llamawire_server.shim.http.disconnect import Calls
from llamawire_server.shim.http.sse import EventStream

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("nothing_lost")]

PATIENCE_SECONDS = 10.0


class RawCaller:
    """A connection with one chat request on it, which can be ended in any way."""

    def __init__(self, url: str, body: dict[str, Any]) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._address = (host, int(port))
        self._body = json.dumps(body).encode()

    async def __aenter__(self) -> RawCaller:
        self.reader, self.writer = await asyncio.open_connection(*self._address)
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
            f"content-length: {len(self._body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + self._body)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        # A connection that was reset says so once more when it is closed.
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """End the connection with RST, as a crashed caller's machine does."""
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


async def noticed(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), PATIENCE_SECONDS)


@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("stream", [False, True])
async def test_while_the_prompt_is_computed(running, service, chat_body, stream, way):
    service.answer = asyncio.Event()
    service.steps = [asyncio.Event()]
    async with RawCaller(running.url, {**chat_body, "stream": stream}) as caller:
        await noticed(service.began)
        getattr(caller, way)()
        await noticed(service.cancelled)
        await noticed(service.cleaned_up)


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_while_it_is_kept_alive_before_its_first_chunk(serve, service, chat_body, way):
    service.steps = [asyncio.Event()]
    async with (
        serve(service, keep_alive_seconds=0.02) as running,
        RawCaller(running.url, {**chat_body, "stream": True}) as caller,
    ):
        await asyncio.wait_for(caller.reader.readuntil(b'"choices":[]'), PATIENCE_SECONDS)
        getattr(caller, way)()
        await noticed(service.cancelled)
        await noticed(service.cleaned_up)


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_between_two_chunks(running, service, script, chat_body, way):
    service.steps = [*script.stream("Hello")[:-1], asyncio.Event()]
    async with RawCaller(running.url, {**chat_body, "stream": True}) as caller:
        await asyncio.wait_for(caller.reader.readuntil(b"Hello"), PATIENCE_SECONDS)
        getattr(caller, way)()
        await noticed(service.cancelled)
        await noticed(service.cleaned_up)


async def test_while_chunks_are_being_sent_to_a_caller_that_reads_none(running, service, script, chat_body):
    """The service is not asked for more than the connection takes, and hears of the end all the same."""
    text = script.chunk(script.text("x" * 100_000))
    service.steps = [script.chunk(script.role()), *[text] * 1000]
    async with RawCaller(running.url, {**chat_body, "stream": True}) as caller:
        caller.writer.transport.pause_reading()
        await noticed(service.began)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(service.cleaned_up.wait(), 0.3)
        caller.reset()
        await noticed(service.cancelled)


async def test_before_the_body_is_complete(running, service, caplog):
    """The service is never called, and the server goes on."""
    async with RawCaller(running.url, {}) as caller:
        await caller.reader.readuntil(b"messages")
        caller.writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\n")
        caller.writer.write(b"content-type: application/json\r\ncontent-length: 100\r\n\r\n{")
        await caller.writer.drain()
    async with RawCaller(running.url, {}) as caller:
        await caller.reader.readuntil(b"messages")
    assert service.requests == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_the_work_s_clean_up_is_over_when_the_response_is(service, script, chat_body):
    """Even where the hang-up finds the response sending, and not waiting for the service."""
    service.steps = script.stream("Hello")
    chunks = service.stream_chat_completion(
        to_chat_request(validate(chat_body, ChatCompletionRequest, False)), Call("call-1")
    )
    response = EventStream(chunks, ChunkEvents("smollm2", False, False), Calls(), keep_alive_seconds=3600.0)
    sending = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await sending.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sending.set()
            await asyncio.Event().wait()

    await response({"type": "http"}, receive, send)
    assert service.cancelled.is_set()
    assert service.cleaned_up.is_set()


async def test_the_clean_up_of_a_hung_up_call_may_fail(running, service, script, caplog, chat_body):
    """It is logged, and is nobody else's trouble."""
    service.create_chat_completion = failing_clean_up(service)
    try:
        async with RawCaller(running.url, chat_body) as caller:
            await noticed(service.began)
            caller.close()
            await noticed(service.cleaned_up)
            await asyncio.sleep(0)
    finally:
        del service.create_chat_completion
    service.reset()
    service.answer = script.completion()
    async with RawCaller(running.url, chat_body) as caller:
        assert b"200 OK" in await caller.reader.readline()
    assert "the clean-up of an abandoned call failed" in caplog.text


def failing_clean_up(service: Any) -> Any:
    async def create_chat_completion(_request: object, _call: object) -> None:
        service.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            service.cleaned_up.set()
            raise KeyError("lease")

    return create_chat_completion


async def test_many_at_once(running, service, script, chat_body):
    """Some hang up, the others get their answers."""
    go_on = asyncio.Event()
    service.steps = [script.chunk(script.role()), go_on, *script.stream("Hello")[1:]]

    async def call(hangs_up: bool) -> bytes:
        async with RawCaller(running.url, {**chat_body, "stream": True}) as caller:
            await caller.reader.readuntil(b"assistant")
            if hangs_up:
                return b""
            await noticed(service.cancelled)
            go_on.set()
            return await caller.reader.readuntil(b"[DONE]")

    answers = await asyncio.wait_for(
        asyncio.gather(*(call(hangs_up=index % 2 == 0) for index in range(20))), PATIENCE_SECONDS
    )
    assert [b"Hello" in answer for answer in answers] == [index % 2 == 1 for index in range(20)]
