"""A scripted service behind a real HTTP server on a loopback socket."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import httpx
import pytest
import pytest_asyncio
from grpc_health.v1 import health, health_pb2_grpc
from remote_fakes import FakeServicer, forwarding

from llamawire.v1 import chat_pb2, embedding_pb2, model_pb2, tokenizer_pb2, usage_pb2
from llamawire_server.errors import model_not_found
from llamawire_server.service.interface import Call
from llamawire_server.shim.app import create_app
from llamawire_server.shim.http.disconnect import Calls
from llamawire_server.shim.http.server import HTTPServer, address_of, bind
from llamawire_server.shim.http.settings import HttpSettings
from llamawire_server.shim.remote import RemoteService

# Streams are kept alive where a test is about that.
SETTINGS: dict[str, Any] = {"max_body_bytes": 64 * 1024, "keep_alive_seconds": 3600.0}
PATIENCE_SECONDS = 10.0

Step = chat_pb2.ChatCompletionChunk | BaseException | asyncio.Event
T = TypeVar("T")


@dataclass
class FakeService:
    """Does what a test scripts: an event is awaited, an exception raised, a message returned."""

    answer: chat_pb2.ChatCompletion | BaseException | asyncio.Event | None = None
    steps: list[Step] = field(default_factory=list)
    prepared: object = None
    """What an RPC about tokens answers, or fails with."""
    vectors: embedding_pb2.CreateEmbeddingsResponse | BaseException | None = None
    models: list[model_pb2.Model] = field(default_factory=list)
    serving: bool = True
    num_prompt_tokens: int = 0
    requests: list[Any] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    cleaned_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def create_chat_completion(
        self, request: chat_pb2.ChatCompletionRequest, call: Call
    ) -> chat_pb2.ChatCompletion:
        self._begin(request, call)
        try:
            if isinstance(self.answer, asyncio.Event):
                await self.answer.wait()
            if isinstance(self.answer, BaseException):
                raise self.answer
            assert isinstance(self.answer, chat_pb2.ChatCompletion)
            return self.answer
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.cleaned_up.set()

    async def stream_chat_completion(
        self, request: chat_pb2.ChatCompletionRequest, call: Call
    ) -> AsyncGenerator[chat_pb2.ChatCompletionChunk, None]:
        self._begin(request, call)
        try:
            for step in self.steps:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, BaseException):
                    raise step
                else:
                    await asyncio.sleep(0)  # as a model does: an endless supply would starve the loop
                    yield step
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise
        finally:
            self.cleaned_up.set()

    async def list_models(
        self, request: model_pb2.ListModelsRequest, call: Call
    ) -> model_pb2.ListModelsResponse:
        self._begin(request, call)
        return model_pb2.ListModelsResponse(models=self.models)

    async def get_model(self, request: model_pb2.GetModelRequest, call: Call) -> model_pb2.GetModelResponse:
        self._begin(request, call)
        for model in self.models:
            if model.name == request.name:
                return model_pb2.GetModelResponse(model=model)
        raise model_not_found(request.name)

    async def load_model(
        self, request: model_pb2.LoadModelRequest, call: Call
    ) -> AsyncGenerator[model_pb2.LoadModelResponse, None]:
        raise NotImplementedError
        yield

    async def unload_model(
        self, request: model_pb2.UnloadModelRequest, call: Call
    ) -> model_pb2.UnloadModelResponse:
        raise NotImplementedError

    async def watch_models(
        self, request: model_pb2.WatchModelsRequest, call: Call
    ) -> AsyncGenerator[model_pb2.WatchModelsResponse, None]:
        raise NotImplementedError
        yield

    async def tokenize(
        self, request: tokenizer_pb2.TokenizeRequest, call: Call
    ) -> tokenizer_pb2.TokenizeResponse:
        self._begin(request, call)
        return self._scripted(tokenizer_pb2.TokenizeResponse)

    async def detokenize(
        self, request: tokenizer_pb2.DetokenizeRequest, call: Call
    ) -> tokenizer_pb2.DetokenizeResponse:
        self._begin(request, call)
        return self._scripted(tokenizer_pb2.DetokenizeResponse)

    async def count_chat_tokens(
        self, request: tokenizer_pb2.CountChatTokensRequest, call: Call
    ) -> tokenizer_pb2.CountChatTokensResponse:
        self._begin(request, call)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return tokenizer_pb2.CountChatTokensResponse(prompt_tokens=self.num_prompt_tokens)

    async def apply_chat_template(
        self, request: tokenizer_pb2.ApplyChatTemplateRequest, call: Call
    ) -> tokenizer_pb2.ApplyChatTemplateResponse:
        self._begin(request, call)
        return self._scripted(tokenizer_pb2.ApplyChatTemplateResponse)

    async def create_embeddings(
        self, request: embedding_pb2.CreateEmbeddingsRequest, call: Call
    ) -> embedding_pb2.CreateEmbeddingsResponse:
        self._begin(request, call)
        if isinstance(self.vectors, BaseException):
            raise self.vectors
        assert self.vectors is not None
        return self.vectors

    async def is_serving(self) -> bool:
        return self.serving

    def _scripted(self, kind: type[T]) -> T:
        """The answer, or the failure, that the test gave."""
        if isinstance(self.prepared, BaseException):
            raise self.prepared
        assert isinstance(self.prepared, kind)
        return self.prepared

    def _begin(self, request: Any, call: Call) -> None:
        self.requests.append(request)
        self.calls.append(call)
        self.began.set()

    def reset(self) -> None:
        """As new, in place: the server holds on to this object."""
        self.__init__()  # type: ignore[misc]


class Script:
    """Makes the messages that tests let a service answer."""

    usage = usage_pb2.Usage(
        prompt_tokens=7,
        completion_tokens=2,
        total_tokens=9,
        prompt_cache_hit_tokens=3,
        prompt_cache_miss_tokens=4,
        prompt_tokens_details=usage_pb2.PromptTokensDetails(cached_tokens=3),
        completion_tokens_details=usage_pb2.CompletionTokensDetails(
            reasoning_tokens=1,
            accepted_prediction_tokens=5,
            rejected_prediction_tokens=6,
            accepted_draft_tokens=8,
            rejected_draft_tokens=9,
        ),
    )

    @staticmethod
    def timings() -> usage_pb2.Timings:
        timings = usage_pb2.Timings()
        timings.queue.FromMilliseconds(2)
        timings.first_token.FromMilliseconds(250)
        timings.generation.FromMilliseconds(1500)
        return timings

    @staticmethod
    def chunk(*choices: chat_pb2.ChunkChoice, **fields: Any) -> chat_pb2.ChatCompletionChunk:
        return chat_pb2.ChatCompletionChunk(
            id="chatcmpl-1",
            created=1_700_000_000,
            model="smollm2",
            system_fingerprint="fp_1",
            service_tier="default",
            choices=choices,
            **fields,
        )

    @staticmethod
    def role(index: int = 0) -> chat_pb2.ChunkChoice:
        return chat_pb2.ChunkChoice(index=index, delta=chat_pb2.Delta(role=chat_pb2.ROLE_ASSISTANT))

    @staticmethod
    def text(content: str, index: int = 0) -> chat_pb2.ChunkChoice:
        return chat_pb2.ChunkChoice(index=index, delta=chat_pb2.Delta(content=content))

    @staticmethod
    def finish(
        reason: chat_pb2.FinishReason.ValueType = chat_pb2.FINISH_REASON_STOP, index: int = 0
    ) -> chat_pb2.ChunkChoice:
        return chat_pb2.ChunkChoice(index=index, finish_reason=reason)

    @classmethod
    def stream(cls, *texts: str) -> list[Step]:
        """A whole stream of one choice, as a service sends it."""
        last = cls.chunk(cls.finish(), usage=cls.usage, timings=cls.timings())
        return [cls.chunk(cls.role()), *(cls.chunk(cls.text(text)) for text in texts), last]

    @classmethod
    def completion(cls, *choices: chat_pb2.Choice) -> chat_pb2.ChatCompletion:
        return chat_pb2.ChatCompletion(
            id="chatcmpl-1",
            created=1_700_000_000,
            model="smollm2",
            system_fingerprint="fp_1",
            service_tier="default",
            choices=choices or [cls.choice(content="Hello")],
            usage=cls.usage,
            timings=cls.timings(),
        )

    @staticmethod
    def choice(
        index: int = 0,
        finish_reason: chat_pb2.FinishReason.ValueType = chat_pb2.FINISH_REASON_STOP,
        **message: Any,
    ) -> chat_pb2.Choice:
        return chat_pb2.Choice(
            index=index,
            message=chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT, **message),
            finish_reason=finish_reason,
        )


@dataclass(frozen=True)
class Running:
    """A server and what it answers from."""

    service: FakeService
    url: str


@pytest.fixture(scope="session")
def script() -> type[Script]:
    return Script


@pytest.fixture(scope="session")
def chat_body() -> dict[str, Any]:
    """The smallest chat request."""
    return {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}]}


@asynccontextmanager
async def serving(service: FakeService, **settings: Any) -> AsyncIterator[Running]:
    """A server that answers from `service`."""
    calls = Calls()
    app = create_app(service, calls, HttpSettings(**{**SETTINGS, **settings}))
    listener = bind("127.0.0.1:0")
    running = Running(service, f"http://{address_of(listener)}")
    server = HTTPServer(app, calls, listener)
    await server.start()
    try:
        yield running
    finally:
        await server.stop(grace_seconds=0)


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractAsyncContextManager[Running]]:
    """Starts a server with settings of its own."""
    return serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Running]:
    """One server a test module: starting and stopping one takes longer than any test."""
    async with serving(FakeService()) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server."""
    async with httpx.AsyncClient(base_url=running.url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
        yield client


@pytest.fixture
def service(running: Running) -> FakeService:
    """The service behind the server, as new."""
    running.service.reset()
    return running.service


@pytest.fixture
def http(client: httpx.AsyncClient, service: FakeService) -> httpx.AsyncClient:
    """A client of the server, whose service is as new."""
    return client


@pytest_asyncio.fixture(loop_scope="module")
async def nothing_lost() -> AsyncIterator[None]:
    """Fails the test where a task's exception was never looked at."""
    lost: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: lost.append(context))
    yield
    gc.collect()
    loop.set_exception_handler(None)
    assert lost == []


@pytest.fixture
def servicer() -> FakeServicer:
    """What answers behind `remote`."""
    return FakeServicer()


@pytest.fixture
def healthy() -> health.aio.HealthServicer:
    """Tells `remote` whether that server serves."""
    return health.aio.HealthServicer()


@pytest_asyncio.fixture
async def remote(servicer: FakeServicer, healthy: health.aio.HealthServicer) -> AsyncIterator[RemoteService]:
    """A service that forwards to another server."""

    def add_to(server: grpc.aio.Server) -> None:
        servicer.add_to(server)
        health_pb2_grpc.add_HealthServicer_to_server(healthy, server)

    async with forwarding(add_to) as remote:
        yield remote
