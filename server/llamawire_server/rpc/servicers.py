"""The servicers of llamawire.v1: each method hands its request to the service.

They are called by `calls.CallInterceptor` alone, which sees to errors, and to the end of what streams.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from llamawire.v1 import (
    chat_pb2,
    chat_pb2_grpc,
    completion_pb2,
    completion_pb2_grpc,
    embedding_pb2,
    embedding_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    tokenizer_pb2,
    tokenizer_pb2_grpc,
)
from llamawire_server.rpc.calls import current_call
from llamawire_server.service.interface import Service


class ChatServicer(chat_pb2_grpc.ChatServiceServicer):
    def __init__(self, service: Service) -> None:
        self._service = service

    async def CreateChatCompletion(  # noqa: N802
        self, request: chat_pb2.ChatCompletionRequest, context: Any
    ) -> chat_pb2.ChatCompletion:
        return await self._service.create_chat_completion(request, current_call())

    def StreamChatCompletion(  # noqa: N802
        self, request: chat_pb2.ChatCompletionRequest, context: Any
    ) -> AsyncGenerator[chat_pb2.ChatCompletionChunk, None]:
        return self._service.stream_chat_completion(request, current_call())


class CompletionServicer(completion_pb2_grpc.CompletionServiceServicer):
    def __init__(self, service: Service) -> None:
        self._service = service

    async def CreateCompletion(  # noqa: N802
        self, request: completion_pb2.CompletionRequest, context: Any
    ) -> completion_pb2.Completion:
        return await self._service.create_completion(request, current_call())

    def StreamCompletion(  # noqa: N802
        self, request: completion_pb2.CompletionRequest, context: Any
    ) -> AsyncGenerator[completion_pb2.CompletionChunk, None]:
        return self._service.stream_completion(request, current_call())


class EmbeddingServicer(embedding_pb2_grpc.EmbeddingServiceServicer):
    def __init__(self, service: Service) -> None:
        self._service = service

    async def CreateEmbeddings(  # noqa: N802
        self, request: embedding_pb2.CreateEmbeddingsRequest, context: Any
    ) -> embedding_pb2.CreateEmbeddingsResponse:
        return await self._service.create_embeddings(request, current_call())


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    def __init__(self, service: Service) -> None:
        self._service = service

    async def ListModels(  # noqa: N802
        self, request: model_pb2.ListModelsRequest, context: Any
    ) -> model_pb2.ListModelsResponse:
        return await self._service.list_models(request, current_call())

    async def GetModel(  # noqa: N802
        self, request: model_pb2.GetModelRequest, context: Any
    ) -> model_pb2.GetModelResponse:
        return await self._service.get_model(request, current_call())

    def LoadModel(  # noqa: N802
        self, request: model_pb2.LoadModelRequest, context: Any
    ) -> AsyncGenerator[model_pb2.LoadModelResponse, None]:
        return self._service.load_model(request, current_call())

    async def UnloadModel(  # noqa: N802
        self, request: model_pb2.UnloadModelRequest, context: Any
    ) -> model_pb2.UnloadModelResponse:
        return await self._service.unload_model(request, current_call())

    def WatchModels(  # noqa: N802
        self, request: model_pb2.WatchModelsRequest, context: Any
    ) -> AsyncGenerator[model_pb2.WatchModelsResponse, None]:
        return self._service.watch_models(request, current_call())


class TokenizerServicer(tokenizer_pb2_grpc.TokenizerServiceServicer):
    def __init__(self, service: Service) -> None:
        self._service = service

    async def Tokenize(  # noqa: N802
        self, request: tokenizer_pb2.TokenizeRequest, context: Any
    ) -> tokenizer_pb2.TokenizeResponse:
        return await self._service.tokenize(request, current_call())

    async def Detokenize(  # noqa: N802
        self, request: tokenizer_pb2.DetokenizeRequest, context: Any
    ) -> tokenizer_pb2.DetokenizeResponse:
        return await self._service.detokenize(request, current_call())

    async def CountChatTokens(  # noqa: N802
        self, request: tokenizer_pb2.CountChatTokensRequest, context: Any
    ) -> tokenizer_pb2.CountChatTokensResponse:
        return await self._service.count_chat_tokens(request, current_call())

    async def ApplyChatTemplate(  # noqa: N802
        self, request: tokenizer_pb2.ApplyChatTemplateRequest, context: Any
    ) -> tokenizer_pb2.ApplyChatTemplateResponse:
        return await self._service.apply_chat_template(request, current_call())
