"""A llamawire server that does what a test tells it, over a real socket."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from llamawire.v1 import (
    chat_pb2,
    chat_pb2_grpc,
    completion_pb2_grpc,
    embedding_pb2_grpc,
    model_pb2_grpc,
    tokenizer_pb2_grpc,
    usage_pb2,
)

Play = Callable[[grpc.ServicerContext], Iterator[Message]]


@dataclass
class Received:
    """One call as the server saw it."""

    request: Any
    metadata: dict[str, str | bytes]
    seconds_left: float | None


@dataclass
class FakeServer:
    """Each call takes the next play, whatever its method; a unary one answers with the play's first message."""

    target: str = ""
    received: list[Received] = field(default_factory=list)
    answered_request_id: str | None = None
    """Sent back in place of the caller's own id."""
    is_called: threading.Event = field(default_factory=threading.Event)
    """Set by the first call."""
    _plays: deque[Play] = field(default_factory=deque)
    _begins: deque[bool] = field(default_factory=deque)

    def plays(self, play: Play) -> None:
        """The next call gets what `play` yields."""
        self._plays.append(play)
        self._begins.append(True)

    def answers(self, *messages: Message) -> None:
        """The next call gets these messages."""
        self.plays(lambda context: iter(messages))

    def fails(
        self,
        code: grpc.StatusCode,
        *details: Message,
        message: str = "no",
        after: tuple[Message, ...] = (),
        begins: bool = True,
    ) -> None:
        """The next call gets some messages, and then an error; `begins`: the server had sent its metadata."""
        status = status_pb2.Status(code=code.value[0], message=message)
        for detail in details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)

        def play(context: grpc.ServicerContext) -> Iterator[Message]:
            yield from after
            context.abort_with_status(rpc_status.to_status(status))

        self.plays(play)
        self._begins[-1] = begins

    def breaks(self) -> None:
        """The next call is begun, and then its connection breaks."""

        def play(context: grpc.ServicerContext) -> Iterator[Message]:
            # What comes together with the end of a call, gRPC may lose.
            time.sleep(0.1)
            yield from ()
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

        self.plays(play)

    def hangs(self, *messages: Message) -> threading.Event:
        """The next call gets some messages and then nothing more; the event tells that the server saw its end."""
        is_over = threading.Event()

        def play(context: grpc.ServicerContext) -> Iterator[Message]:
            if not context.add_callback(is_over.set):
                is_over.set()
            yield from messages
            is_over.wait(10)

        self.plays(play)
        return is_over

    def begin(self, request: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        metadata = dict(context.invocation_metadata())
        self.received.append(Received(request, metadata, context.time_remaining()))
        self.is_called.set()
        request_id = self.answered_request_id or metadata["x-request-id"]
        if not self._plays:
            raise AssertionError("the test did not say what this call gets")
        if self._begins.popleft():
            context.send_initial_metadata((("x-request-id", request_id),))
        return self._plays.popleft()(context)


class FakeServices(
    chat_pb2_grpc.ChatServiceServicer,
    completion_pb2_grpc.CompletionServiceServicer,
    embedding_pb2_grpc.EmbeddingServiceServicer,
    model_pb2_grpc.ModelServiceServicer,
    tokenizer_pb2_grpc.TokenizerServiceServicer,
):
    def __init__(self, server: FakeServer) -> None:
        self._server = server

    def _stream(self, request, context):
        yield from self._server.begin(request, context)

    def _answer(self, request, context):
        return next(self._server.begin(request, context))

    StreamChatCompletion = _stream
    StreamCompletion = _stream
    LoadModel = _stream
    WatchModels = _stream
    CreateChatCompletion = _answer
    CreateCompletion = _answer
    CreateEmbeddings = _answer
    ListModels = _answer
    GetModel = _answer
    UnloadModel = _answer
    Tokenize = _answer
    Detokenize = _answer
    CountChatTokens = _answer
    ApplyChatTemplate = _answer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    # so_reuseport off: a port that is another test's is not to be shared with it
    running = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
    services = FakeServices(fake)
    chat_pb2_grpc.add_ChatServiceServicer_to_server(services, running)
    completion_pb2_grpc.add_CompletionServiceServicer_to_server(services, running)
    embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(services, running)
    model_pb2_grpc.add_ModelServiceServicer_to_server(services, running)
    tokenizer_pb2_grpc.add_TokenizerServiceServicer_to_server(services, running)
    fake.target = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    running.start()
    yield fake
    running.stop(grace=None).wait()


@pytest.fixture
def error_info() -> Callable[..., error_details_pb2.ErrorInfo]:
    """An ErrorInfo as a llamawire server sends it."""

    def build(reason: str, **metadata: str) -> error_details_pb2.ErrorInfo:
        return error_details_pb2.ErrorInfo(reason=reason, domain="llamawire", metadata=metadata)

    return build


@pytest.fixture
def retry_info() -> Callable[[float], error_details_pb2.RetryInfo]:
    """A RetryInfo that asks for so many seconds."""

    def build(seconds: float) -> error_details_pb2.RetryInfo:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(seconds * 1e9))
        return error_details_pb2.RetryInfo(retry_delay=delay)

    return build


@pytest.fixture
def text_chunks() -> Callable[..., list[chat_pb2.ChatCompletionChunk]]:
    """The chunks of an answer of one choice, as a server streams them: role, texts, finish reason with usage."""

    def build(*texts: str) -> list[chat_pb2.ChatCompletionChunk]:
        def chunk(**choice: Any) -> chat_pb2.ChatCompletionChunk:
            return chat_pb2.ChatCompletionChunk(
                id="chatcmpl-1", created=1, model="m", choices=[chat_pb2.ChunkChoice(index=0, **choice)]
            )

        first = chunk(delta=chat_pb2.Delta(role=chat_pb2.ROLE_ASSISTANT, content=""))
        last = chunk(finish_reason=chat_pb2.FINISH_REASON_STOP)
        last.usage.CopyFrom(
            usage_pb2.Usage(prompt_tokens=3, completion_tokens=len(texts), total_tokens=3 + len(texts))
        )
        last.timings.generation.FromMilliseconds(500)
        return [first, *(chunk(delta=chat_pb2.Delta(content=text)) for text in texts), last]

    return build
