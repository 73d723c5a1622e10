"""The interface that both sides of the wire are written against.

The gRPC servicers and the HTTP shim call a `Service` and know nothing else of the server. One
implementation runs models in this process's pool; another forwards to a remote gRPC server.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from llamawire.v1 import chat_pb2, completion_pb2, embedding_pb2, model_pb2, tokenizer_pb2

REQUEST_ID_HEADER = "x-request-id"

# What other people's logs and headers bear without escaping.
REQUEST_ID = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")

TRACE_HEADERS = ("traceparent", "tracestate")

# What a header of a trace may hold: printable ASCII, which is what gRPC takes, and so much of it as everybody is to
# pass on. Longer ones would crowd other headers out.
_TRACE = re.compile(r"[\x20-\x7e]{1,512}")


@dataclass(frozen=True)
class Call:
    """What a transport knows of one call beside the request itself."""

    request_id: str
    """Names the call in logs and comes back to the caller."""

    timeout_seconds: float | None = None
    """What is left of the caller's deadline; waiting in any line counts. None: there is no deadline."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    """Headers to pass on when the call is forwarded, such as `traceparent`. Keys are lower-case."""


def request_id_from(value: str | bytes | None) -> str:
    """The caller's own id where it is fit for logs and headers, else a new one."""
    if isinstance(value, str) and REQUEST_ID.fullmatch(value):
        return value
    return f"req_{uuid.uuid4().hex}"


def trace_from(headers: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """The headers that make a call part of a trace, where they are fit to be passed on. Keys are lower-case."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        if name in TRACE_HEADERS and isinstance(value, str):
            values.setdefault(name, []).append(value)
    # A header that comes several times is a list in pieces.
    joined = {name: ",".join(parts) for name, parts in values.items()}
    return {name: value for name, value in joined.items() if _TRACE.fullmatch(value)}


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

    async def create_completion(
        self, request: completion_pb2.CompletionRequest, call: Call
    ) -> completion_pb2.Completion:
        """What comes after each of the prompts, all choices at once."""
        ...

    def stream_completion(
        self, request: completion_pb2.CompletionRequest, call: Call
    ) -> AsyncGenerator[completion_pb2.CompletionChunk, None]:
        """The choices as they are generated, of all prompts beside each other.

        One chunk may hold news of several choices. The last chunk has usage and timings.
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

    def load_model(
        self, request: model_pb2.LoadModelRequest, call: Call
    ) -> AsyncGenerator[model_pb2.LoadModelResponse, None]:
        """The model as it stands while it is loaded; the last response is the loaded model, with all of its facts.

        Whoever leaves early no longer waits for the load.
        """
        ...

    async def unload_model(
        self, request: model_pb2.UnloadModelRequest, call: Call
    ) -> model_pb2.UnloadModelResponse:
        """The model as it stands once it has left memory."""
        ...

    def watch_models(
        self, request: model_pb2.WatchModelsRequest, call: Call
    ) -> AsyncGenerator[model_pb2.WatchModelsResponse, None]:
        """All watched models, and then each change, until the caller leaves or the server drains."""
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

    async def apply_chat_template(
        self, request: tokenizer_pb2.ApplyChatTemplateRequest, call: Call
    ) -> tokenizer_pb2.ApplyChatTemplateResponse:
        """The prompt of a chat request."""
        ...

    async def create_embeddings(
        self, request: embedding_pb2.CreateEmbeddingsRequest, call: Call
    ) -> embedding_pb2.CreateEmbeddingsResponse:
        """The vectors of texts, in their order."""
        ...

    async def is_serving(self) -> bool:
        """Whether new calls are taken now: started, and not draining."""
        ...
