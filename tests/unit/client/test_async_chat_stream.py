"""AsyncChatStream: what ChatStream does, awaited."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from llamawire import AsyncClient, ConnectionFailedError, InferenceError, RequestCancelledError

SAY_HELLO = {"model": "m", "messages": [("user", "hello")]}


@pytest.fixture
async def client(server):
    async with AsyncClient(server.target) as client:
        yield client


@pytest.fixture
def half_an_answer(server, text_chunks):
    """The next stream gives a role and "Hel", and then hangs; the event tells that the server saw its end."""
    return server.hangs(*text_chunks("Hel")[:2])


async def seen(event) -> bool:
    return await asyncio.to_thread(event.wait, 5)


async def test_chunks_come_as_they_were_sent(server, client, text_chunks):
    chunks = text_chunks("Hel", "lo")
    server.answers(*chunks)
    server.answered_request_id = "from-the-server"

    async with client.chat.stream(**SAY_HELLO) as stream:
        assert [chunk.proto async for chunk in stream] == chunks

    assert stream.completion.text == "Hello"
    assert stream.completion.request_id == stream.request_id == "from-the-server"
    assert [chunk async for chunk in stream] == []
    assert (await stream.result()).text == "Hello"


async def test_text_alone(server, client, text_chunks):
    server.answers(*text_chunks("Hel", "", "lo"))

    assert [text async for text in client.chat.stream(**SAY_HELLO).text_stream] == ["Hel", "lo"]


async def test_one_chunk_now_and_the_rest_later(server, client, text_chunks):
    server.answers(*text_chunks("Hel", "lo"))
    stream = client.chat.stream(**SAY_HELLO)

    await anext(stream)
    assert (await anext(stream)).text == "Hel"

    assert (await stream.result()).text == "Hello"
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_leaving_the_loop_early_ends_the_call(half_an_answer, client):
    async for chunk in client.chat.stream(**SAY_HELLO):
        if chunk.text:
            break

    assert await seen(half_an_answer)


async def test_an_exception_in_the_loop_ends_the_call(half_an_answer, client):
    async def read():
        async for chunk in client.chat.stream(**SAY_HELLO):
            1 / len(chunk.text)

    with pytest.raises(ZeroDivisionError):
        await read()
    assert await seen(half_an_answer)


async def test_leaving_the_context_ends_the_call(half_an_answer, client):
    async with client.chat.stream(**SAY_HELLO) as stream:
        await anext(stream)

    assert await seen(half_an_answer)


async def test_cancelling_the_reading_task_ends_the_call(half_an_answer, client):
    stream = client.chat.stream(**SAY_HELLO)
    has_begun = asyncio.Event()

    async def read():
        async for _ in stream:
            has_begun.set()

    reader = asyncio.create_task(read())
    await has_begun.wait()

    reader.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await seen(half_an_answer)
    with pytest.raises(RequestCancelledError):
        await stream.result()


async def test_closing_from_another_task_ends_a_read(half_an_answer, client):
    stream = client.chat.stream(**SAY_HELLO)
    has_begun = asyncio.Event()

    async def read():
        async for _ in stream:
            has_begun.set()

    reader = asyncio.create_task(read())
    await has_begun.wait()

    await stream.close()

    with pytest.raises(RequestCancelledError) as caught:
        await reader
    assert caught.value.reason == "STREAM_CLOSED"
    assert await seen(half_an_answer)


async def test_closing_ends_the_wait_before_a_retry(server, client, error_info, retry_info):
    server.fails(grpc.StatusCode.UNAVAILABLE, error_info("MODEL_LOADING"), retry_info(50))
    stream = client.chat.stream(**SAY_HELLO)
    reader = asyncio.create_task(stream.result())
    assert await seen(server.is_called)

    await stream.close()

    with pytest.raises(RequestCancelledError):
        await asyncio.wait_for(reader, 5)
    assert len(server.received) == 1


async def test_a_stream_is_tried_again_before_its_first_chunk(
    server, client, error_info, retry_info, text_chunks
):
    server.fails(grpc.StatusCode.UNAVAILABLE, error_info("MODEL_LOADING"), retry_info(0))
    server.answers(*text_chunks("Hi"))

    assert (await client.chat.stream(**SAY_HELLO).result()).text == "Hi"
    assert len(server.received) == 2


async def test_a_stream_is_not_tried_again_after_its_first_chunk(server, client, text_chunks):
    server.fails(grpc.StatusCode.UNAVAILABLE, after=tuple(text_chunks("Hi")[:2]))
    stream = client.chat.stream(**SAY_HELLO)

    with pytest.raises(ConnectionFailedError):
        await stream.result()

    assert len(server.received) == 1
    assert stream.completion.text == "Hi"


async def test_a_failure_is_raised_again_by_every_later_read(server, client, error_info):
    server.fails(grpc.StatusCode.INTERNAL, error_info("INFERENCE_ERROR"))
    stream = client.chat.stream(**SAY_HELLO)

    for _ in range(2):
        with pytest.raises(InferenceError):
            await stream.result()
