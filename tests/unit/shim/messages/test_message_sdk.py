"""Anthropic's own Python SDK asks for messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pydantic
import pytest
import pytest_asyncio
from named_events import call_delta, calls, reasoning

from llamawire.v1 import chat_pb2
from llamawire_server.errors import Condition, ServiceError, engine_fault, invalid_field, model_not_found

pytestmark = pytest.mark.asyncio(loop_scope="module")

USER: Any = {"role": "user", "content": "Hi"}
HI: dict[str, Any] = {"model": "smollm2", "max_tokens": 9, "messages": [USER]}
WEATHER: Any = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest_asyncio.fixture(loop_scope="module")
async def sdk(running, service) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=running.url, api_key="none", max_retries=0) as client:
        yield client


async def test_a_whole_message(sdk, service, script):
    service.answer = script.completion()
    message = await sdk.messages.create(**HI)
    assert message.content[0].text == "Hello"
    assert message._request_id == service.calls[0].request_id
    service.num_prompt_tokens = 5
    assert (await sdk.messages.count_tokens(model="smollm2", messages=[USER])).input_tokens == 5


async def test_the_stream_helper(sdk, service, script):
    service.steps = [
        script.chunk(script.role()),
        script.chunk(reasoning("hm")),
        script.chunk(script.text("Let me look.")),
        script.chunk(calls(call_delta(0, '{"city":', id="call_a", name="weather"))),
        script.chunk(calls(call_delta(0, '"Rome"}'))),
        script.chunk(script.finish(chat_pb2.FINISH_REASON_TOOL_CALLS), usage=script.usage),
    ]
    async with sdk.messages.stream(**HI, tools=[WEATHER]) as stream:
        kinds = [event.type async for event in stream]
        message = await stream.get_final_message()
    assert {"thinking", "text", "input_json", "message_stop"} <= set(kinds)
    thinking, text, use = message.content
    assert (thinking.thinking, text.text, use.input) == ("hm", "Let me look.", {"city": "Rome"})
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (4, 2)
    assert message.usage.cache_read_input_tokens == 3

    # What came can be sent back, in every form that the SDK has it in.
    service.answer = script.completion()
    result: Any = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}],
    }
    for content in (message.content, [block.to_dict() for block in message.content]):
        history = [USER, {"role": "assistant", "content": content}, result]
        await sdk.messages.create(**{**HI, "messages": history}, tools=[WEATHER])
        _, assistant, answer = service.requests[-1].messages
        assert assistant.reasoning_content == "hm"
        assert assistant.tool_calls[0].function.arguments == '{"city":"Rome"}'
        assert answer.tool_call_id == "call_a"


async def test_the_stream_helper_while_it_waits_for_the_first_chunk(serve, service, script):
    go_on = asyncio.Event()
    service.steps = [go_on, *script.stream("Hel", "lo")]
    async with (
        serve(service, keep_alive_seconds=0.02) as running,
        anthropic.AsyncAnthropic(base_url=running.url, api_key="none", max_retries=0, timeout=10) as sdk,
        sdk.messages.stream(**HI) as stream,
    ):
        asyncio.get_running_loop().call_later(0.1, go_on.set)
        assert await stream.get_final_text() == "Hello"


async def test_parse(sdk, service, script):
    class Reply(pydantic.BaseModel):
        text: str

    service.answer = script.completion(script.choice(content='{"text": "Hi"}'))
    message = await sdk.messages.parse(**HI, output_format=Reply)
    assert message.parsed_output == Reply(text="Hi")
    assert '"text"' in service.requests[0].response_format.json_schema.schema


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (invalid_field("max_tokens", "is odd"), anthropic.BadRequestError),
        (model_not_found("claude"), anthropic.NotFoundError),
        (ServiceError(Condition.UNAUTHENTICATED, "NO_KEY", "no key"), anthropic.AuthenticationError),
        (ServiceError(Condition.FORBIDDEN, "NO", "no"), anthropic.PermissionDeniedError),
        (ServiceError(Condition.BUSY, "QUEUE_FULL", "full"), anthropic.RateLimitError),
        (engine_fault("it broke"), anthropic.InternalServerError),
    ],
    ids=lambda value: value.condition.name if isinstance(value, ServiceError) else "",
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_the_sdk_s_own(sdk, service, failure, expected, stream):
    service.answer = failure
    service.steps = [failure]
    with pytest.raises(expected) as caught:
        await sdk.messages.create(**HI, stream=stream)
    assert caught.value.body["error"]["message"] == failure.message
    assert caught.value.request_id == service.calls[0].request_id


async def test_an_error_in_a_stream(sdk, service, script):
    service.steps = [*script.stream("Hel")[:-1], engine_fault("it broke")]
    with pytest.raises(anthropic.APIStatusError, match="it broke"):
        async for _ in await sdk.messages.create(**HI, stream=True):
            pass


@pytest.mark.parametrize("condition", [Condition.ENGINE, Condition.DEADLINE])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_what_would_fail_again_is_not_repeated(running, service, condition, stream):
    failure = ServiceError(condition, "REASON", "it failed")
    service.answer, service.steps = failure, [failure]
    async with anthropic.AsyncAnthropic(base_url=running.url, api_key="none") as sdk:
        with pytest.raises(anthropic.InternalServerError):
            await sdk.messages.create(**HI, stream=stream)
    assert len(service.calls) == 1
