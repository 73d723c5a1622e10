"""A gRPC server in this process that answers what a test says, for what forwards to one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from llamawire.v1 import (
    chat_pb2,
    chat_pb2_grpc,
    embedding_pb2,
    embedding_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    tokenizer_pb2,
    tokenizer_pb2_grpc,
)
from llamawire_server.service.interface import Call
from llamawire_server.shim.remote import RemoteService

CALL = Call("call-1", timeout_seconds=30.0, metadata={"traceparent": "00-1-2-01"})
REQUEST = chat_pb2.ChatCompletionRequest(model="smollm2")


class FakeServicer(
    chat_pb2_grpc.ChatServiceServicer,
    embedding_pb2_grpc.EmbeddingServiceServicer,
    model_pb2_grpc.ModelServiceServicer,
    tokenizer_pb2_grpc.TokenizerServiceServicer,
):
    """Answers what is scripted, and remembers what came."""

    def __init__(self) -> None:
        self.fails: Callable[[grpc.aio.ServicerContext], Awaitable[None]] | None = None
        self.hangs = False
        self.num_chunks = 3
        self.request: Any = None
        self.metadata: dict[str, Any] = {}
        self.seconds_left: float | None = None
        self.began = asyncio.Event()
        self.ended = asyncio.Event()

    async def _take(self, request: Any, context: grpc.aio.ServicerContext) -> None:
        self.request = request
        self.metadata = dict(context.invocation_metadata() or ())
        self.seconds_left = context.time_remaining()
        self.began.set()
        try:
            if self.hangs:
                await asyncio.Event().wait()
            if self.fails is not None:
                await self.fails(context)
        finally:
            self.ended.set()

    async def CreateChatCompletion(self, request, context):  # noqa: N802
        await self._take(request, context)
        return chat_pb2.ChatCompletion(id="a", model=request.model)

    async def StreamChatCompletion(self, request, context):  # noqa: N802
        for index in range(self.num_chunks):
            yield chat_pb2.ChatCompletionChunk(id=f"{index}")
        await self._take(request, context)

    async def CreateEmbeddings(self, request, context):  # noqa: N802
        await self._take(request, context)
        return embedding_pb2.CreateEmbeddingsResponse(model=request.model)

    async def ListModels(self, request, context):  # noqa: N802
        await self._take(request, context)
        return model_pb2.ListModelsResponse(models=[model_pb2.Model(name="smollm2")])

    async def GetModel(self, request, context):  # noqa: N802
        await self._take(request, context)
        return model_pb2.GetModelResponse(model=model_pb2.Model(name=request.name))

    async def LoadModel(self, request, context):  # noqa: N802
        for index in range(self.num_chunks):
            yield model_pb2.LoadModelResponse(model=model_pb2.Model(name=f"{index}"))
        await self._take(request, context)

    async def UnloadModel(self, request, context):  # noqa: N802
        await self._take(request, context)
        return model_pb2.UnloadModelResponse(model=model_pb2.Model(name=request.name))

    async def WatchModels(self, request, context):  # noqa: N802
        for index in range(self.num_chunks):
            yield model_pb2.WatchModelsResponse(removed=[f"{index}"])
        await self._take(request, context)

    async def Tokenize(self, request, context):  # noqa: N802
        await self._take(request, context)
        return tokenizer_pb2.TokenizeResponse(tokens=[1, 2])

    async def Detokenize(self, request, context):  # noqa: N802
        await self._take(request, context)
        return tokenizer_pb2.DetokenizeResponse(text="Hi")

    async def CountChatTokens(self, request, context):  # noqa: N802
        await self._take(request, context)
        return tokenizer_pb2.CountChatTokensResponse(prompt_tokens=7)

    async def ApplyChatTemplate(self, request, context):  # noqa: N802
        await self._take(request, context)
        return tokenizer_pb2.ApplyChatTemplateResponse(prompt="Hi", tokens=[1])

    def add_to(self, server: grpc.aio.Server) -> None:
        """Let a server answer so."""
        chat_pb2_grpc.add_ChatServiceServicer_to_server(self, server)
        embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(self, server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(self, server)
        tokenizer_pb2_grpc.add_TokenizerServiceServicer_to_server(self, server)


@asynccontextmanager
async def forwarding(add_to: Callable[[grpc.aio.Server], None]) -> AsyncIterator[RemoteService]:
    """A service that forwards to a server, to which `add_to` adds what answers there."""
    server = grpc.aio.server()
    add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield RemoteService(channel)
    await server.stop(None)
