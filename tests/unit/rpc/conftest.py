"""A gRPC server on a real socket, in front of a service that does what a test tells it to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

from llamawire.v1 import chat_pb2, model_pb2
from llamawire_server.rpc.health import HealthBoard
from llamawire_server.rpc.server import SERVICE_NAMES, create_server
from llamawire_server.service.interface import Call

MAX_MESSAGE_BYTES = 200_000


class ScriptedService:
    """Answers by functions that the test puts in; notes every call."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.requests: list[Any] = []
        self.answer: Callable[[Any], Awaitable[Any]] = self._fail
        self.stream: Callable[[Any], AsyncGenerator[Any, None]] = self._fail_streaming

    async def create_chat_completion(
        self, request: chat_pb2.ChatCompletionRequest, call: Call
    ) -> chat_pb2.ChatCompletion:
        return await self._answer(request, call)

    async def stream_chat_completion(
        self, request: chat_pb2.ChatCompletionRequest, call: Call
    ) -> AsyncGenerator[chat_pb2.ChatCompletionChunk, None]:
        self._note(request, call)
        chunks = self.stream(request)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()

    async def get_model(self, request: model_pb2.GetModelRequest, call: Call) -> model_pb2.GetModelResponse:
        return await self._answer(request, call)

    list_models = unload_model = tokenize = detokenize = count_chat_tokens = get_model
    apply_chat_template = create_embeddings = get_model
    load_model = watch_models = stream_chat_completion

    async def _answer(self, request: Any, call: Call) -> Any:
        self._note(request, call)
        return await self.answer(request)

    def _note(self, request: Any, call: Call) -> None:
        self.calls.append(call)
        self.requests.append(request)

    async def _fail(self, request: Any) -> Any:
        raise AssertionError("the test gave no answer")

    async def _fail_streaming(self, request: Any) -> AsyncGenerator[Any, None]:
        raise AssertionError("the test gave no answer")
        yield


@pytest.fixture
def service() -> ScriptedService:
    return ScriptedService()


@pytest.fixture
def board() -> HealthBoard:
    return HealthBoard(SERVICE_NAMES)


@pytest.fixture
async def address(service: Any, board: HealthBoard) -> AsyncIterator[str]:
    """Where the server listens."""
    server = create_server(service, board, MAX_MESSAGE_BYTES)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await board.close()
    await server.stop(None)


@pytest.fixture
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield channel
