"""Usage in every chunk over HTTP: in OpenAI's streams where it is asked for, and as Anthropic's begin."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from named_events import events_of

from llamawire.v1 import chat_pb2, completion_pb2, usage_pb2
from llamawire_server.service.interface import Call
from llamawire_server.shim.chat import response_schema as chat_schema
from llamawire_server.shim.completions import response_schema as completion_schema

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPTIONS = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
CHAT = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}]}
COMPLETION = {"model": "smollm2", "prompt": "Once"}


def so_far(num_tokens: int) -> usage_pb2.Usage:
    """What a service says on the way."""
    return usage_pb2.Usage(
        prompt_tokens=7,
        completion_tokens=num_tokens,
        total_tokens=7 + num_tokens,
        prompt_cache_hit_tokens=3,
        prompt_cache_miss_tokens=4,
    )


def chunks(script: Any) -> list[chat_pb2.ChatCompletionChunk]:
    """A stream of one choice that has the usage all along."""
    return [
        script.chunk(script.role(), usage=so_far(0)),
        script.chunk(script.text("Hel"), usage=so_far(1)),
        script.chunk(script.text('lo"'), usage=so_far(2)),
        script.chunk(script.text(""), usage=so_far(3)),
        script.chunk(script.finish(), usage=script.usage, timings=script.timings()),
    ]


def data_of(text: str) -> list[dict[str, Any]]:
    *events, done, nothing = text.split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def generated(sent: list[dict[str, Any]]) -> list[int]:
    return [one["usage"]["completion_tokens"] for one in sent]


async def test_each_chunk_of_a_chat_has_it(http: httpx.AsyncClient, service: Any, script: Any) -> None:
    service.steps = chunks(script)
    *sent, last = data_of((await http.post("/v1/chat/completions", json=CHAT | OPTIONS)).text)
    for one in (*sent, last):
        chat_schema.ChatCompletionChunk.model_validate(one)
    assert [one["choices"][0]["delta"].get("content") for one in sent] == ["", "Hel", 'lo"', None]
    assert generated(sent) == [0, 1, 2, 2]
    assert {one["usage"]["prompt_tokens"] for one in sent} == {7}
    assert (last["choices"], last["usage"]) == ([], sent[-1]["usage"]), "the last one is there all the same"
    assert ["timings" in one for one in (*sent, last)] == [False] * 4 + [True]
    assert service.requests[0].continuous_usage


async def test_it_is_asked_for_where_the_caller_asks(
    http: httpx.AsyncClient, service: Any, script: Any
) -> None:
    service.steps = script.stream("Hello")
    for options in (None, {}, {"include_usage": True}, {"continuous_usage_stats": False}):
        await http.post("/v1/chat/completions", json=CHAT | {"stream": True, "stream_options": options})
        assert not service.requests[-1].HasField("continuous_usage")


@pytest.mark.parametrize(
    ("path", "asked"),
    [("/v1/chat/completions", CHAT), ("/v1/completions", COMPLETION)],
    ids=["chat", "completion"],
)
@pytest.mark.parametrize("stream", [{}, {"stream": None}, {"stream": False}])
@pytest.mark.parametrize("options", [{}, {"include_usage": True}, {"continuous_usage_stats": True}])
async def test_what_is_no_stream_has_no_options(
    http: httpx.AsyncClient,
    service: Any,
    path: str,
    asked: dict[str, Any],
    stream: dict[str, Any],
    options: dict[str, Any],
) -> None:
    refused = await http.post(path, json={**asked, **stream, "stream_options": options})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["param"] == "stream_options"
    assert error["message"] == "stream_options: is only allowed where stream is true"
    assert service.requests == []


async def test_null_is_no_options(http: httpx.AsyncClient, service: Any, script: Any) -> None:
    service.answer = script.completion()
    answered = await http.post("/v1/chat/completions", json=CHAT | {"stream_options": None})
    assert answered.status_code == 200


async def test_who_did_not_ask_gets_null_whatever_a_service_sends(
    http: httpx.AsyncClient, service: Any, script: Any
) -> None:
    service.steps = chunks(script)
    body = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
    *sent, last = data_of((await http.post("/v1/chat/completions", json=body)).text)
    assert [one["usage"] for one in sent] == [None] * 4
    assert last["usage"]["completion_tokens"] == 2


async def test_while_nothing_is_known_it_is_null(serve: Any, service: Any, script: Any) -> None:
    first, later = asyncio.Event(), asyncio.Event()
    opening, *others = chunks(script)
    service.steps = [first, opening, later, *others]
    async with (
        serve(service, keep_alive_seconds=0.05) as running,
        httpx.AsyncClient(base_url=running.url, trust_env=False, timeout=10) as http,
    ):
        asyncio.get_running_loop().call_later(0.1, first.set)
        asyncio.get_running_loop().call_later(0.3, later.set)
        sent = data_of((await http.post("/v1/chat/completions", json=CHAT | OPTIONS)).text)
    number = next(number for number, one in enumerate(sent) if one["choices"])
    assert number > 0
    assert all(one["usage"] is None for one in sent[:number])
    waiting = sent[number + 1]
    assert (waiting["choices"], waiting["usage"]["prompt_tokens"]) == ([], 7), "what is known stays known"


class Completions:
    """In the place of a service: goes on from prompts with two tokens."""

    def __init__(self) -> None:
        self.requests: list[completion_pb2.CompletionRequest] = []

    async def stream_completion(
        self, request: completion_pb2.CompletionRequest, call: Call
    ) -> AsyncGenerator[completion_pb2.CompletionChunk, None]:
        self.requests.append(request)
        for number, text in enumerate(("a", "b"), 1):
            choice = completion_pb2.CompletionChoice(text=text, finish_reason=number - 1)  # type: ignore[arg-type]
            yield completion_pb2.CompletionChunk(id="cmpl-1", choices=[choice], usage=so_far(number))


async def test_each_chunk_of_a_completion_has_it(serve: Any) -> None:
    service = Completions()
    async with (
        serve(service) as running,
        httpx.AsyncClient(base_url=running.url, trust_env=False, timeout=10) as http,
    ):
        sent = data_of((await http.post("/v1/completions", json=COMPLETION | OPTIONS)).text)
        alone = {"stream": True, "stream_options": {"continuous_usage_stats": True}}
        refused = await http.post("/v1/completions", json=COMPLETION | alone)
    for one in sent:
        completion_schema.CompletionChunk.model_validate(one)
    assert generated(sent) == [1, 2, 2]
    assert service.requests[0].continuous_usage
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "stream_options.continuous_usage_stats"
    assert "needs include_usage" in refused.json()["error"]["message"]


async def test_a_message_begins_with_what_its_prompt_costs(
    http: httpx.AsyncClient, service: Any, script: Any
) -> None:
    service.steps = chunks(script)
    body = CHAT | {"max_tokens": 9, "stream": True}
    start, *_, delta, _ = events_of((await http.post("/v1/messages", json=body)).text)
    told = start["message"]["usage"]
    assert (told["input_tokens"], told["cache_read_input_tokens"], told["output_tokens"]) == (4, 3, 0)
    assert delta["usage"]["output_tokens"] == 2
    assert {name: told[name] for name in ("input_tokens", "cache_read_input_tokens")} == {
        name: delta["usage"][name] for name in ("input_tokens", "cache_read_input_tokens")
    }
    assert service.requests[-1].continuous_usage
    service.answer = script.completion()
    await http.post("/v1/messages", json={**body, "stream": False})
    assert not service.requests[-1].HasField("continuous_usage")


async def test_a_message_of_a_service_that_does_not_say_begins_with_zeros(
    http: httpx.AsyncClient, service: Any, script: Any
) -> None:
    service.steps = script.stream("Hello")
    start, *_, delta, _ = events_of(
        (await http.post("/v1/messages", json=CHAT | {"max_tokens": 9, "stream": True})).text
    )
    assert start["message"]["usage"]["input_tokens"] == 0
    assert delta["usage"]["input_tokens"] == 4
