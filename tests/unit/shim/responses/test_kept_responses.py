"""How much is kept of responses, by what the server was told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from named_events import events_of

from llamawire.v1 import chat_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESPONSES = "/v1/responses"
HI = {"model": "smollm2", "input": "Hi"}


class Caller:
    """Asks a server for responses."""

    def __init__(self, http: httpx.AsyncClient, keeps_any: bool) -> None:
        self._http = http
        self._keeps_any = keeps_any

    async def respond(self, **fields: Any) -> str:
        """The id of a whole response, whose `store` is true where others may go on from it."""
        answer = await self._http.post(RESPONSES, json=HI | fields)
        assert answer.status_code == 200, answer.text
        response = events_of(answer.text)[-1]["response"] if fields.get("stream") else answer.json()
        assert response["status"] == "completed"
        assert response["store"] is self._keeps_any
        return response["id"]

    async def finds(self, response_id: str) -> bool:
        """Whether others may go on from it. They may where it can be had, and the other way round."""
        asked = HI | {"previous_response_id": response_id, "store": False}
        answer = await self._http.post(RESPONSES, json=asked)
        if answer.status_code == 400:
            error = answer.json()["error"]
            assert (error["code"], error["param"]) == ("previous_response_not_found", "previous_response_id")
        found = await self._http.get(f"{RESPONSES}/{response_id}")
        assert (answer.status_code, found.status_code) in ((200, 200), (400, 404))
        return found.status_code == 200


@pytest.fixture
def caller_of(serve: Any, service: Any, script: Any) -> Callable[..., Any]:
    """A caller of a server with settings of its own."""
    service.answer, service.steps = script.completion(), script.stream("Hello")

    @asynccontextmanager
    async def start(**settings: int) -> AsyncIterator[Caller]:
        async with (
            serve(service, **settings) as running,
            httpx.AsyncClient(base_url=running.url, trust_env=False, timeout=10) as http,
        ):
            yield Caller(http, 0 not in settings.values())

    return start


async def test_so_many_are_kept(caller_of: Callable[..., Any]) -> None:
    async with caller_of(max_kept_responses=2) as caller:
        ids = [await caller.respond() for _ in range(3)]
        assert [await caller.finds(one) for one in ids] == [False, True, True]


async def test_they_take_up_no_more_than_they_may(caller_of: Callable[..., Any]) -> None:
    async with caller_of(max_kept_response_bytes=8_000) as caller:
        small = await caller.respond()
        assert await caller.finds(small)
        large = await caller.respond(input="x" * 8_000)
        assert not await caller.finds(large), "it has no room by itself"
        assert not await caller.finds(small), "it was older"
        assert await caller.finds(await caller.respond())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("setting", ["max_kept_responses", "max_kept_response_bytes"])
async def test_with_0_none_is_kept(caller_of: Callable[..., Any], setting: str, stream: bool) -> None:
    async with caller_of(**{setting: 0}) as caller:
        assert not await caller.finds(await caller.respond(store=True, stream=stream))


async def test_without_being_told_a_server_keeps_them(caller_of: Callable[..., Any]) -> None:
    async with caller_of() as caller:
        assert await caller.finds(await caller.respond(stream=True))


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_server_had_to_end_is_not_kept(
    http: httpx.AsyncClient, service: Any, script: Any, stream: bool
) -> None:
    reason = chat_pb2.FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE
    service.answer = script.completion(script.choice(finish_reason=reason, content="Hel"))
    service.steps = [*script.stream("Hel")[:-1], script.chunk(script.finish(reason), usage=script.usage)]
    answer = await http.post(RESPONSES, json=HI | {"stream": stream})
    response = events_of(answer.text)[-1]["response"] if stream else answer.json()
    assert response["status"] == "failed"
    assert (await http.get(f"{RESPONSES}/{response['id']}")).status_code == 404
