"""Streams of other providers in asyncio: as they are without, and what tasks do to each other."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from sse_bodies import HELLO, LOADING, AsyncBody, event

from llamawire import (
    AsyncStreamHandler,
    ConnectionFailedError,
    DeadlineExceededError,
    LlamawireError,
    MalformedResponseError,
    RequestCancelledError,
    UnavailableError,
)
from llamawire.dialects import AsyncSSEChatStream


async def test_an_asyncio_stream_is_read_alike():
    body = AsyncBody(*HELLO)
    stream = AsyncSSEChatStream(body)

    assert (await stream.recv()).text == "Hel"
    assert [chunk.text async for chunk in stream] == ["lo"]
    assert await stream.recv() is None
    assert (await stream.result()).text == "Hello"
    assert body.num_closed == 1


async def test_an_asyncio_stream_s_text_alone():
    stream = AsyncSSEChatStream(AsyncBody(*HELLO))

    assert [text async for text in stream.text_stream] == ["Hel", "lo"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (AsyncBody(event("Hel")), MalformedResponseError),
        (AsyncBody(event("Hel"), LOADING), UnavailableError),
        (AsyncBody(event("Hel"), failure=httpx.ReadError("reset")), ConnectionFailedError),
        (AsyncBody(event("Hel"), failure=TimeoutError()), DeadlineExceededError),
    ],
)
async def test_an_asyncio_stream_fails_alike(body, kind):
    stream = AsyncSSEChatStream(body)
    assert (await stream.recv()).text == "Hel"

    for _ in range(2):
        with pytest.raises(LlamawireError) as caught:
            await stream.recv()
        assert type(caught.value) is kind
    assert body.num_closed == 1


async def test_an_asyncio_stream_that_was_closed_stays_closed():
    body = AsyncBody(*HELLO)
    async with AsyncSSEChatStream(body) as stream:
        await stream.recv()

    assert body.num_closed == 1
    with pytest.raises(RequestCancelledError):
        await stream.recv()


async def test_an_asyncio_stream_that_is_closed_while_its_body_is_read():
    is_waiting, is_closed = asyncio.Event(), asyncio.Event()

    async def body():
        try:
            is_waiting.set()
            await asyncio.sleep(0.01)
            yield event("Hel")
        finally:
            is_closed.set()

    stream = AsyncSSEChatStream(body())
    reading = asyncio.create_task(stream.recv())
    await is_waiting.wait()
    await stream.close()

    with pytest.raises(RequestCancelledError):
        await reading
    assert is_closed.is_set()


async def test_a_task_that_is_cancelled_closes_the_stream_that_it_reads():
    is_waiting = asyncio.Event()

    class Waiting(AsyncBody):
        async def __anext__(self):
            is_waiting.set()
            await asyncio.Event().wait()

    body = Waiting()
    stream = AsyncSSEChatStream(body)
    reading = asyncio.create_task(stream.recv())
    await is_waiting.wait()
    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading
    assert body.num_closed == 1
    with pytest.raises(RequestCancelledError):
        await stream.recv()


async def test_an_asyncio_handler_is_told_alike():
    told = []

    class Recording(AsyncStreamHandler):
        async def on_token(self, text, choice_index):
            told.append(text)

        async def on_complete(self, completion):
            told.append(completion.text)

        async def on_error(self, error):
            told.append(error.reason)

    body = AsyncBody(*HELLO)
    await AsyncSSEChatStream(body).run(Recording())
    with pytest.raises(UnavailableError):
        await AsyncSSEChatStream(AsyncBody(LOADING)).run(Recording())

    assert told == ["Hel", "lo", "Hello", "MODEL_LOADING"]
    assert body.num_closed == 1
