"""Every failure that a server can answer with, as the exception that a caller sees."""

from __future__ import annotations

import pickle
import socket

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

import llamawire
from llamawire import AsyncClient, Client
from llamawire.v1 import chat_pb2, chat_pb2_grpc
from llamawire_server import errors as server_errors

SAY_HELLO = {"model": "m", "messages": [("user", "hello")]}


def create(target: str, **settings) -> llamawire.LlamawireError:
    with Client(target, retries=0, **settings) as client, pytest.raises(llamawire.LlamawireError) as caught:
        client.chat.create(**SAY_HELLO)
    return caught.value


def fails_as_the_server_does(server, error: server_errors.ServiceError) -> None:
    """Let the next call fail exactly as the server's own error table has it."""
    status = server_errors.to_status(error, "id-of-the-server")

    def play(context):
        context.abort_with_status(rpc_status.to_status(status))
        yield

    server.plays(play)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (server_errors.Condition.INVALID, llamawire.InvalidRequestError),
        (server_errors.Condition.UNKNOWN_MODEL, llamawire.ModelNotFoundError),
        (server_errors.Condition.UNSUPPORTED, llamawire.UnsupportedError),
        (server_errors.Condition.UNAUTHENTICATED, llamawire.AuthenticationError),
        (server_errors.Condition.FORBIDDEN, llamawire.PermissionDeniedError),
        (server_errors.Condition.BUSY, llamawire.RateLimitError),
        (server_errors.Condition.TOO_LARGE, llamawire.MessageTooLargeError),
        (server_errors.Condition.NOT_READY, llamawire.UnavailableError),
        (server_errors.Condition.DEADLINE, llamawire.DeadlineExceededError),
        (server_errors.Condition.CANCELLED, llamawire.RequestCancelledError),
        (server_errors.Condition.ENGINE, llamawire.InferenceError),
    ],
)
def test_every_row_of_the_server_s_table(server, condition, expected):
    reason = "MESSAGE_TOO_LARGE" if condition is server_errors.Condition.TOO_LARGE else "SOME_REASON"
    error = server_errors.ServiceError(condition, reason, "what went wrong", metadata={"limit": "3"})
    fails_as_the_server_does(server, error)

    raised = create(server.target)

    assert type(raised) is expected
    assert (raised.code, raised.reason, raised.message) == (
        condition.value.grpc_code,
        reason,
        "what went wrong",
    )
    assert str(raised) == "what went wrong"
    assert raised.metadata == {"limit": "3"}
    assert raised.retry_after_seconds == error.retry_after_seconds
    assert raised.retryable == (error.retry_after_seconds is not None)
    assert isinstance(raised.__cause__, grpc.RpcError)


def test_no_row_of_the_server_s_table_is_forgotten():
    (mark,) = (mark for mark in test_every_row_of_the_server_s_table.pytestmark if mark.name == "parametrize")
    assert {condition for condition, _ in mark.args[1]} == set(server_errors.Condition)


def test_an_invalid_request_names_its_fields(server):
    violations = [
        server_errors.FieldViolation("messages[2].role", "is required"),
        server_errors.FieldViolation("top_p", "must be in (0, 1]"),
    ]
    fails_as_the_server_does(server, server_errors.invalid(violations))

    raised = create(server.target)

    assert raised.fields == {"messages[2].role": "is required", "top_p": "must be in (0, 1]"}


def test_what_is_unsupported_is_named(server):
    fails_as_the_server_does(
        server,
        server_errors.unsupported([server_errors.FieldViolation("messages[0].image_url", "can't see")]),
    )

    assert create(server.target).fields == {"messages[0].image_url": "can't see"}


def test_an_unknown_model_is_named(server):
    fails_as_the_server_does(server, server_errors.model_not_found("gpt-7"))

    assert create(server.target).model == "gpt-7"


def test_an_engine_fault_carries_the_server_s_request_id(server):
    fails_as_the_server_does(server, server_errors.engine_fault("decode failed"))

    assert create(server.target).request_id == "id-of-the-server"


def test_any_error_carries_the_request_id_that_came_back(server, error_info):
    server.answered_request_id = "came-back"
    server.fails(grpc.StatusCode.NOT_FOUND, error_info("MODEL_NOT_FOUND"))

    assert create(server.target).request_id == "came-back"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, llamawire.InvalidRequestError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, llamawire.MessageTooLargeError),
        (grpc.StatusCode.UNAVAILABLE, llamawire.ConnectionFailedError),
        (grpc.StatusCode.INTERNAL, llamawire.InferenceError),
        (grpc.StatusCode.UNKNOWN, llamawire.InferenceError),
        (grpc.StatusCode.UNIMPLEMENTED, llamawire.LlamawireError),
    ],
)
def test_an_error_without_details_goes_by_its_code(server, code, expected):
    server.fails(code)

    raised = create(server.target)

    assert type(raised) is expected
    assert (raised.reason, raised.metadata, raised.retry_after_seconds) == (code.name, {}, None)


