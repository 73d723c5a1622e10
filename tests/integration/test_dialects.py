"""llamawire's own HTTP side, read as any provider's, and its gRPC side written as one."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPResponse
from typing import Any

import httpx
import pytest
from callers import chat_body
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from servers import RunningServer, ask

from llamawire import ModelNotFoundError, StreamHandler, ToolCall
from llamawire.dialects import (
    AsyncSSEChatStream,
    SSEChatStream,
    http_error,
    read_chunk,
    read_completion,
    write_chunk,
    write_completion,
)

GRAMMAR = {"type": "grammar", "syntax": "lark", "grammar": 'start: "A 🦊 é"'}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"const": "Oslo"}}, "required": ["city"]},
    },
}


def post(server: RunningServer, content: str, **fields: Any) -> HTTPResponse:
    """One chat request over HTTP, without any SDK."""
    request = urllib.request.Request(
        f"{server.base_url}/chat/completions",
        json.dumps(chat_body(content, **fields)).encode(),
        {"content-type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    response = opener.open(request, timeout=60)
    assert isinstance(response, HTTPResponse)
    return response


def test_a_stream_of_the_http_side(server: RunningServer) -> None:
    fields = {"stream": True, "stream_options": {"include_usage": True}, "logprobs": True}
    with (
        post(server, "Hello!", response_format=GRAMMAR, **fields) as response,
        SSEChatStream(response) as stream,
    ):
        chunks = [chunk.proto for chunk in stream]
    assert stream.completion.text == "A 🦊 é"
    assert stream.completion.finish_reason == "stop"
    assert stream.completion.usage.completion_tokens > 0
    assert stream.completion.timings.generation_seconds > 0
    assert b"".join(token.bytes for token in stream.completion.logprobs.content).decode() == "A 🦊 é"
    # What it has beside llamawire's fields is the usage that is null until the last chunk, and no more.
    *others, last = chunks
    assert all(list(chunk.dialect.nulls) == ["/usage"] for chunk in others)
    assert all(not chunk.dialect.absent and not chunk.dialect.values for chunk in chunks)
    assert not last.HasField("dialect")


def test_a_whole_answer_of_the_http_side(server: RunningServer) -> None:
    with post(server, "Hello!", response_format=GRAMMAR) as response:
        body = response.read()
    completion = read_completion(body)
    assert completion.choices[0].message.content == "A 🦊 é"
    assert not completion.HasField("dialect")
    assert json.loads(write_completion(completion)) == json.loads(body)


def test_a_call_of_the_http_side_is_told_to_a_handler(server: RunningServer) -> None:
    told: list[tuple[str, Any]] = []

    class Recorder(StreamHandler):
        def on_tool_call(self, call: ToolCall, choice_index: int) -> None:
            told.append((call.name, call.parse_arguments()))

    fields = {"stream": True, "tools": [WEATHER], "tool_choice": "required", "max_tokens": 64}
    with post(server, "How is the weather in Oslo?", **fields) as response:
        completion = SSEChatStream(response).run(Recorder())
    assert told == [("weather", {"city": "Oslo"})]
    assert completion.finish_reason == "tool_calls"


async def test_a_stream_that_is_read_by_a_task(server: RunningServer) -> None:
    body = chat_body("Hello!", response_format=GRAMMAR, stream=True)
    async with (
        httpx.AsyncClient(base_url=server.base_url, timeout=60, trust_env=False) as client,
        client.stream("POST", "/chat/completions", json=body) as response,
    ):
        stream = AsyncSSEChatStream(response.aiter_bytes(), release=response.aclose)
        assert (await stream.result()).text == "A 🦊 é"


def test_an_error_of_the_http_side(server: RunningServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(server, "Hello!", model="nobody")
    with caught.value as response:
        error = http_error(response.code, response.read(), dict(response.headers))
    assert isinstance(error, ModelNotFoundError)
    assert error.reason == "MODEL_NOT_FOUND"
    assert error.request_id


def test_the_grpc_side_is_written_in_openai_s_form(server: RunningServer) -> None:
    request = ask("Hello!", logprobs=True, top_logprobs=2, max_tokens=4)
    for chunk in server.chat.StreamChatCompletion(request):
        written = write_chunk(chunk)
        ChatCompletionChunk.model_validate_json(written, strict=True)
        assert read_chunk(written) == chunk
    completion = server.chat.CreateChatCompletion(request)
    written = write_completion(completion)
    ChatCompletion.model_validate_json(written, strict=True)
    assert read_completion(written) == completion
