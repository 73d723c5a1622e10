"""OpenAI's own Python SDK asks for responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pydantic
import pytest
import pytest_asyncio
from named_events import call_delta, calls, reasoning, tool_call

from llamawire.v1 import chat_pb2
from llamawire_server.errors import Condition, ServiceError, engine_fault, invalid_field, model_not_found

pytestmark = pytest.mark.asyncio(loop_scope="module")

HI: dict[str, Any] = {"model": "smollm2", "input": "Hi"}
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


@pytest_asyncio.fixture(loop_scope="module")
async def sdk(running, service) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_a_whole_response(sdk, service, script):
    service.answer = script.completion()
    response = await sdk.responses.create(**HI)
    assert response.output_text == "Hello"
    assert response.usage.input_tokens_details.cached_tokens == 3
    assert response._request_id == service.calls[0].request_id
    assert (await sdk.responses.retrieve(response.id)).output_text == "Hello"
    listed = [item async for item in sdk.responses.input_items.list(response.id)]
    assert listed[0].content[0].text == "Hi"
    await sdk.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.retrieve(response.id)


async def test_all_input_items_are_found_page_by_page(sdk, service, script):
    service.answer = script.completion()
    given: Any = [{"role": "user", "content": str(number)} for number in range(45)]
    response = await sdk.responses.create(**{**HI, "input": given})
    listed = [item.content[0].text async for item in sdk.responses.input_items.list(response.id, order="asc")]
    assert listed == [str(number) for number in range(45)]


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # the SDK's own, for what it parsed
async def test_the_stream_helper(sdk, service, script):
    """It puts the response together, and complains of events out of order."""
    service.steps = [
        script.chunk(script.role()),
        script.chunk(reasoning("hm")),
        script.chunk(script.text("Let me look.")),
        script.chunk(calls(call_delta(0, '{"city":', id="call_a", name="weather"))),
        script.chunk(calls(call_delta(0, '"Rome"}'))),
        script.chunk(calls(call_delta(1, '{"city":"Oslo"}', id="call_b", name="weather"))),
        script.chunk(script.finish(chat_pb2.FINISH_REASON_TOOL_CALLS), usage=script.usage),
    ]
    async with sdk.responses.stream(**HI, tools=[WEATHER]) as stream:
        kinds = [event.type async for event in stream]
        response = await stream.get_final_response()
    assert response.output_text == "Let me look."
    made = [item for item in response.output if item.type == "function_call"]
    assert [call.parsed_arguments for call in made] == [{"city": "Rome"}, {"city": "Oslo"}]
    assert kinds.count("response.function_call_arguments.done") == 2

    # What came can be sent back, in every form that the SDK has it in.
    service.answer = script.completion()
    results: list[Any] = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in made
    ]
    for output in (
        response.output,
        [item.to_dict() for item in response.output],
        [item.model_dump() for item in response.output],
    ):
        await sdk.responses.create(**{**HI, "input": [*output, *results]}, tools=[WEATHER])
        assistant, *answers = service.requests[-1].messages
        assert assistant.reasoning_content == "hm"
        assert [call.id for call in assistant.tool_calls] == ["call_a", "call_b"]
        assert [answer.tool_call_id for answer in answers] == ["call_a", "call_b"]


async def test_the_stream_helper_while_it_waits_for_the_first_chunk(serve, service, script):
    go_on = asyncio.Event()
    service.steps = [go_on, *script.stream("Hel", "lo")]
    async with (
        serve(service, keep_alive_seconds=0.02) as running,
        openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0, timeout=10) as sdk,
        sdk.responses.stream(**HI) as stream,
    ):
        async for _ in stream:
            go_on.set()
        response = await stream.get_final_response()
    assert response.output_text == "Hello"


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # the SDK's own, for what it parsed
async def test_parse_checks_a_strict_schema(sdk, service, script):
    class Reply(pydantic.BaseModel):
        text: str

    service.answer = script.completion(script.choice(content='{"text": "Hi"}'))
    response = await sdk.responses.parse(**HI, text_format=Reply)
    assert response.output_parsed == Reply(text="Hi")
    assert service.requests[0].response_format.json_schema.name == "Reply"
    await sdk.responses.create(**{**HI, "input": response.output})
    assert service.requests[-1].messages[0].content_parts[0].text == '{"text": "Hi"}'


async def test_a_tool_loop_over_kept_responses(sdk, service, script):
    call = tool_call("call_a", "weather", '{"city":"Rome"}')
    service.answer = script.completion(
        script.choice(finish_reason=chat_pb2.FINISH_REASON_TOOL_CALLS, tool_calls=[call])
    )
    response = await sdk.responses.create(**HI, tools=[WEATHER])
    service.answer = script.completion()
    output: Any = {"type": "function_call_output", "call_id": response.output[0].call_id, "output": "sunny"}
    again = await sdk.responses.create(
        model="smollm2", input=[output], previous_response_id=response.id, tools=[WEATHER]
    )
    assert again.output_text == "Hello"
    assert [message.role for message in service.requests[-1].messages] == [
        chat_pb2.ROLE_USER,
        chat_pb2.ROLE_ASSISTANT,
        chat_pb2.ROLE_TOOL,
    ]


@pytest.mark.parametrize(
    ("failure", "expected", "param", "code"),
    [
        (invalid_field("max_tokens", "is odd"), openai.BadRequestError, "max_output_tokens", None),
        (model_not_found("gpt-5"), openai.NotFoundError, None, "model_not_found"),
        (ServiceError(Condition.BUSY, "QUEUE_FULL", "full"), openai.RateLimitError, None, None),
        (engine_fault("it broke"), openai.InternalServerError, None, "inference_error"),
    ],
    ids=lambda value: value.condition.name if isinstance(value, ServiceError) else "",
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_the_sdk_s_own(sdk, service, failure, expected, param, code, stream):
    service.answer = failure
    service.steps = [failure]
    with pytest.raises(expected) as caught:
        await sdk.responses.create(**HI, stream=stream)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.request_id == service.calls[0].request_id


async def test_an_error_in_a_stream(sdk, service, script):
    service.steps = [*script.stream("Hel")[:-1], engine_fault("it broke")]
    events = [event async for event in await sdk.responses.create(**HI, stream=True)]
    assert [event.type for event in events[-2:]] == ["error", "response.failed"]
    assert events[-2].message == "it broke"
    assert events[-1].response.error.code == "server_error"


async def test_what_it_goes_on_from_may_be_gone(sdk):
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.responses.create(**HI, previous_response_id="resp_gone")
    assert caught.value.code == "previous_response_not_found"
