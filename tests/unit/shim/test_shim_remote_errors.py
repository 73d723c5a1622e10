"""What goes wrong in another server, or on the way there: it is told as if it had been here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from remote_fakes import CALL, REQUEST

from llamawire.v1 import chat_pb2
from llamawire_server.errors import Condition, ServiceError, invalid_field, model_not_found, to_status
from llamawire_server.shim.remote import RemoteService


async def collect(remote: RemoteService) -> list[chat_pb2.ChatCompletionChunk]:
    async with aclosing(remote.stream_chat_completion(REQUEST, CALL)) as chunks:
        return [chunk async for chunk in chunks]


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


async def test_a_server_that_is_not_there():
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        remote = RemoteService(channel)
        assert not await remote.is_serving()
        with pytest.raises(ServiceError) as caught:
            await remote.create_chat_completion(REQUEST, CALL)
    assert caught.value.condition is Condition.NOT_READY
    assert "127.0.0.1" not in caught.value.message
