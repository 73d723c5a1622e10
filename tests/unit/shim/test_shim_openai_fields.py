"""Every field of OpenAI's requests, by the types of its own SDK: the docs say what becomes of it, and so it does."""

from __future__ import annotations

import copy
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio
from openai.types import completion_create_params as completion_types
from openai.types import embedding_create_params as embedding_types
from openai.types.chat import completion_create_params as chat_types
from openai_field_probes import (
    BASE,
    COMPLETION_BASE,
    COMPLETION_PROBES,
    EMBEDDING_BASE,
    EMBEDDING_PROBES,
    PROBES,
    Fields,
    Probe,
    called,
    called_before,
    history,
    probe_of,
)
from openai_fields import PAGE, documented_fields, put, refused_as, typed_fields

from llamawire.v1 import chat_pb2, completion_pb2, embedding_pb2
from llamawire_server.config import SamplingDefaults
from llamawire_server.service.completions.prompt import build_generates
from llamawire_server.service.completions.validation import check_completion_request
from llamawire_server.service.embedding import build_embed, check_embeddings
from llamawire_server.service.interface import Call
from llamawire_server.service.prompt import build_generate
from llamawire_server.service.validation import check_chat_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEFAULTS = SamplingDefaults()


@dataclass(frozen=True)
class Api:
    """One of OpenAI's requests."""

    section: str
    """Of the page."""

    path: str
    type: Any
    base: Fields
    probe_of: Callable[[str], Probe]
    told: Callable[[Any], list[Any]]
    """What workers are told of a request."""

    @property
    def typed(self) -> dict[str, list[Any]]:
        return typed_fields(self.type)

    @property
    def documented(self) -> dict[str, str]:
        return documented_fields(self.section)


CHAT = Api(
    "Chat completions",
    "/v1/chat/completions",
    chat_types.CompletionCreateParams,
    BASE,
    probe_of,
    lambda request: [build_generate(request, 0, DEFAULTS)],
)
COMPLETIONS = Api(
    "Completions",
    "/v1/completions",
    completion_types.CompletionCreateParams,
    COMPLETION_BASE,
    COMPLETION_PROBES.__getitem__,
    lambda request: build_generates(request, lambda: 0, DEFAULTS),
)
EMBEDDINGS = Api(
    "Embeddings",
    "/v1/embeddings",
    embedding_types.EmbeddingCreateParams,
    EMBEDDING_BASE,
    EMBEDDING_PROBES.__getitem__,
    lambda request: [build_embed(request, 0)],
)
APIS = (CHAT, COMPLETIONS, EMBEDDINGS)
# When a request came is no matter of its fields.
TIMES = ("arrived", "arrived_at")

each_api = pytest.mark.parametrize("api", APIS, ids=[api.section for api in APIS])


class Shim:
    """A server whose service refuses what the real one would, and notes what it is asked."""

    def __init__(self, http: httpx.AsyncClient, requests: list[Any]) -> None:
        self._http = http
        self._requests = requests

    async def ask(self, api: Api, fields: Fields) -> httpx.Response:
        return await self._http.post(api.path, json=api.base | fields)

    async def outcome(self, api: Api, fields: Fields) -> object:
        """All that may depend on a request: what a worker is told, and how the answer is sent."""
        response = await self.ask(api, fields)
        assert response.status_code == 200, response.text
        request = self._requests[-1]
        told = [
            msgspec.structs.replace(one, **{name: 0.0 for name in TIMES if hasattr(one, name)})
            for one in api.told(request)
        ]
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

        async def create_completion(
            self, request: completion_pb2.CompletionRequest, call: Call
        ) -> completion_pb2.Completion:
            check_completion_request(request, is_streamed=False)
            self.requests.append(request)
            return completion_pb2.Completion(id="cmpl-1", usage=script.usage)

        async def stream_completion(
            self, request: completion_pb2.CompletionRequest, call: Call
        ) -> AsyncGenerator[completion_pb2.CompletionChunk, None]:
            check_completion_request(request, is_streamed=True)
            self.requests.append(request)
            yield completion_pb2.CompletionChunk(id="cmpl-1", usage=script.usage)

        async def create_embeddings(
            self, request: embedding_pb2.CreateEmbeddingsRequest, call: Call
        ) -> embedding_pb2.CreateEmbeddingsResponse:
            check_embeddings(request)
            self.requests.append(request)
            return embedding_pb2.CreateEmbeddingsResponse(data=[embedding_pb2.Embedding(values=[1.0])])

    service = Service(answer=script.completion(), steps=script.stream("Hello"))
    async with (
        serve(service) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=10) as http,
    ):
        yield Shim(http, service.requests)


@each_api
async def test_each_field_that_the_sdk_knows_is_in_the_docs(api):
    """A new one fails here, until it is decided what becomes of it."""
    documented = api.documented
    assert len(api.typed) >= 5
    assert [path for path in api.typed if path not in documented] == []


async def test_fields_are_found_however_deep():
    assert "messages[].content[text].prompt_cache_breakpoint.mode" in CHAT.typed
    assert "tools[custom].custom.format[grammar].grammar.syntax" in CHAT.typed


@pytest.mark.parametrize(
    ("api", "path"),
    [(api, path) for api in APIS for path in api.documented],
    ids=[f"{api.section}: {path}" for api in APIS for path in api.documented],
)
async def test_what_becomes_of_a_field_is_what_the_docs_say(shim, api, path):
    documented = api.documented
    first, second = api.probe_of(path)
    if documented[path] == "refused":
        response = await shim.ask(api, first)
        assert response.status_code == 400, response.text
        name = response.json()["error"]["param"]
        assert refused_as(path, documented).fullmatch(re.sub(r"\d+", "", name)), name
        return
    assert first != second
    has_effect = await shim.outcome(api, first) != await shim.outcome(api, second)
    assert has_effect == (documented[path] == "honoured")


@each_api
async def test_each_value_of_an_enumeration_is_taken(shim, api):
    documented = api.documented
    for path, values in api.typed.items():
        if path == "messages[].role" or documented[path] == "refused":
            continue
        for value in values:
            fields = copy.deepcopy(api.probe_of(path)[0])
            put(fields, path, value)
            response = await shim.ask(api, fields)
            assert response.status_code == 200, f"{path}: {value}: {response.text}"


async def test_each_role_is_taken(shim):
    messages = [
        {"role": "system", "content": "Hi"},
        {"role": "developer", "content": "Hi"},
        *history(called("a"), {"role": "tool", "tool_call_id": "a", "content": "1"})["messages"],
        *history(called_before("f"), {"role": "function", "name": "f", "content": "1"})["messages"],
    ]
    assert {message["role"] for message in messages} >= set(CHAT.typed["messages[].role"])
    assert (await shim.ask(CHAT, {"messages": messages})).status_code == 200


async def test_the_probes_are_of_fields_that_there_are():
    assert set(PROBES) <= set(CHAT.documented)
    assert set(COMPLETION_PROBES) <= set(COMPLETIONS.documented)
    assert set(EMBEDDING_PROBES) <= set(EMBEDDINGS.documented)


async def test_the_summary_leads_to_the_page():
    assert f"({PAGE.name})" in (PAGE.parent / "openai.md").read_text()