def test_another_program_s_unavailable_is_a_failed_connection(server):
    server.fails(
        grpc.StatusCode.UNAVAILABLE, error_details_pb2.ErrorInfo(reason="NO_UPSTREAM", domain="proxy.example")
    )

    raised = create(server.target)

    assert type(raised) is llamawire.ConnectionFailedError
    assert raised.reason == "UNAVAILABLE"


def test_another_program_s_rate_limit_is_told_by_its_retry_info(server, retry_info):
    server.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_info(3))

    raised = create(server.target)

    assert type(raised) is llamawire.RateLimitError
    assert raised.retry_after_seconds == 3


def test_details_that_can_t_be_read_don_t_hide_the_error(server):
    def play(context):
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        yield

    server.plays(play)

    raised = create(server.target)

    assert type(raised) is llamawire.ModelNotFoundError
    assert raised.message == "no such model"


def test_a_detail_that_can_t_be_read_does_not_hide_the_others(server, error_info):
    status = status_pb2.Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="no such model")
    status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
    status.details.add().Pack(error_info("MODEL_NOT_FOUND"))

    def play(context):
        context.abort_with_status(rpc_status.to_status(status))
        yield

    server.plays(play)

    assert create(server.target).reason == "MODEL_NOT_FOUND"


def test_a_server_that_is_not_there():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and nobody listens

        raised = create(f"127.0.0.1:{nobody.getsockname()[1]}")

    assert type(raised) is llamawire.ConnectionFailedError
    assert raised.code is grpc.StatusCode.UNAVAILABLE
    assert raised.retryable
    assert raised.request_id


def test_a_request_that_the_server_finds_too_large(server):
    server.answers(chat_pb2.ChatCompletion())

    with Client(server.target, retries=0) as client, pytest.raises(llamawire.MessageTooLargeError):
        client.chat.create(model="m", messages=[("user", "x" * (5 * 1024 * 1024))])


@pytest.mark.parametrize("after", [(), (chat_pb2.ChatCompletionChunk(id="a"),)])
def test_a_stream_fails_like_a_single_call(server, error_info, after):
    server.fails(grpc.StatusCode.INTERNAL, error_info("INFERENCE_ERROR"), after=after)

    with Client(server.target) as client:
        stream = client.chat.stream(**SAY_HELLO)
        for _ in after:
            next(stream)
        with pytest.raises(llamawire.InferenceError) as caught:
            next(stream)

    assert caught.value.reason == "INFERENCE_ERROR"


async def test_an_asyncio_call_fails_alike(server, error_info, retry_info):
    async with AsyncClient(server.target, retries=0) as client:
        server.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, error_info("QUEUE_FULL", limit="8"), retry_info(1.5))
        with pytest.raises(llamawire.RateLimitError) as caught:
            await client.chat.create(**SAY_HELLO, request_id="mine")

    raised = caught.value
    assert (raised.reason, raised.metadata, raised.retry_after_seconds) == ("QUEUE_FULL", {"limit": "8"}, 1.5)
    assert raised.request_id == "mine"


async def test_an_asyncio_stream_fails_alike(server, error_info):
    bad_request = error_details_pb2.BadRequest(
        field_violations=[{"field": "top_p", "description": "too large"}]
    )
    server.fails(grpc.StatusCode.INVALID_ARGUMENT, error_info("INVALID_FIELD"), bad_request)

    async with AsyncClient(server.target) as client:
        with pytest.raises(llamawire.InvalidRequestError) as caught:
            await client.chat.stream(**SAY_HELLO).result()

    assert caught.value.fields == {"top_p": "too large"}


async def test_an_asyncio_server_s_errors_are_read_too(error_info):
    class Refusing(chat_pb2_grpc.ChatServiceServicer):
        async def CreateChatCompletion(self, request, context):  # noqa: N802
            status = status_pb2.Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="no")
            status.details.add().Pack(error_info("MODEL_NOT_FOUND"))
            await context.abort_with_status(rpc_status.to_status(status))

        async def StreamChatCompletion(self, request, context):  # noqa: N802
            yield chat_pb2.ChatCompletionChunk()

    running = grpc.aio.server()
    chat_pb2_grpc.add_ChatServiceServicer_to_server(Refusing(), running)
    port = running.add_insecure_port("127.0.0.1:0")
    await running.start()
    try:
        async with AsyncClient(f"127.0.0.1:{port}") as client:
            with pytest.raises(llamawire.ModelNotFoundError) as caught:
                await client.chat.create(**SAY_HELLO)
    finally:
        await running.stop(None)

    assert caught.value.reason == "MODEL_NOT_FOUND"


def test_errors_survive_pickling(server, error_info):
    server.fails(grpc.StatusCode.NOT_FOUND, error_info("MODEL_NOT_FOUND"), message="no such model")
    raised = create(server.target)

    copy = pickle.loads(pickle.dumps(raised))

    assert type(copy) is llamawire.ModelNotFoundError
    assert vars(copy) == vars(raised)
