"""Chat completions over HTTP: what goes out on the wire."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from llamawire.v1 import chat_pb2
from llamawire_server.errors import Condition, ServiceError, invalid_field
from llamawire_server.shim.chat import response_schema

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"


def events(text: str) -> list[Any]:
    """The data of every event, parsed but for the last line of a whole stream."""
    assert text.endswith("\n\n")
    lines = text[:-2].split("\n\n")
    assert all(line.startswith("data: ") for line in lines)
    return [data if data == "[DONE]" else json.loads(data) for data in (line[6:] for line in lines)]


async def test_a_whole_answer(http: httpx.AsyncClient, service, script, chat_body):
    service.answer = script.completion()
    response = await http.post(CHAT, json=chat_body)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "smollm2",
        "system_fingerprint": "fp_1",
        "service_tier": "default",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 7,
            "completion_tokens": 2,
            "total_tokens": 9,
            "prompt_cache_hit_tokens": 3,
            "prompt_cache_miss_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 1,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 5,
                "rejected_prediction_tokens": 6,
                "accepted_draft_tokens": 8,
                "rejected_draft_tokens": 9,
            },
        },
        "timings": {
            "queue_seconds": 0.002,
            "model_load_seconds": 0.0,
            "prompt_seconds": 0.0,
            "first_token_seconds": 0.25,
            "generation_seconds": 1.5,
        },
    }
    expected = chat_pb2.ChatCompletionRequest(model="smollm2")
    expected.messages.add(role=chat_pb2.ROLE_USER, content="Hi")
    assert service.requests == [expected]


async def test_a_stream(http: httpx.AsyncClient, service, script, chat_body):
    service.steps = script.stream("Hel", "lo")
    response = await http.post(CHAT, json={**chat_body, "stream": True})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    sent = events(response.text)
    assert sent.pop() == "[DONE]"
    assert [chunk.pop("choices") for chunk in sent] == [
        [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]
        for delta, reason in [
            ({"role": "assistant", "content": ""}, None),
            ({"content": "Hel"}, None),
            ({"content": "lo"}, None),
            ({}, "stop"),
        ]
    ]
    envelope = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "smollm2",
        "system_fingerprint": "fp_1",
        "service_tier": "default",
    }
    assert sent == [envelope] * 4


async def test_usage_comes_last_and_only_when_it_is_asked_for(http, service, script, chat_body):
    service.steps = script.stream("Hello")
    body = {**chat_body, "stream": True, "stream_options": {"include_usage": True}}
    sent = events((await http.post(CHAT, json=body)).text)
    assert sent.pop() == "[DONE]"
    last = sent.pop()
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 9
    assert last["timings"]["generation_seconds"] == 1.5
    assert len(sent) == 3
    assert all(chunk["usage"] is None and "timings" not in chunk for chunk in sent)


async def test_an_error_before_the_first_chunk_is_a_plain_answer(http, service, chat_body):
    service.steps = [ServiceError(Condition.BUSY, "QUEUE_FULL", "the queue is full", retry_seconds=1.2)]
    response = await http.post(CHAT, json={**chat_body, "stream": True})
    assert response.status_code == 429
    assert response.headers["content-type"] == "application/json"
    assert response.headers["retry-after"] == "2"
    assert response.headers["retry-after-ms"] == "1200"
    assert response.json() == {
        "error": {
            "message": "the queue is full",
            "type": "rate_limit_error",
            "param": None,
            "code": None,
        }
    }
    assert service.cleaned_up.is_set()


async def test_an_error_after_it_is_the_last_event(http, service, script, chat_body):
    failure = ServiceError(Condition.DEADLINE, "DEADLINE_EXCEEDED", "the deadline passed")
    service.steps = [*script.stream("Hel")[:-1], failure]
    response = await http.post(CHAT, json={**chat_body, "stream": True})
    assert response.status_code == 200
    *chunks, last = response.text.removesuffix("\n\n").split("\n\n")
    assert len(chunks) == 2
    assert last == (
        'data: {"error":{"message":"the deadline passed","type":"timeout","param":null,"code":"timeout"}}'
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unforeseen_exception_tells_nothing_of_itself(http, service, caplog, chat_body, stream):
    service.answer = KeyError("secret")
    service.steps = [KeyError("secret")]
    response = await http.post(CHAT, json={**chat_body, "stream": stream})
    assert response.status_code == 500
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["x-request-id"]
    assert response.json()["error"]["code"] == "inference_error"
    assert "secret" not in response.text
    assert "secret" in caplog.text


async def test_an_unforeseen_exception_in_a_stream(http, service, script, caplog, chat_body):
    service.steps = [*script.stream("Hel")[:-1], KeyError("secret")]
    response = await http.post(CHAT, json={**chat_body, "stream": True})
    assert events(response.text)[-1]["error"]["code"] == "inference_error"
    assert "secret" not in response.text
    assert "secret" in caplog.text


async def test_a_stream_that_ends_before_it_begins(http, service, chat_body):
    response = await http.post(CHAT, json={**chat_body, "stream": True})
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "inference_error"


async def test_a_waiting_stream_is_kept_alive_with_chunks(serve, service, script, chat_body):
    go_on = asyncio.Event()
    opening, *rest = script.stream("Hello")
    service.steps = [opening, go_on, *rest]
    body = {**chat_body, "stream": True, "stream_options": {"include_usage": True}}
    lines: list[str] = []
    async with (
        serve(service, keep_alive_seconds=0.02) as running,
        httpx.AsyncClient(trust_env=False) as http,
        http.stream("POST", running.url + CHAT, json=body) as response,
    ):
        async for line in response.aiter_lines():
            lines.append(line)
            if line.startswith("data: {") and json.loads(line[6:])["choices"] == []:
                go_on.set()
    sent = events("\n".join(lines) + "\n")
    assert sent.pop() == "[DONE]"
    assert sent.pop()["usage"]["total_tokens"] == 9
    assert sent[1]["choices"] == []
    assert all(chunk["id"] == "chatcmpl-1" and chunk["usage"] is None for chunk in sent)


async def test_nothing_is_sent_while_an_error_may_come_soon(http, service, chat_body):
    """It can still be a plain HTTP error then, which tells clients by its status when to try again."""
    go_on = asyncio.Event()
    service.steps = [go_on, ServiceError(Condition.NOT_READY, "MODEL_LOADING", "the model is loading")]
    waiting = asyncio.create_task(http.post(CHAT, json={**chat_body, "stream": True}))
    await service.began.wait()
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    response = await waiting
    assert response.status_code == 503
    assert response.headers["retry-after"] == "10"


async def stream_kept_alive(serve, service, body: dict[str, Any], go_on: asyncio.Event) -> str:
    """What a stream sends for `body` that goes on once it was kept alive."""
    text = ""
    async with (
        serve(service, keep_alive_seconds=0.02) as running,
        httpx.AsyncClient(trust_env=False) as http,
        http.stream("POST", running.url + CHAT, json={**body, "stream": True}) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        async for piece in response.aiter_text():
            text += piece
            go_on.set()
    return text


async def test_a_stream_that_waits_for_its_first_chunk_is_kept_alive(serve, service, script, chat_body):
    """In line, or for its model or its prompt. What it is called then, it is called to its end."""
    go_on = asyncio.Event()
    service.steps = [go_on, *script.stream("Hello")]
    options = {"stream_options": {"include_usage": True}}
    sent = events(await stream_kept_alive(serve, service, {**chat_body, **options}, go_on))
    assert sent.pop() == "[DONE]"
    assert sent[0]["choices"] == []
    assert sent[0]["usage"] is None
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in sent}) == 1
    assert sent[0]["id"].startswith("chatcmpl-")
    assert sent[0]["model"] == "smollm2"
    assert sent[-1]["usage"]["total_tokens"] == 9
    for chunk in sent:
        response_schema.ChatCompletionChunk.model_validate(chunk)
    deltas = [choice["delta"] for chunk in sent for choice in chunk["choices"]]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "Hello"}, {}]


async def test_an_error_after_it_was_kept_alive_is_the_last_event(serve, service, chat_body):
    go_on = asyncio.Event()
    service.steps = [go_on, invalid_field("max_tokens", "is too large")]
    text = await stream_kept_alive(serve, service, {**chat_body, "max_completion_tokens": 9}, go_on)
    *waiting, last = text.removesuffix("\n\n").split("\n\n")
    assert waiting
    assert all(json.loads(event.removeprefix("data: "))["choices"] == [] for event in waiting)
    assert last == (
        'data: {"error":{"message":"max_completion_tokens: is too large","type":"invalid_request_error",'
        '"param":"max_completion_tokens","code":null}}'
    )


async def test_an_unforeseen_exception_after_it_was_kept_alive(serve, service, caplog, chat_body):
    go_on = asyncio.Event()
    service.steps = [go_on, KeyError("secret")]
    text = await stream_kept_alive(serve, service, chat_body, go_on)
    assert events(text)[-1]["error"]["code"] == "inference_error"
    assert "secret" not in text
    assert "secret" in caplog.text


async def test_a_stream_that_ends_before_it_begins_after_it_was_kept_alive(serve, service, chat_body):
    go_on = asyncio.Event()
    service.steps = [go_on]
    last = events(await stream_kept_alive(serve, service, chat_body, go_on))[-1]
    assert last["error"]["message"] == "the answer ended before it began"


async def test_a_trace_and_a_deadline_are_passed_on(http, service, script, chat_body):
    service.answer = script.completion()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = [
        ("traceparent", trace),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
        ("x-request-id", "mine-1"),
        ("x-request-timeout-seconds", "2.5"),
        ("authorization", "Bearer k"),
    ]
    response = await http.post(CHAT, json=chat_body, headers=headers)
    assert response.headers["x-request-id"] == "mine-1"
    (call,) = service.calls
    assert call.request_id == "mine-1"
    assert call.timeout_seconds == 2.5
    assert call.metadata == {"traceparent": trace, "tracestate": "a=1,b=2"}


@pytest.mark.parametrize("given", ["a", "Req:1/2.3_4=5+6-7", "~me@host", "x" * 128])
async def test_a_request_id_comes_back(http, service, script, chat_body, given):
    service.answer = script.completion()
    response = await http.post(CHAT, json=chat_body, headers={"x-request-id": given})
    assert response.headers["x-request-id"] == service.calls[0].request_id == given


async def test_a_trace_that_is_too_long_to_be_passed_on_is_left_out(http, service, script, chat_body):
    service.answer = script.completion()
    headers = [("tracestate", "x" * 300), ("tracestate", "y" * 300), ("traceparent", "z" * 512)]
    await http.post(CHAT, json=chat_body, headers=headers)
    assert service.calls[0].metadata == {"traceparent": "z" * 512}


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "é".encode().decode("latin-1"), "a\tb"])
async def test_an_unfit_request_id_is_replaced(http, service, script, chat_body, given):
    service.answer = script.completion()
    response = await http.post(CHAT, json=chat_body, headers={"x-request-id": given.encode("latin-1")})
    (call,) = service.calls
    assert response.headers["x-request-id"] == call.request_id
    assert call.request_id.startswith("req_")


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "soon", ""])
async def test_a_timeout_must_be_a_positive_number(http, service, chat_body, given):
    response = await http.post(CHAT, json=chat_body, headers={"x-request-timeout-seconds": given})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "x-request-timeout-seconds"
    assert service.requests == []
