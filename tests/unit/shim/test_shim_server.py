"""The server around the application: its socket, its start, its end."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
from typing import Any

import httpx
import pytest

from llamawire_server.shim.app import create_app
from llamawire_server.shim.http.disconnect import Calls
from llamawire_server.shim.http.server import HTTPServer, address_of, bind
from llamawire_server.shim.http.settings import HttpSettings

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("nothing_lost")]

LONG_SECONDS = 60.0


class Serving:
    """A server that a test stops by itself."""

    def __init__(self, service: Any) -> None:
        calls = Calls()
        listener = bind("127.0.0.1:0")
        self.url = f"http://{address_of(listener)}/v1/chat/completions"
        self.server = HTTPServer(create_app(service, calls, HttpSettings()), calls, listener)

    async def __aenter__(self) -> Serving:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop(grace_seconds=0)


def has_ipv6() -> bool:
    try:
        bind("[::1]:0").close()
    except OSError:
        return False
    return True


NEEDS_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture
def caller() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, timeout=10)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", pytest.param("[::1]:0", marks=NEEDS_IPV6)])
async def test_a_free_port_is_taken_and_told(address):
    with bind(address) as listener:
        host, _, port = address_of(listener).rpartition(":")
        assert int(port) == listener.getsockname()[1] != 0
        assert host in ("127.0.0.1", "[::1]")
        with socket.create_connection((host.strip("[]"), int(port))):
            pass


async def test_small_writes_are_not_held_back():
    """Without TCP_NODELAY a token may wait for the caller to acknowledge the one before it."""
    accepted: asyncio.Queue[int] = asyncio.Queue()

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        accepted.put_nowait(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()
        await writer.wait_closed()

    listener = bind("127.0.0.1:0")
    async with await asyncio.start_server(accept, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await accepted.get()
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "address", ["", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "::1:80"]
)
async def test_an_address_of_another_form(address):
    with pytest.raises(ValueError, match=r"HOST:PORT|brackets"):
        bind(address)


async def test_a_port_that_is_taken():
    with bind("127.0.0.1:0") as listener, pytest.raises(OSError, match="use"):
        bind(address_of(listener))


@NEEDS_IPV6
async def test_it_serves_over_ipv6(service, script, chat_body, caller):
    service.answer = script.completion()
    calls, listener = Calls(), bind("[::1]:0")
    url = f"http://{address_of(listener)}/v1/chat/completions"
    server = HTTPServer(create_app(service, calls, HttpSettings(max_body_bytes=1000)), calls, listener)
    await server.start()
    async with caller:
        assert (await caller.post(url, json=chat_body)).status_code == 200
    await server.stop(grace_seconds=0)


async def test_signals_stay_with_whoever_runs_the_loop(service):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    async with Serving(service):
        assert {number: signal.getsignal(number) for number in before} == before


async def test_a_running_call_may_finish(service, script, chat_body, caller):
    service.answer = asyncio.Event()
    async with Serving(service) as serving, caller:
        answering = asyncio.create_task(caller.post(serving.url, json=chat_body))
        await service.began.wait()
        stopping = asyncio.create_task(serving.server.stop(LONG_SECONDS))
        await refused(serving.url)
        go_on, service.answer = service.answer, script.completion()
        go_on.set()
        assert (await answering).status_code == 200
        await stopping
    assert not service.cancelled.is_set()


async def refused(url: str) -> None:
    """Wait until no more connections are taken."""
    parts = httpx.URL(url)
    while True:
        try:
            _, writer = await asyncio.open_connection(parts.host, parts.port)
            writer.close()
            await writer.wait_closed()
        except ConnectionRefusedError:
            return
        except ConnectionError:
            continue  # taken by the backlog just before it was closed
        await asyncio.sleep(0.01)


async def test_a_call_that_outlives_the_grace_is_told_so(service, chat_body, caller):
    service.answer = asyncio.Event()
    async with Serving(service) as serving, caller:
        answering = asyncio.create_task(caller.post(serving.url, json=chat_body))
        await service.began.wait()
        await serving.server.stop(grace_seconds=0)
        response = await answering
    assert service.cancelled.is_set()
    # Not 503, which OpenAI's clients repeat: work was done.
    assert response.status_code == 500
    assert response.headers["x-should-retry"] == "false"
    error = response.json()["error"]
    assert error["code"] == "inference_error"
    assert error["message"] == "the server stopped before the answer was complete"


async def test_a_stream_that_outlives_the_grace_is_told_so(service, script, chat_body, caller, caplog):
    service.steps = [*script.stream("Hello")[:-1], asyncio.Event()]
    events: list[str] = []
    async with Serving(service) as serving, caller:
        body = {**chat_body, "stream": True}
        async with caller.stream("POST", serving.url, json=body) as response:
            lines = response.aiter_lines()
            events.append(await anext(lines))
            await serving.server.stop(grace_seconds=0)
            events += [line async for line in lines if line]
    assert service.cancelled.is_set()
    assert service.cleaned_up.is_set()
    assert json.loads(events[-1].removeprefix("data: "))["error"] == {
        "message": "the server stopped before the answer was complete",
        "type": "inference_error",
        "param": None,
        "code": "inference_error",
    }
    assert "Hello" in events[-2]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_caller_that_reads_nothing_is_cut_off(service, script, chat_body, monkeypatch):
    monkeypatch.setattr("llamawire_server.shim.http.server._ABORT_SECONDS", 0.05)
    service.steps = [script.chunk(script.role()), *[script.chunk(script.text("x" * 100_000))] * 1000]
    async with Serving(service) as serving:
        url = httpx.URL(serving.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.transport.pause_reading()
        text = json.dumps({**chat_body, "stream": True}).encode()
        head = f"POST {url.path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(text)}\r\n\r\n".encode() + text)
        await service.began.wait()
        await serving.server.stop(grace_seconds=0.2)
        assert service.cancelled.is_set()
        writer.transport.abort()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        del reader


async def test_an_idle_connection_does_not_delay_the_end(service, script, chat_body, caller):
    service.answer = script.completion()
    async with caller, Serving(service) as serving:
        await caller.post(serving.url, json=chat_body)
        await asyncio.wait_for(serving.server.stop(LONG_SECONDS), 10)


async def test_work_that_begins_after_the_end_is_refused(service, chat_body):
    """A request whose body was still on its way when the calls were aborted."""
    calls = Calls()
    calls.abort()
    service.answer = asyncio.Event()
    transport = httpx.ASGITransport(create_app(service, calls, HttpSettings(max_body_bytes=1000)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as caller:
        response = await caller.post("/v1/chat/completions", json=chat_body)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "10"
    assert service.requests == []


async def test_a_server_that_never_started_can_be_stopped(service):
    serving = Serving(service)
    await serving.server.stop(grace_seconds=0)
    await refused(serving.url)
