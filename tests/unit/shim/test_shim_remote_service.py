"""A service that forwards to another server, against a real gRPC server in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

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
from llamawire_server.errors import Condition, ServiceError, invalid_field, model_not_found, to_status
from llamawire_server.service.interface import Call
from llamawire_server.shim.remote import RemoteService

CALL = Call("call-1", timeout_seconds=30.0, metadata={"traceparent": "00-1-2-01"})
REQUEST = chat_pb2.ChatCompletionRequest(model="smollm2")
PATIENCE_SECONDS = 10.0


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


@pytest.fixture
def servicer() -> FakeServicer:
    return FakeServicer()


@pytest.fixture
def healthy() -> health.aio.HealthServicer:
    return health.aio.HealthServicer()


@pytest_asyncio.fixture
async def remote(servicer: FakeServicer, healthy: Any) -> AsyncIterator[RemoteService]:
    server = grpc.aio.server()
    chat_pb2_grpc.add_ChatServiceServicer_to_server(servicer, server)
    embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(servicer, server)
    model_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    tokenizer_pb2_grpc.add_TokenizerServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield RemoteService(channel)
    await server.stop(None)


async def collect(remote: RemoteService) -> list[chat_pb2.ChatCompletionChunk]:
    async with aclosing(remote.stream_chat_completion(REQUEST, CALL)) as chunks:
        return [chunk async for chunk in chunks]


@pytest.mark.parametrize(
    ("method", "request_message", "expected"),
    [
        ("create_chat_completion", REQUEST, chat_pb2.ChatCompletion(id="a", model="smollm2")),
        (
            "list_models",
            model_pb2.ListModelsRequest(),
            model_pb2.ListModelsResponse(models=[model_pb2.Model(name="smollm2")]),
        ),
        (
            "get_model",
            model_pb2.GetModelRequest(name="tiny"),
            model_pb2.GetModelResponse(model=model_pb2.Model(name="tiny")),
        ),
        (
            "create_embeddings",
            embedding_pb2.CreateEmbeddingsRequest(model="a"),
            embedding_pb2.CreateEmbeddingsResponse(model="a"),
        ),
        (
            "unload_model",
            model_pb2.UnloadModelRequest(name="tiny", cancel_running=True),
            model_pb2.UnloadModelResponse(model=model_pb2.Model(name="tiny")),
        ),
        (
            "tokenize",
            tokenizer_pb2.TokenizeRequest(text="Hi"),
            tokenizer_pb2.TokenizeResponse(tokens=[1, 2]),
        ),
        (
            "detokenize",
            tokenizer_pb2.DetokenizeRequest(tokens=[1, 2]),
            tokenizer_pb2.DetokenizeResponse(text="Hi"),
        ),
        (
            "count_chat_tokens",
            tokenizer_pb2.CountChatTokensRequest(request=REQUEST),
            tokenizer_pb2.CountChatTokensResponse(prompt_tokens=7),
        ),
        (
            "apply_chat_template",
            tokenizer_pb2.ApplyChatTemplateRequest(request=REQUEST),
            tokenizer_pb2.ApplyChatTemplateResponse(prompt="Hi", tokens=[1]),
        ),
    ],
)
async def test_a_call_is_forwarded(remote, servicer, method, request_message, expected):
    assert await getattr(remote, method)(request_message, CALL) == expected
    assert servicer.request == request_message
    assert servicer.metadata["x-request-id"] == "call-1"
    assert servicer.metadata["traceparent"] == "00-1-2-01"
    assert 0 < servicer.seconds_left < 31  # gRPC rounds it up


@pytest.mark.parametrize(
    ("method", "request_message", "expected"),
    [
        (
            "stream_chat_completion",
            REQUEST,
            [chat_pb2.ChatCompletionChunk(id=f"{index}") for index in range(3)],
        ),
        (
            "load_model",
            model_pb2.LoadModelRequest(name="tiny"),
            [model_pb2.LoadModelResponse(model=model_pb2.Model(name=f"{index}")) for index in range(3)],
        ),
        (
            "watch_models",
            model_pb2.WatchModelsRequest(names=["tiny"]),
            [model_pb2.WatchModelsResponse(removed=[f"{index}"]) for index in range(3)],
        ),
    ],
)
async def test_a_stream_is_forwarded(remote, servicer, method, request_message, expected):
    async with aclosing(getattr(remote, method)(request_message, CALL)) as responses:
        assert [response async for response in responses] == expected
    assert servicer.request == request_message
    assert servicer.metadata["x-request-id"] == "call-1"
    assert 0 < servicer.seconds_left < 31  # gRPC rounds it up


async def test_no_deadline_is_made_up(remote, servicer):
    await remote.create_chat_completion(REQUEST, Call("call-2"))
    assert servicer.seconds_left is None or servicer.seconds_left > 1e6


def failing(error: ServiceError) -> Callable[[grpc.aio.ServicerContext], Awaitable[None]]:
    async def fail(context: grpc.aio.ServicerContext) -> None:
        details = to_status(error, "call-1").SerializeToString()
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
        await context.abort(error.condition.value.grpc_code, error.message)

    return fail


@pytest.mark.parametrize(
    "error",
    [
        invalid_field("messages[0].role", "is odd"),
        model_not_found("gpt-5"),
        ServiceError(Condition.BUSY, "QUEUE_FULL", "the queue is full", retry_seconds=2.5),
        ServiceError(Condition.NOT_READY, "MODEL_LOADING", "loading"),
        ServiceError(Condition.ENGINE, "INFERENCE_ERROR", "it broke", metadata={"model": "smollm2"}),
    ],
    ids=lambda error: error.reason,
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_error_keeps_everything(remote, servicer, error, streamed):
    servicer.fails = failing(error)
    with pytest.raises(ServiceError) as caught:
        await (collect(remote) if streamed else remote.create_chat_completion(REQUEST, CALL))
    found = caught.value
    assert (found.condition, found.reason, found.message) == (error.condition, error.reason, error.message)
    assert list(found.violations) == list(error.violations)
    assert found.resource == error.resource
    assert found.retry_after_seconds == error.retry_after_seconds
    assert found.metadata == error.metadata


@pytest.mark.parametrize(
    ("code", "condition", "message"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, Condition.INVALID, "what happened"),
        (grpc.StatusCode.NOT_FOUND, Condition.UNKNOWN_MODEL, "what happened"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Condition.TOO_LARGE, "what happened"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Condition.DEADLINE, "what happened"),
        (grpc.StatusCode.CANCELLED, Condition.CANCELLED, "what happened"),
        (grpc.StatusCode.UNAVAILABLE, Condition.NOT_READY, "the model server can't be reached"),
        (grpc.StatusCode.INTERNAL, Condition.ENGINE, "the model server failed"),
        (grpc.StatusCode.UNIMPLEMENTED, Condition.ENGINE, "what happened"),
    ],
)
@pytest.mark.parametrize("details", [None, b"\xff\xff"])
async def test_a_status_without_details(remote, servicer, code, condition, message, details):
    async def fail(context: grpc.aio.ServicerContext) -> None:
        if details is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", details),))
        await context.abort(code, "what happened")

    servicer.fails = fail
    with pytest.raises(ServiceError) as caught:
        await remote.create_chat_completion(REQUEST, CALL)
    assert (caught.value.condition, caught.value.message) == (condition, message)


async def test_a_connection_that_breaks_in_a_stream_is_no_server_that_is_not_ready(remote, servicer):
    """Which would promise that no work was done."""

    async def fail(context: grpc.aio.ServicerContext) -> None:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    servicer.fails = fail
    with pytest.raises(ServiceError) as caught:
        await collect(remote)
    assert caught.value.condition is Condition.ENGINE
    servicer.num_chunks = 0
    with pytest.raises(ServiceError) as caught:
        await collect(remote)
    assert caught.value.condition is Condition.NOT_READY


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("details", [None, "another program's"])
async def test_a_server_that_goes_away_after_it_has_begun(remote, servicer, streamed, details):
    """It sends its metadata as it begins: after that, work was done, though no answer had come."""

    async def fail(context: grpc.aio.ServicerContext) -> None:
        await context.send_initial_metadata((("x-request-id", "call-1"),))
        await asyncio.sleep(0.1)  # what comes together with the end of a call, gRPC may lose
        if details is not None:
            status = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message=details)
            status.details.add().Pack(error_details_pb2.ErrorInfo(reason="RESET", domain="a-proxy"))
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        await context.abort(grpc.StatusCode.UNAVAILABLE, details or "Socket closed")

    servicer.fails, servicer.num_chunks = fail, 0
    with pytest.raises(ServiceError) as caught:
        await (collect(remote) if streamed else remote.create_chat_completion(REQUEST, CALL))
    assert caught.value.condition is Condition.ENGINE
    assert caught.value.message == "the connection to the model server broke"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_server_that_says_that_no_work_was_done_is_believed(remote, servicer, streamed):
    error = ServiceError(Condition.NOT_READY, "DRAINING", "the server is shutting down")

    async def fail(context: grpc.aio.ServicerContext) -> None:
        await context.send_initial_metadata((("x-request-id", "call-1"),))
        await failing(error)(context)

    servicer.fails, servicer.num_chunks = fail, 0
    with pytest.raises(ServiceError) as caught:
        await (collect(remote) if streamed else remote.create_chat_completion(REQUEST, CALL))
    assert (caught.value.condition, caught.value.reason) == (Condition.NOT_READY, "DRAINING")


async def test_an_exception_in_the_other_server_tells_nothing_of_itself(remote, servicer, caplog):
    async def fail(_context: object) -> None:
        raise KeyError("secret")

    servicer.fails = fail
    with pytest.raises(ServiceError) as caught:
        await remote.create_chat_completion(REQUEST, CALL)
    assert caught.value.condition is Condition.ENGINE
    assert "secret" not in caught.value.message
    assert "secret" in caplog.text


async def test_a_deadline_that_passes(remote, servicer):
    servicer.hangs = True
    with pytest.raises(ServiceError) as caught:
        await remote.create_chat_completion(REQUEST, Call("call-1", timeout_seconds=0.05))
    assert caught.value.condition is Condition.DEADLINE


async def test_a_cancelled_call_is_cancelled_over_there(remote, servicer):
    servicer.hangs = True
    working = asyncio.create_task(remote.create_chat_completion(REQUEST, CALL))
    await asyncio.wait_for(servicer.began.wait(), PATIENCE_SECONDS)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await asyncio.wait_for(servicer.ended.wait(), PATIENCE_SECONDS)


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_stream_that_is_given_up_is_cancelled_over_there(remote, servicer, waiting):
    servicer.hangs = True
    chunks = remote.stream_chat_completion(REQUEST, CALL)
    assert [(await anext(chunks)).id for _ in range(servicer.num_chunks)] == ["0", "1", "2"]
    await asyncio.wait_for(servicer.began.wait(), PATIENCE_SECONDS)
    if waiting:
        pulling = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
    await chunks.aclose()
    await asyncio.wait_for(servicer.ended.wait(), PATIENCE_SECONDS)


async def test_it_serves_where_the_other_does(remote, healthy):
    serving = health_pb2.HealthCheckResponse.ServingStatus
    await healthy.set("", serving.SERVING)
    assert await remote.is_serving()
    await healthy.set("", serving.NOT_SERVING)
    assert not await remote.is_serving()


async def test_a_server_that_is_not_there():
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        remote = RemoteService(channel)
        assert not await remote.is_serving()
        with pytest.raises(ServiceError) as caught:
            await remote.create_chat_completion(REQUEST, CALL)
    assert caught.value.condition is Condition.NOT_READY
    assert "127.0.0.1" not in caught.value.message
