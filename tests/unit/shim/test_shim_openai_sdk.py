"""OpenAI's own Python SDK against the shim."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from llamawire.v1 import chat_pb2, model_pb2
from llamawire_server.errors import Condition, ServiceError, engine_fault, invalid_field, model_not_found

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES: list[Any] = [{"role": "user", "content": "Hi"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


@pytest_asyncio.fixture(loop_scope="module")
async def sdk(running, service) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def tool_call_delta(index: int, *, id: str = "", name: str = "", arguments: str = "") -> chat_pb2.ChunkChoice:
    call = chat_pb2.ToolCallDelta(
        index=index,
        id=id,
        type="function" if id else "",
        function=chat_pb2.FunctionCallDelta(name=name, arguments=arguments),
    )
    return chat_pb2.ChunkChoice(index=0, delta=chat_pb2.Delta(tool_calls=[call]))


async def test_a_whole_answer(sdk, service, script):
    service.answer = script.completion()
    answer = await sdk.chat.completions.create(model="smollm2", messages=MESSAGES, temperature=0)
    assert answer.choices[0].message.content == "Hello"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 3
    assert answer._request_id == service.calls[0].request_id
    assert service.requests[0].HasField("temperature")


async def test_a_stream(sdk, service, script):
    service.steps = script.stream("Hel", "lo")
    stream = await sdk.chat.completions.create(
        model="smollm2", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "Hello"
    assert [chunk.choices[0].delta.role for chunk in chunks[:-1]] == ["assistant", None, None, None]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 9


async def test_the_synchronous_client(running, service, script):
    service.answer = script.completion()
    service.steps = script.stream("Hel", "lo")

    def call() -> tuple[str | None, str]:
        with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client:
            whole = client.chat.completions.create(model="smollm2", messages=MESSAGES)
            stream = client.chat.completions.create(model="smollm2", messages=MESSAGES, stream=True)
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            return whole.choices[0].message.content, streamed

    assert await asyncio.to_thread(call) == ("Hello", "Hello")


async def test_the_stream_helper(sdk, service, script):
    """It puts the whole answer together, and is the pickiest of all about the order of things."""
    service.steps = [
        script.chunk(script.role(0), script.role(1)),
        script.chunk(script.text("B", 1), script.text("A", 0)),
        script.chunk(script.finish(index=1)),
        script.chunk(script.text("a", 0), script.finish(), usage=script.usage, timings=script.timings()),
    ]
    async with sdk.chat.completions.stream(
        model="smollm2", messages=MESSAGES, n=2, stream_options={"include_usage": True}
    ) as stream:
        kinds = [event.type async for event in stream]
        answer = await stream.get_final_completion()
    assert [choice.message.content for choice in answer.choices] == ["Aa", "B"]
    assert [choice.message.role for choice in answer.choices] == ["assistant"] * 2
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "stop"]
    assert answer.usage.total_tokens == 9
    assert kinds.count("content.done") == 2


async def test_the_stream_helper_while_it_waits_for_the_first_chunk(serve, service, script):
    go_on = asyncio.Event()
    service.steps = [go_on, *script.stream("Hel", "lo")]
    async with (
        serve(service, keep_alive_seconds=0.02) as running,
        openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0, timeout=10) as sdk,
        sdk.chat.completions.stream(model="smollm2", messages=MESSAGES) as stream,
    ):
        async for _ in stream:
            go_on.set()
        answer = await stream.get_final_completion()
    assert answer.choices[0].message.content == "Hello"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.system_fingerprint == "fp_1"


async def test_choices_open_in_order_whoever_speaks_first(sdk, service, script):
    service.steps = [
        script.chunk(script.role(1), script.text("B", 1)),
        script.chunk(script.role(0)),
        script.chunk(script.text("A", 0)),
        script.chunk(script.finish(index=0), script.finish(index=1), usage=script.usage),
    ]
    async with sdk.chat.completions.stream(model="smollm2", messages=MESSAGES, n=2) as stream:
        answer = await stream.get_final_completion()
    assert [choice.message.content for choice in answer.choices] == ["A", "B"]


async def test_tool_calls_in_a_stream(sdk, service, script):
    """And what the helper put together can be sent back as history."""
    service.steps = [
        script.chunk(script.role()),
        script.chunk(tool_call_delta(0, id="call_a", name="weather")),
        script.chunk(tool_call_delta(0, arguments='{"city"')),
        script.chunk(tool_call_delta(0, arguments=':"Rome"}')),
        script.chunk(tool_call_delta(1, id="call_b", name="weather", arguments='{"city":"Oslo"}')),
        script.chunk(script.finish(chat_pb2.FINISH_REASON_TOOL_CALLS), usage=script.usage),
    ]
    async with sdk.chat.completions.stream(model="smollm2", messages=MESSAGES, tools=[WEATHER]) as stream:
        answer = await stream.get_final_completion()
    message = answer.choices[0].message
    assert [(call.id, call.type, call.function.name) for call in message.tool_calls] == [
        ("call_a", "function", "weather"),
        ("call_b", "function", "weather"),
    ]
    assert [json.loads(call.function.arguments)["city"] for call in message.tool_calls] == ["Rome", "Oslo"]
    assert answer.choices[0].finish_reason == "tool_calls"

    service.answer = script.completion()
    await sdk.chat.completions.create(
        model="smollm2",
        messages=[
            *MESSAGES,
            message,
            {"role": "tool", "tool_call_id": "call_a", "content": "sunny"},
            {"role": "tool", "tool_call_id": "call_b", "content": "snow"},
        ],
    )
    history = service.requests[-1].messages
    assert [call.id for call in history[1].tool_calls] == ["call_a", "call_b"]
    assert history[2].tool_call_id == "call_a"


async def test_a_message_can_be_sent_back(sdk, service, script):
    call = chat_pb2.ToolCall(
        id="call_a", type="function", function=chat_pb2.FunctionCall(name="weather", arguments="{}")
    )
    spoken = {"tool_calls": [call], "reasoning_content": "Let me look."}
    service.answer = script.completion(
        script.choice(finish_reason=chat_pb2.FINISH_REASON_TOOL_CALLS, **spoken)
    )
    answer = await sdk.chat.completions.create(model="smollm2", messages=MESSAGES, tools=[WEATHER])
    message = answer.choices[0].message
    assert message.content is None
    assert message.reasoning_content == "Let me look."
    for form in (message, message.model_dump(), message.to_dict()):
        await sdk.chat.completions.create(model="smollm2", messages=[*MESSAGES, form])
        sent_back = service.requests[-1].messages[1]
        assert list(sent_back.tool_calls) == [call]
        assert sent_back.reasoning_content == "Let me look."


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # the SDK's own, for what it parsed
async def test_parse_checks_a_strict_schema(sdk, service, script):
    pydantic = pytest.importorskip("pydantic")
    reply = pydantic.create_model("Reply", text=(str, ...))
    service.answer = script.completion(script.choice(content='{"text": "Hi"}'))
    answer = await sdk.chat.completions.parse(model="smollm2", messages=MESSAGES, response_format=reply)
    message = answer.choices[0].message
    assert message.parsed == reply(text="Hi")
    sent = service.requests[0].response_format.json_schema
    assert sent.name == "Reply"
    assert sent.strict
    assert json.loads(sent.schema)["required"] == ["text"]
    await sdk.chat.completions.create(model="smollm2", messages=[*MESSAGES, message])
    assert service.requests[-1].messages[1].content == '{"text": "Hi"}'


async def test_logprobs(sdk, service, script):
    top = chat_pb2.TopLogprob(token="Hi", logprob=-0.5, bytes=b"Hi")
    token = chat_pb2.TokenLogprob(token="\ufffd", logprob=-9999.0, bytes=b"\xf0\x9f", top_logprobs=[top])
    choice = chat_pb2.ChunkChoice(index=0, logprobs=chat_pb2.Logprobs(content=[token]))
    service.steps = [
        script.chunk(script.role()),
        script.chunk(choice),
        script.chunk(script.finish(), usage=script.usage),
    ]
    async with sdk.chat.completions.stream(model="smollm2", messages=MESSAGES, logprobs=True) as stream:
        answer = await stream.get_final_completion()
    (found,) = answer.choices[0].logprobs.content
    assert (found.logprob, found.bytes) == (-9999.0, [0xF0, 0x9F])
    assert (found.top_logprobs[0].token, found.top_logprobs[0].bytes) == ("Hi", [72, 105])


@pytest.mark.parametrize(
    ("failure", "expected", "param", "code"),
    [
        (invalid_field("messages[0].role", "is odd"), openai.BadRequestError, "messages[0].role", None),
        (model_not_found("gpt-5"), openai.NotFoundError, None, "model_not_found"),
        (ServiceError(Condition.UNAUTHENTICATED, "NO_KEY", "no key"), openai.AuthenticationError, None, None),
        (ServiceError(Condition.FORBIDDEN, "NO", "no"), openai.PermissionDeniedError, None, None),
        (ServiceError(Condition.BUSY, "QUEUE_FULL", "full"), openai.RateLimitError, None, None),
        (engine_fault("it broke"), openai.InternalServerError, None, "inference_error"),
        (
            ServiceError(Condition.NOT_READY, "MODEL_LOADING", "loading"),
            openai.InternalServerError,
            None,
            "model_loading",
        ),
    ],
    ids=lambda value: value.condition.name if isinstance(value, ServiceError) else "",
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_the_sdk_s_own(sdk, service, failure, expected, param, code, stream):
    service.answer = failure
    service.steps = [failure]
    with pytest.raises(expected) as caught:
        await sdk.chat.completions.create(model="smollm2", messages=MESSAGES, stream=stream)
    assert caught.value.param == param
    assert caught.value.code == code
    assert caught.value.body["message"] == failure.message
    assert caught.value.request_id == service.calls[0].request_id


async def test_an_error_in_a_stream(sdk, service, script):
    service.steps = [*script.stream("Hel")[:-1], engine_fault("it broke")]
    stream = await sdk.chat.completions.create(model="smollm2", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError, match="it broke") as caught:
        async for _ in stream:
            pass
    assert caught.value.code == "inference_error"


async def test_what_would_fail_again_is_not_repeated(sdk, service):
    service.answer = engine_fault("it broke")
    with pytest.raises(openai.InternalServerError):
        await sdk.with_options(max_retries=2).chat.completions.create(model="smollm2", messages=MESSAGES)
    assert len(service.calls) == 1


async def test_what_may_succeed_later_is_repeated(sdk, service):
    service.answer = ServiceError(Condition.BUSY, "QUEUE_FULL", "full", retry_seconds=0.001)
    with pytest.raises(openai.RateLimitError):
        await sdk.with_options(max_retries=2).chat.completions.create(model="smollm2", messages=MESSAGES)
    assert len(service.calls) == 3


async def test_raw_headers(sdk, service, script):
    service.answer = script.completion()
    raw = await sdk.chat.completions.with_raw_response.create(
        model="smollm2", messages=MESSAGES, extra_headers={"x-request-id": "mine"}
    )
    assert raw.headers["x-request-id"] == "mine"
    assert raw.parse().choices[0].message.content == "Hello"


async def test_closing_a_stream_ends_the_work(sdk, service, script):
    service.steps = [*script.stream("Hello")[:-1], asyncio.Event()]
    stream = await sdk.chat.completions.create(model="smollm2", messages=MESSAGES, stream=True)
    await anext(aiter(stream))
    await stream.close()
    await asyncio.wait_for(service.cancelled.wait(), 10)


async def test_the_older_function_calling(sdk, service, script):
    service.steps = [
        script.chunk(script.role()),
        script.chunk(tool_call_delta(0, id="call_a", name="weather")),
        script.chunk(tool_call_delta(0, arguments="{}")),
        script.chunk(script.finish(chat_pb2.FINISH_REASON_TOOL_CALLS), usage=script.usage),
    ]
    asked: Any = {"functions": [WEATHER["function"]], "function_call": {"name": "weather"}}
    async with sdk.chat.completions.stream(model="smollm2", messages=MESSAGES, extra_body=asked) as stream:
        answer = await stream.get_final_completion()
    message = answer.choices[0].message
    assert message.tool_calls is None
    assert (message.function_call.name, message.function_call.arguments) == ("weather", "{}")
    assert answer.choices[0].finish_reason == "function_call"
    request = service.requests[0]
    assert request.tools[0].function.name == "weather"
    assert request.tool_choice.function_name == "weather"
    assert request.HasField("parallel_tool_calls")
    assert not request.parallel_tool_calls


async def test_models(sdk, service):
    tiny, big = model_pb2.Model(name="tiny"), model_pb2.Model(name="org/big:q4")
    tiny.created.FromSeconds(1_700_000_000)
    service.models = [tiny, big]
    listed = [model async for model in sdk.models.list()]
    assert [(model.id, model.created, model.owned_by) for model in listed] == [
        ("tiny", 1_700_000_000, "llamawire"),
        ("org/big:q4", 0, "llamawire"),
    ]
    assert (await sdk.models.retrieve("org/big:q4")).id == "org/big:q4"
    with pytest.raises(openai.NotFoundError) as caught:
        await sdk.models.retrieve("gpt-5")
    assert caught.value.code == "model_not_found"
