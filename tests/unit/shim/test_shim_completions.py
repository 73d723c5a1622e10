"""Completions over HTTP: what goes out on the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from llamawire.v1 import chat_pb2, completion_pb2
from llamawire_server.errors import FieldViolation as Bad
from llamawire_server.errors import ServiceError, invalid, invalid_field, unsupported
from llamawire_server.service.interface import Call
from llamawire_server.shim.completions import response_schema

PATH = "/v1/completions"
BODY: dict[str, Any] = {"model": "smollm2", "prompt": "Once"}
Prompt = completion_pb2.CompletionPrompt
Choice = completion_pb2.CompletionChoice
STOP = chat_pb2.FINISH_REASON_STOP


class Completions:
    """In the place of a service: gives what a test put in."""

    def __init__(self) -> None:
        self.answer: completion_pb2.Completion | ServiceError = completion_pb2.Completion()
        self.chunks: list[completion_pb2.CompletionChunk | ServiceError | asyncio.Event] = []
        self.requests: list[completion_pb2.CompletionRequest] = []
        self.has_ended = asyncio.Event()

    async def create_completion(
        self, request: completion_pb2.CompletionRequest, call: Call
    ) -> completion_pb2.Completion:
        self.requests.append(request)
        if isinstance(self.answer, ServiceError):
            raise self.answer
        return self.answer

    async def stream_completion(
        self, request: completion_pb2.CompletionRequest, call: Call
    ) -> AsyncGenerator[completion_pb2.CompletionChunk, None]:
        self.requests.append(request)
        try:
            for chunk in self.chunks:
                if isinstance(chunk, ServiceError):
                    raise chunk
                if isinstance(chunk, asyncio.Event):
                    await chunk.wait()
                else:
                    await asyncio.sleep(0)
                    yield chunk
        finally:
            self.has_ended.set()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(serve: Any) -> AsyncIterator[Any]:
    """A server of this module's own service."""
    async with serve(Completions(), keep_alive_seconds=0.2) as server:
        yield server


@pytest.fixture
def service(running: Any) -> Completions:
    running.service.__init__()
    return running.service


def tokens(*numbers: int) -> completion_pb2.CompletionPrompt:
    return Prompt(tokens=Prompt.Tokens(tokens=numbers))


def answer(*choices: completion_pb2.CompletionChoice, script: Any) -> completion_pb2.Completion:
    return completion_pb2.Completion(
        id="cmpl-1",
        created=1_700_000_000,
        model="smollm2",
        system_fingerprint="fp_1",
        choices=choices,
        usage=script.usage,
        timings=script.timings(),
    )


def chunk(*choices: completion_pb2.CompletionChoice, **fields: Any) -> completion_pb2.CompletionChunk:
    return completion_pb2.CompletionChunk(
        id="cmpl-1",
        created=1_700_000_000,
        model="smollm2",
        system_fingerprint="fp_1",
        choices=choices,
        **fields,
    )


def events(text: str) -> list[Any]:
    """The data of every event, parsed but for the last line of a whole stream."""
    assert text.endswith("\n\n")
    lines = text[:-2].split("\n\n")
    assert all(line.startswith("data: ") for line in lines)
    return [data if data == "[DONE]" else json.loads(data) for data in (line[6:] for line in lines)]


