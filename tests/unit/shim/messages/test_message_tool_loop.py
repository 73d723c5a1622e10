"""Anthropic's tool loop, which asks for a conversation that the server keeps, and goes on where there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
import pytest_asyncio
from anthropic import beta_async_tool, beta_tool
from anthropic.types import ErrorResponse
from named_events import call_delta, calls, tool_call

from llamawire.v1 import chat_pb2
from llamawire_server.service.interface import Call
from llamawire_server.shim.messages import response_schema as schema

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED: dict[str, Any] = {
    "model": "smollm2",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "How is the weather in Rome?"}],
}
TOLD = [chat_pb2.ROLE_USER, chat_pb2.ROLE_ASSISTANT, chat_pb2.ROLE_TOOL]


def weather(city: str) -> str:
    """Tells the weather.

    Args:
        city: Where.
    """
    return f"sunny in {city}"


async def weather_later(city: str) -> str:
    """Tells the weather."""
    return weather(city)


@pytest_asyncio.fixture(loop_scope="module")
async def server(running, serve, script) -> AsyncIterator[Any]:
    """A server whose service uses a tool, and answers when it has the result."""
    use = tool_call("call_a", "weather", '{"city":"Rome"}')
    end = chat_pb2.FINISH_REASON_TOOL_CALLS
    begun = call_delta(0, '{"city":', id="call_a", name="weather")

    class Curious(type(running.service)):  # type: ignore[misc]
        def _begin(self, request: Any, call: Call) -> None:
            super()._begin(request, call)
            if any(message.role == chat_pb2.ROLE_TOOL for message in request.messages):
                self.answer, self.steps = script.completion(), script.stream("Hel", "lo")
                return
            self.answer = script.completion(script.choice(tool_calls=[use], finish_reason=end))
            self.steps = [
                script.chunk(script.role()),
                script.chunk(calls(begun)),
                script.chunk(calls(call_delta(0, '"Rome"}'))),
                script.chunk(script.finish(end), usage=script.usage),
            ]

    async with serve(Curious()) as server:
        yield server


def check(server: Any, last: Any) -> None:
    """The loop came to its end, by two requests, the second of which had all that was said before."""
    assert last.content[0].text == "Hello"
    first, second = server.service.requests
    assert [message.role for message in first.messages] == TOLD[:1]
    assert [message.role for message in second.messages] == TOLD
    assert second.messages[2].content == "sunny in Rome"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_the_synchronous_loop(server, stream):
    def run() -> Any:
        with anthropic.Anthropic(base_url=server.url, api_key="none") as sdk:
            return sdk.beta.messages.tool_runner(
                **ASKED, tools=[beta_tool(weather)], stream=stream
            ).until_done()

    check(server, await asyncio.to_thread(run))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_the_asynchronous_loop(server, stream):
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none") as sdk:
        tool = beta_async_tool(weather_later, name="weather")
        check(server, await sdk.beta.messages.tool_runner(**ASKED, tools=[tool], stream=stream).until_done())


@pytest.mark.parametrize("allow_unknown_fields", [False, True])
async def test_a_kept_conversation_is_refused_so_that_clients_know(serve, service, allow_unknown_fields):
    async with (
        serve(service, allow_unknown_fields=allow_unknown_fields) as server,
        anthropic.AsyncAnthropic(base_url=server.url, api_key="none") as sdk,
    ):
        for stream in (False, True):
            with pytest.raises(anthropic.BadRequestError) as caught:
                await sdk.beta.messages.create(**ASKED, thread={"type": "create"}, stream=stream)
            body: Any = caught.value.body
            assert body["error"] == {
                "type": "invalid_request_error",
                "message": "thread: is not supported by this server",
                "details": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]},
            }
            schema.MessageError.model_validate(body)
            ErrorResponse.model_validate(body)
    assert service.requests == []


async def test_no_conversation_is_kept_where_none_is_asked_for(running, service, script):
    service.answer = script.completion()
    async with anthropic.AsyncAnthropic(base_url=running.url, api_key="none") as sdk:
        message = await sdk.beta.messages.create(**ASKED, thread=None)
    assert message.content[0].text == "Hello"
