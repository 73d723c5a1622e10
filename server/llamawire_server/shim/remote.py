"""A service that is another llamawire server, reached over gRPC."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

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
from llamawire_server.errors import DOMAIN, ServiceError, engine_fault, from_status
from llamawire_server.service.interface import REQUEST_ID_HEADER, Call

if TYPE_CHECKING:
    from llamawire.v1.chat_pb2_grpc import ChatServiceAsyncStub
    from llamawire.v1.completion_pb2_grpc import CompletionServiceAsyncStub
    from llamawire.v1.embedding_pb2_grpc import EmbeddingServiceAsyncStub
    from llamawire.v1.model_pb2_grpc import ModelServiceAsyncStub
    from llamawire.v1.tokenizer_pb2_grpc import TokenizerServiceAsyncStub

logger = logging.getLogger(__name__)

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

_DETAILS_KEY = "grpc-status-details-bin"
_HEALTH_CHECK_SECONDS = 5.0

# For the channel to the other server.
CHANNEL_OPTIONS = (
    # Both sides have limits of their own, which can say why.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Finds a dead server while nothing is sent, as during a long prompt. llamawire permits pings this often.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A server that was away is found again soon: gRPC's own waits grow to two minutes, in which every call fails.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)

# Codes that come from the transport when they come without details; their text is about addresses and
# exceptions, which are nothing to tell callers.
_TRANSPORT_MESSAGES = {
    grpc.StatusCode.UNAVAILABLE: "the model server can't be reached",
    grpc.StatusCode.INTERNAL: "the model server failed",
    grpc.StatusCode.UNKNOWN: "the model server failed",
}


class RemoteService:
    """Forwards every call over a channel. The channel stays its owner's to close."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        # The generated stubs are for both kinds of channel; only their types tell them apart.
        self._chat = cast("ChatServiceAsyncStub", chat_pb2_grpc.ChatServiceStub(channel))
        completions = completion_pb2_grpc.CompletionServiceStub(channel)
        self._completions = cast("CompletionServiceAsyncStub", completions)
        embeddings = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        self._embeddings = cast("EmbeddingServiceAsyncStub", embeddings)
        self._models = cast("ModelServiceAsyncStub", model_pb2_grpc.ModelServiceStub(channel))
        self._tokenizer = cast("TokenizerServiceAsyncStub", tokenizer_pb2_grpc.TokenizerServiceStub(channel))
        # Its methods are set when it is made, which its types don't tell.
        self._health: Any = health_pb2_grpc.HealthStub(channel)

    async def create_chat_completion(
        self, request: chat_pb2.ChatCompletionRequest, call: Call
    ) -> chat_pb2.ChatCompletion:
        """The whole answer at once."""
        return await _forward(self._chat.CreateChatCompletion, request, call)

    def stream_chat_completion(
        self, request: chat_pb2.ChatCompletionRequest, call: Call
    ) -> AsyncGenerator[chat_pb2.ChatCompletionChunk, None]:
        """The answer as it is generated."""
        return _stream(self._chat.StreamChatCompletion, request, call)

    async def create_completion(
        self, request: completion_pb2.CompletionRequest, call: Call
    ) -> completion_pb2.Completion:
        """What comes after each of the prompts, all choices at once."""
        return await _forward(self._completions.CreateCompletion, request, call)

    def stream_completion(
        self, request: completion_pb2.CompletionRequest, call: Call
    ) -> AsyncGenerator[completion_pb2.CompletionChunk, None]:
        """The choices as they are generated."""
        return _stream(self._completions.StreamCompletion, request, call)

    async def list_models(
        self, request: model_pb2.ListModelsRequest, call: Call
    ) -> model_pb2.ListModelsResponse:
        """Every model that a request could name."""
        return await _forward(self._models.ListModels, request, call)

    async def get_model(self, request: model_pb2.GetModelRequest, call: Call) -> model_pb2.GetModelResponse:
        """One model by name."""
        return await _forward(self._models.GetModel, request, call)

    def load_model(
        self, request: model_pb2.LoadModelRequest, call: Call
    ) -> AsyncGenerator[model_pb2.LoadModelResponse, None]:
        """The model as it stands while it is loaded."""
        return _stream(self._models.LoadModel, request, call)

    async def unload_model(
        self, request: model_pb2.UnloadModelRequest, call: Call
    ) -> model_pb2.UnloadModelResponse:
        """The model as it stands once it has left memory."""
        return await _forward(self._models.UnloadModel, request, call)

    def watch_models(
        self, request: model_pb2.WatchModelsRequest, call: Call
    ) -> AsyncGenerator[model_pb2.WatchModelsResponse, None]:
        """All watched models, and then each change."""
        return _stream(self._models.WatchModels, request, call)

    async def tokenize(
        self, request: tokenizer_pb2.TokenizeRequest, call: Call
    ) -> tokenizer_pb2.TokenizeResponse:
        """Text to tokens."""
        return await _forward(self._tokenizer.Tokenize, request, call)

    async def detokenize(
        self, request: tokenizer_pb2.DetokenizeRequest, call: Call
    ) -> tokenizer_pb2.DetokenizeResponse:
        """Tokens to text."""
        return await _forward(self._tokenizer.Detokenize, request, call)

    async def count_chat_tokens(
        self, request: tokenizer_pb2.CountChatTokensRequest, call: Call
    ) -> tokenizer_pb2.CountChatTokensResponse:
        """The length of a chat request's prompt."""
        return await _forward(self._tokenizer.CountChatTokens, request, call)

    async def apply_chat_template(
        self, request: tokenizer_pb2.ApplyChatTemplateRequest, call: Call
    ) -> tokenizer_pb2.ApplyChatTemplateResponse:
        """The prompt of a chat request."""
        return await _forward(self._tokenizer.ApplyChatTemplate, request, call)

    async def create_embeddings(
        self, request: embedding_pb2.CreateEmbeddingsRequest, call: Call
    ) -> embedding_pb2.CreateEmbeddingsResponse:
        """The vectors of texts, in their order."""
        return await _forward(self._embeddings.CreateEmbeddings, request, call)

    async def is_serving(self) -> bool:
        """Whether the other server can be reached and takes new calls."""
        try:
            answer = await self._health.Check(
                health_pb2.HealthCheckRequest(service=""), timeout=_HEALTH_CHECK_SECONDS
            )
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def service_error(error: grpc.aio.AioRpcError, *, has_begun: bool = False) -> ServiceError:
    """The error that the other server raised, or what its failure comes to.

    `has_begun`: part of the answer had come. The other server sends its metadata as it begins to work, so the
    call had begun where they came, too.
    """
    code = error.code()
    status = _details(error)
    has_begun = has_begun or bool(error.initial_metadata())
    if code is grpc.StatusCode.UNAVAILABLE and has_begun and not _is_ours(status):
        logger.warning("the model server answered %s: %s", code.name, error.details())
        # NOT_READY would promise that no work was done.
        return engine_fault("the connection to the model server broke")
    if status is not None:
        return from_status(status)
    message = error.details() or code.name
    if code in _TRANSPORT_MESSAGES:
        logger.warning("the model server answered %s: %s", code.name, message)
        message = _TRANSPORT_MESSAGES[code]
    return from_status(status_pb2.Status(code=code.value[0], message=message))


