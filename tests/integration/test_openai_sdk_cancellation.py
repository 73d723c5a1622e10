"""Calls of OpenAI's Python SDK that nobody waits for any more: the server stops working on them."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from callers import wait_until
from openai_sdk_calls import GREEDY, create
from servers import RunningServer

LONG: dict[str, Any] = {**GREEDY, "max_tokens": 4000, "stop": ["\x00"]}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_sdk_s_timeout_frees_the_sequence(
    sdk: openai.OpenAI, server: RunningServer, stream: bool
) -> None:
    """A timeout of the SDK's is one between two bytes: nothing comes while a long prompt is computed."""
    messages = [{"role": "user", "content": "word " * 7000}]
    with pytest.raises(openai.APITimeoutError):
        sdk.chat.completions.create(**{**GREEDY, "messages": messages}, stream=stream, timeout=0.5)
    wait_until(lambda: server.model().active_requests == 0)


def test_a_deadline_is_told_to_the_server(sdk: openai.OpenAI, server: RunningServer) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        create(sdk, **LONG, extra_headers={"x-request-timeout-seconds": "0.5"})
    assert caught.value.status_code == 504
    assert caught.value.code == "timeout"
    wait_until(lambda: server.model().active_requests == 0)


def test_a_closed_stream_frees_the_sequence(sdk: openai.OpenAI, server: RunningServer) -> None:
    chunks = sdk.chat.completions.create(**LONG, stream=True)
    next(iter(chunks))
    assert server.model().active_requests == 1
    chunks.close()
    wait_until(lambda: server.model().active_requests == 0)


async def test_a_cancelled_task_frees_the_sequence(
    async_sdk: openai.AsyncOpenAI, server: RunningServer
) -> None:
    task = asyncio.create_task(async_sdk.chat.completions.create(**LONG))
    await asyncio.to_thread(wait_until, lambda: server.model().active_requests == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_until, lambda: server.model().active_requests == 0)
