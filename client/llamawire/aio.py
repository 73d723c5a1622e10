"""The client for asyncio: `client.Client`, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar, cast

import grpc

from llamawire import channel as channels
from llamawire.attempts import Attempts, CallDefaults, CallOptions
from llamawire.chat_request import ChatOptions, request, waits_for_model
from llamawire.completion import Completion
from llamawire.completion_request import CompletionOptions, completion_request
from llamawire.embedding import EmbeddingList, EmbeddingOptions, embedding_request
from llamawire.metadata import Metadata, to_pairs
from llamawire.model_stream import AsyncModelLoad, AsyncModelWatch
from llamawire.response_stream import OpenAioCall
from llamawire.stream import AsyncChatStream
from llamawire.text_completion import TextCompletion
from llamawire.text_stream import AsyncTextStream
from llamawire.tokenize_request import TextOrParts, tokenize_request
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

if TYPE_CHECKING:
    from typing_extensions import Unpack

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class AsyncClient:
    """A connection to a llamawire server, for any number of calls at once. Made and used in one event loop.

        async with AsyncClient() as client:
            completion = await client.chat.create(model="smollm2", messages=[user("Hello!")])

    Arguments, errors and retries are those of `Client`.
    """

    def __init__(
        self,
        target: str = channels.DEFAULT_TARGET,
        *,
        timeout_seconds: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        channel: grpc.aio.Channel | None = None,
        retries: int = 2,
    ) -> None:
        """Connect to `target`; see `Client`."""
        self._owns_channel = channel is None
        self._channel = channel if channel is not None else _open_channel(target, credentials)
        defaults = CallDefaults(timeout_seconds, to_pairs(metadata), retries)
        self.chat = AsyncChat(self._channel, defaults)
        self.completions = AsyncCompletions(self._channel, defaults)
        self.embeddings = AsyncEmbeddings(self._channel, defaults)
        self.models = AsyncModels(self._channel, defaults)
        self.tokenizer = AsyncTokenizer(self._channel, defaults)

    async def close(self) -> None:
        """Close the connection. Calls that are under way are cancelled: who awaits one sees CancelledError."""
        if self._owns_channel:
            await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncChat:
    """`client.chat`: answers to conversations."""

    def __init__(self, channel: grpc.aio.Channel, defaults: CallDefaults) -> None:
        # One stub class serves both kinds of channel; only its type differs.
        self._stub = cast("chat_pb2_grpc.ChatServiceAsyncStub", chat_pb2_grpc.ChatServiceStub(channel))
        self._defaults = defaults

    async def create(
        self,
        base: chat_pb2.ChatCompletionRequest | None = None,
        /,
        *,
        timeout_seconds: float | None = None,
        call_metadata: Metadata | None = None,
        request_id: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> Completion:
        """The whole answer at once. The request is made of the options, of a proto, or of both (`request`)."""
        message = request(base, **options)
        attempts = self._defaults.begin(
            timeout_seconds, call_metadata, request_id, waits_for_model=waits_for_model(message)
        )
        proto = await _call(self._stub.CreateChatCompletion, message, attempts)
        return Completion(proto, attempts.request_id)

    def stream(
        self,
        base: chat_pb2.ChatCompletionRequest | None = None,
        /,
        *,
        timeout_seconds: float | None = None,
        call_metadata: Metadata | None = None,
        request_id: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> AsyncChatStream:
        """The answer as it is generated. The call begins now; what fails, fails while the stream is read."""
        message = request(base, **options)
        attempts = self._defaults.begin(
            timeout_seconds, call_metadata, request_id, waits_for_model=waits_for_model(message)
        )
        return AsyncChatStream(_opener(self._stub.StreamChatCompletion, message), attempts)


class AsyncCompletions:
    """`client.completions`: what comes after texts, as they are."""

    def __init__(self, channel: grpc.aio.Channel, defaults: CallDefaults) -> None:
        stub = completion_pb2_grpc.CompletionServiceStub(channel)
        self._stub = cast("completion_pb2_grpc.CompletionServiceAsyncStub", stub)
        self._defaults = defaults

    async def create(
        self,
        base: completion_pb2.CompletionRequest | None = None,
        /,
        *,
        timeout_seconds: float | None = None,
        call_metadata: Metadata | None = None,
        request_id: str | None = None,
        **options: Unpack[CompletionOptions],
    ) -> TextCompletion:
        """All choices at once. The request is made of the options, of a proto, or of both (`completion_request`)."""
        message = completion_request(base, **options)
        attempts = self._defaults.begin(
            timeout_seconds, call_metadata, request_id, waits_for_model=waits_for_model(message)
        )
        proto = await _call(self._stub.CreateCompletion, message, attempts)
        return TextCompletion(proto, attempts.request_id)

    def stream(
        self,
        base: completion_pb2.CompletionRequest | None = None,
        /,
        *,
        timeout_seconds: float | None = None,
        call_metadata: Metadata | None = None,
        request_id: str | None = None,
        **options: Unpack[CompletionOptions],
    ) -> AsyncTextStream:
        """The choices as they are generated. The call begins now; what fails, fails while the stream is read."""
        message = completion_request(base, **options)
        attempts = self._defaults.begin(
            timeout_seconds, call_metadata, request_id, waits_for_model=waits_for_model(message)
        )
        return AsyncTextStream(_opener(self._stub.StreamCompletion, message), attempts)


class AsyncEmbeddings:
    """`client.embeddings`: texts as vectors."""

    def __init__(self, channel: grpc.aio.Channel, defaults: CallDefaults) -> None:
        stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        self._stub = cast("embedding_pb2_grpc.EmbeddingServiceAsyncStub", stub)
        self._defaults = defaults

    async def create(
        self,
        base: embedding_pb2.CreateEmbeddingsRequest | None = None,
        /,
        *,
        timeout_seconds: float | None = None,
        call_metadata: Metadata | None = None,
        request_id: str | None = None,
        **options: Unpack[EmbeddingOptions],
    ) -> EmbeddingList:
        """The vectors of one text or of several. The request is made of the options, of a proto, or of both
        (`embedding_request`)."""
        message = embedding_request(base, **options)
        attempts = self._defaults.begin(
            timeout_seconds, call_metadata, request_id, waits_for_model=waits_for_model(message)
        )
        proto = await _call(self._stub.CreateEmbeddings, message, attempts)
        return EmbeddingList(proto, attempts.request_id)


class AsyncModels:
    """`client.models`: what the server can answer with."""

    def __init__(self, channel: grpc.aio.Channel, defaults: CallDefaults) -> None:
        self._stub = cast("model_pb2_grpc.ModelServiceAsyncStub", model_pb2_grpc.ModelServiceStub(channel))
        self._defaults = defaults

    async def list(self, **call: Unpack[CallOptions]) -> list[model_pb2.Model]:
        """Every model that a request could name, by name."""
        message = model_pb2.ListModelsRequest()
        return [*(await _call(self._stub.ListModels, message, self._defaults.begin(**call))).models]

    async def get(self, name: str, **call: Unpack[CallOptions]) -> model_pb2.Model:
        """One model. Raises ModelNotFoundError where none has the name."""
        message = model_pb2.GetModelRequest(name=name)
        return (await _call(self._stub.GetModel, message, self._defaults.begin(**call))).model

    def load(self, name: str, **call: Unpack[CallOptions]) -> AsyncModelLoad:
        """Load a model, and tell how far it is. The call begins now; what fails, fails while the stream is read."""
        open_call = _opener(self._stub.LoadModel, model_pb2.LoadModelRequest(name=name))
        return AsyncModelLoad(open_call, self._defaults.begin(**call))

    async def unload(
        self, name: str, *, cancel_running: bool = False, **call: Unpack[CallOptions]
    ) -> model_pb2.Model:
        """Unload a model once its requests are done, or cancel them, and give it as it stands then."""
        message = model_pb2.UnloadModelRequest(name=name, cancel_running=cancel_running)
        return (await _call(self._stub.UnloadModel, message, self._defaults.begin(**call))).model

    def watch(self, *names: str, **call: Unpack[CallOptions]) -> AsyncModelWatch:
        """News of the models with these names, or of all, until the stream is closed.

        A timeout ends it, too, the client's own among them; `timeout_seconds=math.inf` is none.
        """
        open_call = _opener(self._stub.WatchModels, model_pb2.WatchModelsRequest(names=names))
        return AsyncModelWatch(open_call, self._defaults.begin(**call))


class AsyncTokenizer:
    """`client.tokenizer`: text to a model's tokens and back."""

    def __init__(self, channel: grpc.aio.Channel, defaults: CallDefaults) -> None:
        stub = tokenizer_pb2_grpc.TokenizerServiceStub(channel)
        self._stub = cast("tokenizer_pb2_grpc.TokenizerServiceAsyncStub", stub)
        self._defaults = defaults

    async def tokenize(
        self,
        model: str,
        text: TextOrParts,
        *,
        add_special: bool | None = None,
        parse_special: bool | None = None,
        unparse_special: bool | None = None,
        **call: Unpack[CallOptions],
    ) -> tokenizer_pb2.TokenizeResponse:
        """The tokens of a text, or of texts and tokens that follow each other, and the bytes of each."""
        message = tokenize_request(
            model,
            text,
            add_special=add_special,
            parse_special=parse_special,
            unparse_special=unparse_special,
        )
        return await _call(self._stub.Tokenize, message, self._defaults.begin(**call))

    async def detokenize(
        self,
        model: str,
        tokens: Iterable[int],
        *,
        unparse_special: bool | None = None,
        **call: Unpack[CallOptions],
    ) -> str:
        """The text of tokens; bytes that are no UTF-8 are replaced by U+FFFD."""
        message = tokenizer_pb2.DetokenizeRequest(model=model, tokens=tokens, unparse_special=unparse_special)
        return (await _call(self._stub.Detokenize, message, self._defaults.begin(**call))).text

    async def count_chat_tokens(
        self,
        base: chat_pb2.ChatCompletionRequest | None = None,
        /,
        *,
        timeout_seconds: float | None = None,
        call_metadata: Metadata | None = None,
        request_id: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> tokenizer_pb2.CountChatTokensResponse:
        """How long the prompt of a chat request would be, and how long it may be."""
        message = tokenizer_pb2.CountChatTokensRequest(request=request(base, **options))
        attempts = self._defaults.begin(
            timeout_seconds, call_metadata, request_id, waits_for_model=waits_for_model(message.request)
        )
        return await _call(self._stub.CountChatTokens, message, attempts)

    async def apply_chat_template(
        self,
        base: chat_pb2.ChatCompletionRequest | None = None,
        /,
        *,
        add_generation_prompt: bool | None = None,
        timeout_seconds: float | None = None,
        call_metadata: Metadata | None = None,
        request_id: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> tokenizer_pb2.ApplyChatTemplateResponse:
        """The prompt that a chat request would become, as text and as tokens.

        add_generation_prompt: whether it ends where the assistant is to speak. None means that it does.
        """
        message = tokenizer_pb2.ApplyChatTemplateRequest(
            request=request(base, **options), add_generation_prompt=add_generation_prompt
        )
        attempts = self._defaults.begin(
            timeout_seconds, call_metadata, request_id, waits_for_model=waits_for_model(message.request)
        )
        return await _call(self._stub.ApplyChatTemplate, message, attempts)


def _open_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(target, channels.OPTIONS)
    return grpc.aio.secure_channel(target, credentials, channels.OPTIONS)


def _opener(
    method: grpc.aio.UnaryStreamMultiCallable[_Request, _Response], message: _Request
) -> OpenAioCall[_Response]:
    return lambda attempts: method(message, timeout=attempts.remaining_seconds, metadata=attempts.metadata)


async def _call(
    method: grpc.aio.UnaryUnaryMultiCallable[_Request, _Response], message: _Request, attempts: Attempts
) -> _Response:
    while True:
        call = method(message, timeout=attempts.remaining_seconds, metadata=attempts.metadata)
        try:
            response = await call
        except grpc.RpcError as error:
            await asyncio.sleep(attempts.wait_after(error))
        else:
            attempts.note_metadata(await call.initial_metadata())
            return response
