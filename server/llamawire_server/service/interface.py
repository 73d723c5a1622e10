"""The interface that both sides of the wire are written against.

The gRPC servicers and the HTTP shim call a `Service` and know nothing else of the server. One
implementation runs models in this process's pool; another forwards to a remote gRPC server.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from llamawire.v1 import chat_pb2, model_pb2, tokenizer_pb2


@dataclass(frozen=True)
class Call:
    """What a transport knows of one call beside the request itself."""

    request_id: str
    """Names the call in logs and comes back to the caller."""

    timeout_seconds: float | None = None
    """What is left of the caller's deadline; waiting in any line counts. None: there is no deadline."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    """Headers to pass on when the call is forwarded, such as `traceparent`. Keys are lower-case."""


class Service(Protocol):
    """The RPCs of llamawire.v1. Every method raises `ServiceError`, and nothing else, when it fails.

    Cancelling the task that awaits a method, or closing its generator, cancels the work.
    """

    async def create_chat_completion(
        self, request: chat_pb2.ChatCompletionRequest, call: Call
    ) -> chat_pb2.ChatCompletion:
        """The whole answer at once."""
        ...

    def stream_chat_completion(
        self, request: chat_pb2.ChatCompletionRequest, call: Call
    ) -> AsyncGenerator[chat_pb2.ChatCompletionChunk, None]:
        """The answer as it is generated. An error that comes before the first chunk did no work.

        For each choice: a chunk with its role, chunks with deltas, a chunk with its finish reason. One chunk
        may hold news of several choices. The last chunk has usage and timings.
        """
        ...

    async def list_models(
        self, request: model_pb2.ListModelsRequest, call: Call
    ) -> model_pb2.ListModelsResponse:
        """Every model that a request could name."""
        ...

    async def get_model(self, request: model_pb2.GetModelRequest, call: Call) -> model_pb2.GetModelResponse:
        """One model by name."""
        ...

    async def tokenize(
        self, request: tokenizer_pb2.TokenizeRequest, call: Call
    ) -> tokenizer_pb2.TokenizeResponse:
        """Text to tokens."""
        ...

    async def detokenize(
        self, request: tokenizer_pb2.DetokenizeRequest, call: Call
    ) -> tokenizer_pb2.DetokenizeResponse:
        """Tokens to text."""
        ...

    async def count_chat_tokens(
        self, request: tokenizer_pb2.CountChatTokensRequest, call: Call
    ) -> tokenizer_pb2.CountChatTokensResponse:
        """The length of a chat request's prompt."""
        ...

    async def is_serving(self) -> bool:
        """Whether new calls are taken now: started, and not draining."""
        ...
