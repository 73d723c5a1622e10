"""Every field of OpenAI's requests, by the types of its own SDK: the docs say what becomes of it, and so it does."""

from __future__ import annotations

import copy
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio
from chat_field_probes import BASE, PROBES, called, called_before, history, probe_of
from openai.types.chat.completion_create_params import CompletionCreateParams
from openai_fields import PAGE, documented_fields, put, refused_as, typed_fields

from llamawire.v1 import chat_pb2
from llamawire_server.config import SamplingDefaults
from llamawire_server.service.interface import Call
from llamawire_server.service.prompt import build_generate
from llamawire_server.service.validation import check_chat_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"
TYPED = typed_fields(CompletionCreateParams)
DOCUMENTED = documented_fields("Chat completions")


class Shim:
    """A server whose service refuses what the real one would, and notes what it is asked."""

    def __init__(self, http: httpx.AsyncClient, requests: list[chat_pb2.ChatCompletionRequest]) -> None:
        self._http = http
        self._requests = requests

    async def ask(self, fields: dict[str, Any]) -> httpx.Response:
        return await self._http.post(CHAT, json=BASE | fields)

    async def outcome(self, fields: dict[str, Any]) -> object:
        """All that may depend on a request: what a worker is told, and how the answer is sent."""
        response = await self.ask(fields)
        assert response.status_code == 200, response.text
        request = self._requests[-1]
        told = build_generate(request, 0, SamplingDefaults())
        told = msgspec.structs.replace(told, arrived=0.0, arrived_at=0.0)
        return request.model, told, response.headers["content-type"], response.content


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shim(serve, running, script) -> AsyncIterator[Shim]:
    class Service(type(running.service)):  # type: ignore[misc]
        async def create_chat_completion(
            self, request: chat_pb2.ChatCompletionRequest, call: Call
        ) -> chat_pb2.ChatCompletion:
            check_chat_request(request)
            return await super().create_chat_completion(request, call)

        async def stream_chat_completion(
            self, request: chat_pb2.ChatCompletionRequest, call: Call
        ) -> AsyncGenerator[chat_pb2.ChatCompletionChunk, None]:
            check_chat_request(request)
            async for chunk in super().stream_chat_completion(request, call):
                yield chunk

    service = Service(answer=script.completion(), steps=script.stream("Hello"))
    async with (
        serve(service) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=10) as http,
    ):
        yield Shim(http, service.requests)


async def test_each_field_that_the_sdk_knows_is_in_the_docs():
    """A new one fails here, until it is decided what becomes of it."""
    assert "messages[].content[text].prompt_cache_breakpoint.mode" in TYPED, "they are found however deep"
    assert [path for path in TYPED if path not in DOCUMENTED] == []


@pytest.mark.parametrize("path", DOCUMENTED)
async def test_what_becomes_of_a_field_is_what_the_docs_say(shim, path):
    first, second = probe_of(path)
    if DOCUMENTED[path] == "refused":
        response = await shim.ask(first)
        assert response.status_code == 400, response.text
        name = response.json()["error"]["param"]
        assert refused_as(path, DOCUMENTED).fullmatch(re.sub(r"\d+", "", name)), name
        return
    assert first != second
    has_effect = await shim.outcome(first) != await shim.outcome(second)
    assert has_effect == (DOCUMENTED[path] == "honoured")


async def test_each_value_of_an_enumeration_is_taken(shim):
    roles = TYPED["messages[].role"]
    for path, values in TYPED.items():
        if values is roles or DOCUMENTED[path] == "refused":
            continue
        for value in values:
            fields = copy.deepcopy(probe_of(path)[0])
            put(fields, path, value)
            response = await shim.ask(fields)
            assert response.status_code == 200, f"{path}: {value}: {response.text}"


async def test_each_role_is_taken(shim):
    messages = [
        {"role": "system", "content": "Hi"},
        {"role": "developer", "content": "Hi"},
        *history(called("a"), {"role": "tool", "tool_call_id": "a", "content": "1"})["messages"],
        *history(called_before("f"), {"role": "function", "name": "f", "content": "1"})["messages"],
    ]
    assert {message["role"] for message in messages} >= set(TYPED["messages[].role"])
    assert (await shim.ask({"messages": messages})).status_code == 200


async def test_the_probes_are_of_fields_that_there_are():
    assert set(PROBES) <= set(DOCUMENTED)


async def test_the_summary_leads_to_the_page():
    assert f"({PAGE.name})" in (PAGE.parent / "openai.md").read_text()