@pytest.mark.asyncio(loop_scope="module")
class TestOverHTTP:
    async def test_a_whole_answer(self, http: httpx.AsyncClient, service: Completions, script: Any) -> None:
        service.answer = answer(
            Choice(index=0, text="é", finish_reason=STOP),
            Choice(index=1, text="b", finish_reason=chat_pb2.FINISH_REASON_LENGTH),
            script=script,
        )
        response = await http.post(PATH, json=BODY)
        assert response.status_code == 200
        body = response.json()
        response_schema.Completion.model_validate(body)
        assert {name: body[name] for name in ("id", "object", "created", "model", "system_fingerprint")} == {
            "id": "cmpl-1",
            "object": "text_completion",
            "created": 1_700_000_000,
            "model": "smollm2",
            "system_fingerprint": "fp_1",
        }
        assert body["choices"] == [
            {"text": "é", "index": 0, "logprobs": None, "finish_reason": "stop"},
            {"text": "b", "index": 1, "logprobs": None, "finish_reason": "length"},
        ]
        assert body["usage"]["total_tokens"] == 9

    async def test_log_probabilities(
        self, http: httpx.AsyncClient, service: Completions, script: Any
    ) -> None:
        token, top = completion_pb2.CompletionTokenLogprob, chat_pb2.TopLogprob
        logprobs = completion_pb2.CompletionLogprobs(
            tokens=[
                token(token="a", bytes=b"a"),
                token(
                    token="b",
                    bytes=b"b",
                    logprob=-2.0,
                    text_offset=1,
                    top_logprobs=[top(token="c", bytes=b"c", logprob=-0.5), top(bytes=b"\xe2", logprob=-1.0)],
                ),
                token(
                    bytes=b"\xf0\x9f",
                    logprob=-0.25,
                    text_offset=2,
                    top_logprobs=[top(bytes=b"\xf0\x9f", logprob=-0.25)],
                ),
            ]
        )
        service.answer = answer(Choice(text="ab", logprobs=logprobs, finish_reason=STOP), script=script)
        body = (await http.post(PATH, json={**BODY, "logprobs": 1})).json()
        response_schema.Completion.model_validate(body)
        assert body["choices"][0]["logprobs"] == {
            "tokens": ["a", "b", "bytes:\\xf0\\x9f"],
            "token_logprobs": [None, -2.0, -0.25],
            "top_logprobs": [
                None,
                {"c": -0.5, "bytes:\\xe2": -1.0, "b": -2.0},
                {"bytes:\\xf0\\x9f": -0.25},
            ],
            "text_offset": [0, 1, 2],
        }
        body = (await http.post(PATH, json={**BODY, "logprobs": 0})).json()
        assert body["choices"][0]["logprobs"]["top_logprobs"] is None
        assert body["choices"][0]["logprobs"]["token_logprobs"] == [None, -2.0, -0.25]

    @pytest.mark.parametrize("include_usage", [False, True])
    async def test_a_stream(
        self, http: httpx.AsyncClient, service: Completions, script: Any, include_usage: bool
    ) -> None:
        service.chunks = [
            chunk(Choice(index=1, text="a\u2028")),
            chunk(Choice(index=0, text="b"), Choice(index=1, finish_reason=STOP)),
            chunk(Choice(index=0, finish_reason=STOP), usage=script.usage, timings=script.timings()),
        ]
        asked = {**BODY, "stream": True, "stream_options": {"include_usage": include_usage}}
        response = await http.post(PATH, json=asked)
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "\u2028" not in response.text
        *told, done = events(response.text)
        assert done == "[DONE]"
        for one in told:
            response_schema.CompletionChunk.model_validate(one)
        assert len({(one["id"], one["created"], one["model"]) for one in told}) == 1
        last = told.pop() if include_usage else None
        assert [one["choices"] for one in told] == [
            [{"text": "a\u2028", "index": 1, "logprobs": None, "finish_reason": None}],
            [{"text": "b", "index": 0, "logprobs": None, "finish_reason": None}],
            [{"text": "", "index": 1, "logprobs": None, "finish_reason": "stop"}],
            [{"text": "", "index": 0, "logprobs": None, "finish_reason": "stop"}],
        ]
        assert all(("usage" in one) == include_usage for one in told)
        if last is not None:
            assert (last["choices"], last["usage"]["total_tokens"]) == ([], 9)
            assert last["timings"]["generation_seconds"] == 1.5

    async def test_a_waiting_stream_is_kept_alive(
        self, http: httpx.AsyncClient, service: Completions, script: Any
    ) -> None:
        wait = asyncio.Event()
        asyncio.get_running_loop().call_later(0.5, wait.set)
        service.chunks = [wait, chunk(Choice(text="a")), chunk(usage=script.usage)]
        first, *_, last, done = events((await http.post(PATH, json={**BODY, "stream": True})).text)
        assert (first["choices"], last["choices"][0]["text"], done) == ([], "a", "[DONE]")
        assert first["id"] == last["id"]
        assert first["id"].startswith("cmpl-")

    async def test_errors_name_the_caller_s_field(
        self, http: httpx.AsyncClient, service: Completions
    ) -> None:
        service.answer = invalid([Bad("prompt[0]", "is bad"), Bad("n", "too")])
        response = await http.post(PATH, json=BODY)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "prompt"
        assert response.json()["error"]["message"] == "prompt: is bad; n: too"
        service.answer = unsupported([Bad("suffix", "no")])
        assert (await http.post(PATH, json=BODY)).json()["error"]["param"] == "suffix"

    async def test_an_error_in_a_stream(self, http: httpx.AsyncClient, service: Completions) -> None:
        service.chunks = [chunk(Choice(text="a")), invalid_field("prompt[0]", "no")]
        first, last = events((await http.post(PATH, json={**BODY, "stream": True})).text)
        assert first["choices"][0]["text"] == "a"
        assert list(last) == ["error"]
        assert last["error"]["param"] == "prompt"

    async def test_too_many_prompts_are_not_looked_at(
        self, http: httpx.AsyncClient, service: Completions
    ) -> None:
        response = await http.post(PATH, json={**BODY, "prompt": [{}] * 129})
        assert "has 129 entries" in response.json()["error"]["message"]
        service.answer = completion_pb2.Completion()
        assert (await http.post(PATH, json={**BODY, "prompt": [1] * 1000})).status_code == 200
        assert service.requests

    async def test_hanging_up_ends_the_work(self, running: Any, service: Completions) -> None:
        service.chunks = [chunk(Choice(text="a")), asyncio.Event()]
        async with (
            httpx.AsyncClient(base_url=running.url, timeout=10, trust_env=False) as client,
            client.stream("POST", PATH, json={**BODY, "stream": True}) as response,
        ):
            await anext(response.aiter_bytes())
        await asyncio.wait_for(service.has_ended.wait(), 10)

    async def test_openai_s_sdk(self, running: Any, service: Completions, script: Any) -> None:
        service.answer = answer(Choice(text="a", finish_reason=STOP), script=script)
        service.chunks = [chunk(Choice(text="a")), chunk(Choice(finish_reason=STOP), usage=script.usage)]
        async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as sdk:
            whole = await sdk.completions.create(model="smollm2", prompt=[[1, 2]])
            assert (whole.object, whole.choices[0].text, whole.choices[0].finish_reason) == (
                "text_completion",
                "a",
                "stop",
            )
            streamed = [one async for one in await sdk.completions.create(**BODY, stream=True)]
            assert [one.choices[0].text for one in streamed] == ["a", ""]
            assert service.requests[0].prompt[0] == tokens(1, 2)
