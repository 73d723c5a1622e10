"""The Python client for programs with an event loop, against the real server."""

from __future__ import annotations

import asyncio

import pytest
from python_client_calls import LONG, STORY, AsyncTeller

from llamawire import (
    AsyncClient,
    ConnectionFailedError,
    DeadlineExceededError,
    InvalidRequestError,
    ModelNotFoundError,
    UnsupportedError,
    image,
    user,
)
from llamawire.v1 import model_pb2


async def test_the_asynchronous_client(async_client: AsyncClient) -> None:
    whole = await async_client.chat.create(**STORY, request_id="mine-4")
    assert whole.request_id == "mine-4"
    stream = async_client.chat.stream(**STORY)
    assert "".join([chunk.text async for chunk in stream]) == whole.text
    assert stream.completion.usage == whole.usage
    assert "".join([text async for text in async_client.chat.stream(**STORY).text_stream]) == whole.text
    teller = AsyncTeller()
    completion = await async_client.chat.stream(**STORY).run(teller)
    assert teller.notes.told == ["start", "complete"]
    assert teller.notes.text == completion.text == whole.text


async def test_the_asynchronous_client_s_other_calls(async_client: AsyncClient) -> None:
    assert "smollm2" in [model.name for model in await async_client.models.list()]
    assert (await async_client.models.get("smollm2")).state == model_pb2.MODEL_STATE_READY
    tokenized = await async_client.tokenizer.tokenize("smollm2", "The fox", add_special=False)
    assert await async_client.tokenizer.detokenize("smollm2", tokenized.tokens) == "The fox"
    assert (await async_client.tokenizer.count_chat_tokens(**STORY)).prompt_tokens > 5


async def test_errors_of_the_asynchronous_client(async_client: AsyncClient, nobody: str) -> None:
    with pytest.raises(ModelNotFoundError):
        await async_client.chat.create(**{**STORY, "model": "smollm3"})
    with pytest.raises(InvalidRequestError) as caught:
        await async_client.chat.stream(**{**STORY, "temperature": 9, "n": 0}).result()
    assert caught.value.fields.keys() == {"temperature", "n"}
    with pytest.raises(UnsupportedError):
        await async_client.chat.create(**{**STORY, "messages": [user(image("data:image/png;base64,"))]})
    with pytest.raises(DeadlineExceededError):
        await async_client.chat.create(**LONG, timeout_seconds=0.4)
    with pytest.raises(DeadlineExceededError):
        await async_client.chat.stream(**LONG, timeout_seconds=0.4).result()
    async with AsyncClient(nobody, retries=1) as lonely:
        with pytest.raises(ConnectionFailedError):
            await lonely.chat.create(**STORY)
        with pytest.raises(ConnectionFailedError):
            await lonely.chat.stream(**STORY).result()


async def test_many_at_once(async_client: AsyncClient) -> None:
    completions = await asyncio.gather(
        *(async_client.chat.stream(**{**STORY, "max_tokens": 3 + number}).result() for number in range(5))
    )
    assert [completion.usage.completion_tokens for completion in completions] == list(range(3, 8))
