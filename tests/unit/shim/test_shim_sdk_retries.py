"""OpenAI's SDK comes back by itself where it was told to, and gets its answer then; elsewhere it does not."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from llamawire_server.errors import Condition, ServiceError
from llamawire_server.service.interface import Call

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED: dict[str, Any] = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}]}


def full() -> ServiceError:
    return ServiceError(Condition.BUSY, "QUEUE_FULL", "full", retry_seconds=0.001)


def loading() -> ServiceError:
    return ServiceError(Condition.NOT_READY, "MODEL_LOADING", "loading", retry_seconds=0.001)


@pytest.fixture
def busy(running, script) -> Any:
    """A service that is too busy twice, each time for another reason, and answers then."""

    class Busy(type(running.service)):  # type: ignore[misc]
        def _begin(self, request: Any, call: Call) -> None:
            super()._begin(request, call)
            if refusals:
                raise refusals.pop()

    refusals = [full(), loading()]
    return Busy(answer=script.completion(), steps=script.stream("Hel", "lo"))


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_answer_comes_at_last(serve, busy, stream):
    async with (
        serve(busy) as server,
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=2) as sdk,
    ):
        raw = await sdk.chat.completions.with_raw_response.create(**ASKED, stream=stream)
        assert raw.retries_taken == 2
        answer = raw.parse()
        if stream:
            assert text_of([chunk async for chunk in answer]) == "Hello"
        else:
            assert answer.choices[0].message.content == "Hello"
    assert len(busy.requests) == 3
    assert busy.requests[0] == busy.requests[2]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_the_synchronous_client_gets_it_too(serve, busy, stream):
    async with serve(busy) as server:

        def ask() -> str | None:
            with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=2) as sdk:
                answer = sdk.chat.completions.create(**ASKED, stream=stream)
                return text_of(list(answer)) if stream else answer.choices[0].message.content

        assert await asyncio.to_thread(ask) == "Hello"
    assert len(busy.requests) == 3


async def test_as_often_as_it_may(serve, busy):
    async with (
        serve(busy) as server,
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=1) as sdk,
    ):
        with pytest.raises(openai.RateLimitError) as caught:
            await sdk.chat.completions.create(**ASKED)
    assert caught.value.response.headers["retry-after-ms"] == "1"
    assert len(busy.requests) == 2


@pytest.mark.parametrize("condition", [Condition.ENGINE, Condition.DEADLINE])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_not_where_it_would_fail_again(running, service, condition, stream):
    failure = ServiceError(condition, "REASON", "it failed")
    service.answer, service.steps = failure, [failure]
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none") as sdk:
        with pytest.raises(openai.InternalServerError):
            await sdk.chat.completions.create(**ASKED, stream=stream)
    assert len(service.requests) == 1