def _details(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            with contextlib.suppress(DecodeError):
                return status_pb2.Status.FromString(value)
    return None


def _is_ours(status: status_pb2.Status | None) -> bool:
    """Whether llamawire wrote the status, and not a proxy on the way."""
    info = error_details_pb2.ErrorInfo()
    with contextlib.suppress(DecodeError):
        for detail in status.details if status is not None else ():
            if detail.Unpack(info):
                return bool(info.domain == DOMAIN)
    return False


async def _forward(
    method: grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT], request: RequestT, call: Call
) -> ResponseT:
    try:
        return await method(request, timeout=call.timeout_seconds, metadata=_metadata(call))
    except grpc.aio.AioRpcError as error:
        raise service_error(error) from None


async def _stream(
    method: grpc.aio.UnaryStreamMultiCallable[RequestT, ResponseT], request: RequestT, call: Call
) -> AsyncGenerator[ResponseT, None]:
    stream = method(request, timeout=call.timeout_seconds, metadata=_metadata(call))
    has_begun = False
    try:
        async for response in stream:
            has_begun = True
            yield response
    except grpc.aio.AioRpcError as error:
        raise service_error(error, has_begun=has_begun) from None
    finally:
        stream.cancel()


def _metadata(call: Call) -> tuple[tuple[str, str], ...]:
    return (*call.metadata.items(), (REQUEST_ID_HEADER, call.request_id))
