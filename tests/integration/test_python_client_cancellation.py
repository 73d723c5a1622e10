"""Calls of the Python client that nobody waits for any more: the server stops working on them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import grpc
import pytest
from callers import wait_until
from python_client_calls import LONG, STORY, is_idle, read_some
from servers import RunningServer

from llamawire import AsyncClient, Client, DeadlineExceededError, RequestCancelledError, user

LONG_PROMPT: dict[str, Any] = {**STORY, "messages": [user("word " * 7000)]}


async def wait_in_thread(condition: Any) -> None:
    """`wait_until` beside a running event loop."""
    await asyncio.to_thread(wait_until, condition)


def test_a_stream_closed_in_the_middle_frees_its_sequence(server: RunningServer, client: Client) -> None:
    stream = client.chat.stream(**LONG)
    read_some(stream)
    assert server.model().active_requests == 1
    stream.close()
    wait_until(lambda: is_idle(server))
    assert stream.completion.text, "what came is kept"
    assert stream.completion.finish_reason is None
    with pytest.raises(RequestCancelledError) as caught:
        next(stream)
    assert caught.value.reason == "STREAM_CLOSED"


def test_a_loop_that_is_left_frees_its_sequence(server: RunningServer, client: Client) -> None:
    for chunk in client.chat.stream(**LONG):
        if chunk.text:
            break
    wait_until(lambda: is_idle(server))


def test_a_stream_closed_by_another_thread(server: RunningServer, client: Client) -> None:
    stream = client.chat.stream(**LONG)
    read_some(stream)
    closing = threading.Timer(0.1, stream.close)
    closing.start()
    with pytest.raises(RequestCancelledError):
        stream.result()
    closing.join()
    wait_until(lambda: is_idle(server))


def test_a_closed_client_ends_its_calls(server: RunningServer) -> None:
    client = Client(server.grpc_address)
    stream = client.chat.stream(**LONG)
    read_some(stream)
    client.close()
    wait_until(lambda: is_idle(server))
    with pytest.raises(RequestCancelledError):
        stream.result()


@pytest.mark.parametrize("asked", [LONG, LONG_PROMPT], ids=["decode", "prefill"])
def test_a_deadline(server: RunningServer, client: Client, asked: dict[str, Any]) -> None:
    with pytest.raises(DeadlineExceededError) as caught:
        client.chat.create(**asked, timeout_seconds=0.4)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(DeadlineExceededError):
        client.chat.stream(**asked, timeout_seconds=0.4).result()
    wait_until(lambda: is_idle(server))


async def test_an_asynchronous_stream_closed_in_the_middle(
    server: RunningServer, async_client: AsyncClient
) -> None:
    async with async_client.chat.stream(**LONG) as stream:
        while not (await anext(stream)).text:
            pass
        assert (await asyncio.to_thread(server.model)).active_requests == 1
    await wait_in_thread(lambda: is_idle(server))
    with pytest.raises(RequestCancelledError):
        await anext(stream)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "streamed"])
async def test_a_cancelled_task_frees_its_sequence(
    server: RunningServer, async_client: AsyncClient, whole: bool
) -> None:
    call = async_client.chat.create(**LONG) if whole else async_client.chat.stream(**LONG).result()
    task = asyncio.ensure_future(call)
    await wait_in_thread(lambda: server.model().active_requests == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_in_thread(lambda: is_idle(server))
