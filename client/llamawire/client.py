"""The client for programs that wait for their answers; `aio` has the one for asyncio."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import grpc

from llamawire import channel as channels
from llamawire.attempts import Attempts, CallDefaults, CallOptions
from llamawire.chat_request import ChatOptions, request, waits_for_model
from llamawire.completion import Completion
from llamawire.completion_request import CompletionOptions, completion_request
from llamawire.embedding import EmbeddingList, EmbeddingOptions, embedding_request
from llamawire.metadata import Metadata, to_pairs
from llamawire.model_stream import ModelLoad, ModelWatch
from llamawire.response_stream import OpenCall
from llamawire.stream import ChatStream
from llamawire.text_completion import TextCompletion
from llamawire.text_stream import TextStream
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


class Client:
    """A connection to a llamawire server, for any number of threads and calls at once.

        with Client() as client:
            print(client.chat.create(model="smollm2", messages=[user("Hello!")]).text)

    Every method raises a LlamawireError where the call fails, and takes what is in CallOptions:
    `timeout_seconds`, `call_metadata`, `request_id`. A call that failed before anything came of it, because the
    server is busy, loads the model or can't be reached, is tried again up to `retries` times, after the wait
    that the server asks for.
    """

    def __init__(
        self,
        target: str = channels.DEFAULT_TARGET,
        *,
        timeout_seconds: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        channel: grpc.Channel | None = None,
        retries: int = 2,
    ) -> None:
        """Connect to `target`, in plain text unless `credentials` are given.

        `timeout_seconds` is for calls that name none; `metadata` is sent with every call. A `channel` of the
        caller's own takes the place of target and credentials, and is not closed by the client.
        """
        self._owns_channel = channel is None
        self._channel = channel if channel is not None else _open_channel(target, credentials)
        defaults = CallDefaults(timeout_seconds, to_pairs(metadata), retries)
        self.chat = Chat(self._channel, defaults)
        self.completions = Completions(self._channel, defaults)
        self.embeddings = Embeddings(self._channel, defaults)
        self.models = Models(self._channel, defaults)
        self.tokenizer = Tokenizer(self._channel, defaults)

    def close(self) -> None:
        """Close the connection; calls that are under way are cancelled."""
        if self._owns_channel:
            self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Chat:
    """`client.chat`: answers to conversations."""

    def __init__(self, channel: grpc.Channel, defaults: CallDefaults) -> None:
        self._stub = chat_pb2_grpc.ChatServiceStub(channel)
        self._defaults = defaults

    def create(
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
        proto = _call(self._stub.CreateChatCompletion, message, attempts)
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
    ) -> ChatStream:
        """The answer as it is generated. The call begins now; what fails, fails while the stream is read."""
        message = request(base, **options)
        attempts = self._defaults.begin(
            timeout_seconds, call_metadata, request_id, waits_for_model=waits_for_model(message)
        )
        return ChatStream(_opener(self._stub.StreamChatCompletion, message), attempts)


class Completions:
    """`client.completions`: what comes after texts, as they are."""

    def __init__(self, channel: grpc.Channel, defaults: CallDefaults) -> None:
        self._stub = completion_pb2_grpc.CompletionServiceStub(channel)
        self._defaults = defaults

    def create(
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
        proto = _call(self._stub.CreateCompletion, message, attempts)
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
    ) -> TextStream:
        """The choices as they are generated. The call begins now; what fails, fails while the stream is read."""
        message = completion_request(base, **options)
        attempts = self._defaults.begin(
            timeout_seconds, call_metadata, request_id, waits_for_model=waits_for_model(message)
        )
        return TextStream(_opener(self._stub.StreamCompletion, message), attempts)


class Embeddings:
    """`client.embeddings`: texts as vectors."""

    def __init__(self, channel: grpc.Channel, defaults: CallDefaults) -> None:
        self._stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        self._defaults = defaults

    def create(
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
        proto = _call(self._stub.CreateEmbeddings, message, attempts)
        return EmbeddingList(proto, attempts.request_id)


class Models:
    """`client.models`: what the server can answer with."""

    def __init__(self, channel: grpc.Channel, defaults: CallDefaults) -> None:
        self._stub = model_pb2_grpc.ModelServiceStub(channel)
        self._defaults = defaults

    def list(self, **call: Unpack[CallOptions]) -> list[model_pb2.Model]:
        """Every model that a request could name, by name."""
        response = _call(self._stub.ListModels, model_pb2.ListModelsRequest(), self._defaults.begin(**call))
        return [*response.models]

    def get(self, name: str, **call: Unpack[CallOptions]) -> model_pb2.Model:
        """One model. Raises ModelNotFoundError where none has the name."""
        message = model_pb2.GetModelRequest(name=name)
        return _call(self._stub.GetModel, message, self._defaults.begin(**call)).model

    def load(self, name: str, **call: Unpack[CallOptions]) -> ModelLoad:
        """Load a model, and tell how far it is. The call begins now; what fails, fails while the stream is read."""
        open_call = _opener(self._stub.LoadModel, model_pb2.LoadModelRequest(name=name))
        return ModelLoad(open_call, self._defaults.begin(**call))

    def unload(
        self, name: str, *, cancel_running: bool = False, **call: Unpack[CallOptions]
    ) -> model_pb2.Model:
        """Unload a model once its requests are done, or cancel them, and give it as it stands then."""
        message = model_pb2.UnloadModelRequest(name=name, cancel_running=cancel_running)
        return _call(self._stub.UnloadModel, message, self._defaults.begin(**call)).model

    def watch(self, *names: str, **call: Unpack[CallOptions]) -> ModelWatch:
        """News of the models with these names, or of all, until the stream is closed.

        A timeout ends it, too, the client's own among them; `timeout_seconds=math.inf` is none.
        """
        open_call = _opener(self._stub.WatchModels, model_pb2.WatchModelsRequest(names=names))
        return ModelWatch(open_call, self._defaults.begin(**call))


class Tokenizer:
    """`client.tokenizer`: text to a model's tokens and back."""

    def __init__(self, channel: grpc.Channel, defaults: CallDefaults) -> None:
        self._stub = tokenizer_pb2_grpc.TokenizerServiceStub(channel)
        self._defaults = defaults

    def tokenize(
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
        return _call(self._stub.Tokenize, message, self._defaults.begin(**call))

    def detokenize(
        self,
        model: str,
        tokens: Iterable[int],
        *,
        unparse_special: bool | None = None,
        **call: Unpack[CallOptions],
    ) -> str:
        """The text of tokens; bytes that are no UTF-8 are replaced by U+FFFD."""
        message = tokenizer_pb2.DetokenizeRequest(model=model, tokens=tokens, unparse_special=unparse_special)
        return _call(self._stub.Detokenize, message, self._defaults.begin(**call)).text

    def count_chat_tokens(
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
        return _call(self._stub.CountChatTokens, message, attempts)

    def apply_chat_template(
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
        return _call(self._stub.ApplyChatTemplate, message, attempts)


def _open_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    if credentials is None:
        return grpc.insecure_channel(target, channels.OPTIONS)
    return grpc.secure_channel(target, credentials, channels.OPTIONS)


def _opener(
    method: grpc.UnaryStreamMultiCallable[_Request, _Response], message: _Request
) -> OpenCall[_Response]:
    return lambda attempts: method(message, timeout=attempts.remaining_seconds, metadata=attempts.metadata)


def _call(
    method: grpc.UnaryUnaryMultiCallable[_Request, _Response], message: _Request, attempts: Attempts
) -> _Response:
    while True:
        try:
            response, call = method.with_call(
                message, timeout=attempts.remaining_seconds, metadata=attempts.metadata
            )
        except grpc.RpcError as error:
            time.sleep(attempts.wait_after(error))
        else:
            attempts.note_metadata(call.initial_metadata())
            return response
