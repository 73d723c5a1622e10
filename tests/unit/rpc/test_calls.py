"""What all calls have in common: request ids, errors as statuses, requests that can't be read, callers who leave."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from llamawire.v1 import (
    chat_pb2,
    chat_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    tokenizer_pb2,
    tokenizer_pb2_grpc,
)
from llamawire_server.errors import (
    Condition,
    FieldViolation,
    ServiceError,
    from_status,
    invalid,
    model_not_found,
)
from llamawire_server.rpc.calls import STATUS_DETAILS, CallInterceptor

if TYPE_CHECKING:
    from conftest import ScriptedService

    Channel = grpc.aio.Channel

REQUEST = chat_pb2.ChatCompletionRequest(model="m")
KINDS = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


def chat(channel: Channel, *, streamed: bool, **options: Any) -> Any:
    stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
    method = stub.StreamChatCompletion if streamed else stub.CreateChatCompletion
    return method(REQUEST, **options)


def script(service: ScriptedService, outcome: Message | BaseException) -> None:
    """Let every call end like this."""

    async def answer(_: Any) -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return chat_pb2.ChatCompletion(id="x")

    async def stream(_: Any) -> AsyncGenerator[Any, None]:
        if isinstance(outcome, BaseException):
            raise outcome
        yield chat_pb2.ChatCompletionChunk(id="x")

    service.answer, service.stream = answer, stream


async def drain(call: Any) -> None:
    if isinstance(call, grpc.aio.UnaryStreamCall):
        async for _ in call:
            pass
    else:
        await call


async def failure(call: Any) -> tuple[grpc.aio.AioRpcError, status_pb2.Status]:
    """How a call fails, and the details that it brings."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drain(call)
    (value,) = (value for key, value in caught.value.trailing_metadata() if key == STATUS_DETAILS)
    status = status_pb2.Status.FromString(value)
    assert status.code == caught.value.code().value[0]
    assert status.message == caught.value.details()
    return caught.value, status


async def headers(call: Any) -> dict[str, str]:
    return dict(await call.initial_metadata())


@KINDS
@pytest.mark.parametrize("given", ["a", "Req:1/2.3_4=5+6-7", "~me@host", "x" * 128])
async def test_a_request_id_comes_back(
    channel: Channel, service: ScriptedService, given: str, streamed: bool
) -> None:
    script(service, chat_pb2.ChatCompletion())
    call = chat(channel, streamed=streamed, metadata=(("x-request-id", given),))
    await drain(call)
    assert (await headers(call))["x-request-id"] == given
    assert service.calls[0].request_id == given


@KINDS
@pytest.mark.parametrize("given", [None, "", "two words", 'quo"te', "x" * 129])
async def test_a_call_without_a_sane_request_id_is_given_one(
    channel: Channel, service: ScriptedService, given: str | None, streamed: bool
) -> None:
    script(service, chat_pb2.ChatCompletion())
    ids = []
    for _ in range(2):
        metadata = () if given is None else (("x-request-id", given),)
        call = chat(channel, streamed=streamed, metadata=metadata)
        await drain(call)
        ids.append((await headers(call))["x-request-id"])
    assert ids == [call.request_id for call in service.calls]
    assert all(made.startswith("req_") and made != given for made in ids)
    assert ids[0] != ids[1]


@KINDS
async def test_a_trace_goes_through_and_comes_back(
    channel: Channel, service: ScriptedService, streamed: bool
) -> None:
    script(service, chat_pb2.ChatCompletion())
    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "vendor=1,other=2"}
    call = chat(channel, streamed=streamed, metadata=(*trace.items(), ("secret", "x")))
    await drain(call)
    assert service.calls[0].metadata == trace
    returned = await headers(call)
    assert {key: returned[key] for key in trace} == trace
    assert "secret" not in returned


async def test_a_trace_in_pieces_is_put_together(channel: Channel, service: ScriptedService) -> None:
    script(service, chat_pb2.ChatCompletion())
    await drain(chat(channel, streamed=False, metadata=(("tracestate", "a=1"), ("tracestate", "b=2"))))
    assert service.calls[0].metadata == {"tracestate": "a=1,b=2"}


@KINDS
async def test_a_trace_that_is_too_long_to_come_back_is_left_out(
    channel: Channel, service: ScriptedService, streamed: bool
) -> None:
    script(service, chat_pb2.ChatCompletion())
    call = chat(channel, streamed=streamed, metadata=(("tracestate", "x" * 7000), ("traceparent", "y")))
    await drain(call)
    assert service.calls[0].metadata == {"traceparent": "y"}
    assert "tracestate" not in await headers(call)


async def test_an_error_brings_the_request_id(channel: Channel, service: ScriptedService) -> None:
    script(service, ServiceError(Condition.ENGINE, "BROKEN", "it broke"))
    call = chat(channel, streamed=False, metadata=(("x-request-id", "me"),))
    _, status = await failure(call)
    info = error_details_pb2.RequestInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.request_id == "me"
    assert (await headers(call))["x-request-id"] == "me"


@KINDS
async def test_a_deadline_is_told_to_the_service(
    channel: Channel, service: ScriptedService, streamed: bool
) -> None:
    script(service, chat_pb2.ChatCompletion())
    await drain(chat(channel, streamed=streamed))
    await drain(chat(channel, streamed=streamed, timeout=1000))
    without, with_one = service.calls
    assert without.timeout_seconds is None
    assert with_one.timeout_seconds is not None
    assert 0 < with_one.timeout_seconds < 1100, "gRPC rounds long ones up by a hundredth"


@KINDS
@pytest.mark.parametrize("condition", Condition)
async def test_every_condition_crosses_the_wire(
    channel: Channel, service: ScriptedService, condition: Condition, streamed: bool
) -> None:
    reason = "MESSAGE_TOO_LARGE" if condition is Condition.TOO_LARGE else "SOME_REASON"
    script(service, ServiceError(condition, reason, "déjà vu: 100 %\n"))
    error, status = await failure(chat(channel, streamed=streamed))
    assert error.code() is condition.value.grpc_code
    found = from_status(status)
    assert (found.condition, found.reason, str(found)) == (condition, reason, "déjà vu: 100 %\n")


@KINDS
async def test_a_fault_of_ours_is_logged_and_not_told(
    channel: Channel, service: ScriptedService, caplog: pytest.LogCaptureFixture, streamed: bool
) -> None:
    script(service, KeyError("/secret/path"))
    error, status = await failure(chat(channel, streamed=streamed, metadata=(("x-request-id", "me"),)))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert from_status(status).reason == "INFERENCE_ERROR"
    for told in (status, error.details(), error.debug_error_string(), error.trailing_metadata()):
        assert "secret" not in str(told)
        assert "KeyError" not in str(told)
    assert "/secret/path" in caplog.text
    assert "me" in caplog.messages[0]


async def test_an_error_after_chunks_is_a_status_too(channel: Channel, service: ScriptedService) -> None:
    async def stream(_: Any) -> AsyncGenerator[Any, None]:
        yield chat_pb2.ChatCompletionChunk(id="1")
        raise ServiceError(Condition.ENGINE, "WORKER_CRASHED", "gone")

    service.stream = stream
    call = chat(channel, streamed=True)
    chunks = aiter(call)
    assert (await anext(chunks)).id == "1"
    _, status = await failure(anext(chunks))
    assert from_status(status).reason == "WORKER_CRASHED"


@KINDS
@pytest.mark.parametrize("leave", ["cancel", "deadline"])
async def test_a_caller_who_leaves_ends_the_work(
    channel: Channel, service: ScriptedService, leave: str, streamed: bool
) -> None:
    has_begun, has_ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        has_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # a clean-up that takes its time
            has_ended.set()

    async def answer(_: Any) -> Any:
        await work()

    async def stream(_: Any) -> AsyncGenerator[Any, None]:
        yield chat_pb2.ChatCompletionChunk()
        await work()

    service.answer, service.stream = answer, stream
    call = chat(channel, streamed=streamed, timeout=0.3 if leave == "deadline" else None)
    if streamed:
        await call.read()
    if leave == "cancel":
        while not has_begun.is_set():
            await asyncio.sleep(0.001)
            assert not call.done()
        call.cancel()
    await asyncio.wait_for(has_ended.wait(), 30)
    assert await call.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


class EndedContext:
    """A call that ends in the moment in which its error is to be sent, as gRPC shows it."""

    def invocation_metadata(self) -> None:
        return None

    def time_remaining(self) -> None:
        return None

    async def send_initial_metadata(self, _: Any) -> None:
        pass

    async def abort(self, *_: Any, **__: Any) -> None:
        raise grpc.aio.InternalError("Failed execute_batch")


async def test_an_error_that_finds_nobody_any_more_is_no_fault_of_ours() -> None:
    async def behaviour(*_: Any) -> None:
        raise ServiceError(Condition.DEADLINE, "DEADLINE_EXCEEDED", "the deadline has passed")

    async def find_handler(_: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(behaviour)

    details: Any = SimpleNamespace(method="/llamawire.v1.ChatService/CreateChatCompletion")
    handler: Any = await CallInterceptor(1000).intercept_service(find_handler, details)
    # gRPC takes that for the caller's doing, and any other exception for an error that it logs.
    with pytest.raises(asyncio.CancelledError):
        await handler.unary_unary(REQUEST, EndedContext())


@pytest.mark.parametrize("method", ["CreateChatCompletion", "StreamChatCompletion"])
@pytest.mark.parametrize("body", [b"\x0a\x04\xff\xfe\xfd\xfc", b"\x0a\xff\xff\xff\xff\x0f", b"\xff" * 11])
async def test_bytes_that_are_no_message_are_the_caller_s_mistake(
    channel: Channel, service: ScriptedService, method: str, body: bytes
) -> None:
    path = f"/llamawire.v1.ChatService/{method}"
    raw: Any = channel.unary_stream(path) if method.startswith("Stream") else channel.unary_unary(path)
    error, status = await failure(raw(body, metadata=(("x-request-id", "me"),)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = from_status(status)
    assert (found.reason, [v.field for v in found.violations]) == ("MALFORMED_REQUEST", ["request"])
    assert service.calls == []


async def test_a_request_over_the_limit_is_refused_with_both_numbers(
    channel: Channel, service: ScriptedService
) -> None:
    stub: Any = model_pb2_grpc.ModelServiceStub(channel)
    request = model_pb2.GetModelRequest(name="x" * 200_000)
    error, status = await failure(stub.GetModel(request))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    found = from_status(status)
    assert (found.condition, found.reason) == (Condition.TOO_LARGE, "MESSAGE_TOO_LARGE")
    assert str(request.ByteSize()) in str(found)
    assert "200000" in str(found)
    assert service.calls == []


async def test_every_method_reaches_the_service(channel: Channel, service: ScriptedService) -> None:
    models: Any = model_pb2_grpc.ModelServiceStub(channel)
    tokenizer: Any = tokenizer_pb2_grpc.TokenizerServiceStub(channel)
    script(service, model_not_found("m"))
    requests = {
        models.GetModel: model_pb2.GetModelRequest(name="m"),
        models.ListModels: model_pb2.ListModelsRequest(),
        models.LoadModel: model_pb2.LoadModelRequest(name="m"),
        models.UnloadModel: model_pb2.UnloadModelRequest(name="m", cancel_running=True),
        models.WatchModels: model_pb2.WatchModelsRequest(names=["m"]),
        tokenizer.Tokenize: tokenizer_pb2.TokenizeRequest(model="m", text="x"),
        tokenizer.Detokenize: tokenizer_pb2.DetokenizeRequest(model="m", tokens=[1]),
        tokenizer.CountChatTokens: tokenizer_pb2.CountChatTokensRequest(request=REQUEST),
        tokenizer.ApplyChatTemplate: tokenizer_pb2.ApplyChatTemplateRequest(request=REQUEST),
    }
    for method, request in requests.items():
        error, _ = await failure(method(request))
        assert error.code() is grpc.StatusCode.NOT_FOUND
    assert service.requests == list(requests.values())


async def test_an_unknown_method_is_unimplemented(channel: Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/llamawire.v1.ChatService/Nothing")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


LARGE_ERRORS = {
    "500 bad fields": invalid([FieldViolation(f"stop_token_ids[{i}]", "-1 is no token") for i in range(500)]),
    "500 long ones": invalid([FieldViolation("🙂" * 100, "🙂" * 1000) for _ in range(500)]),
    "a name of 100 KB": model_not_found("x" * 100_000),
    "a name of 100 KB in UTF-8": model_not_found("🙂" * 25_000),
    "control characters": ServiceError(Condition.ENGINE, "X", "\x01%" * 50_000),
}


@KINDS
@pytest.mark.parametrize("case", LARGE_ERRORS)
async def test_an_error_arrives_whole_however_much_there_is_to_say(
    address: str, service: ScriptedService, case: str, streamed: bool
) -> None:
    expected = LARGE_ERRORS[case]
    script(service, expected)
    # A client that takes no more than gRPC's soft limit of 8 KiB, above which others drop calls by chance.
    options = [("grpc.absolute_max_metadata_size", 8192), ("grpc.max_metadata_size", 8192)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        error, status = await failure(chat(channel, streamed=streamed))
    assert error.code() is expected.condition.value.grpc_code
    found = from_status(status)
    assert (found.condition, found.reason) == (expected.condition, expected.reason)
    assert str(expected).startswith(str(found).removesuffix("…"))
    assert len(found.violations) <= 33


async def test_the_details_are_where_other_libraries_look(channel: Channel, service: ScriptedService) -> None:
    script(service, invalid([FieldViolation("temperature", f"is {math.nan}")]))
    error, status = await failure(chat(channel, streamed=False))

    class Sync:
        """The call as the library of the blocking API expects it."""

        code = error.code
        details = error.details
        trailing_metadata = error.trailing_metadata

    assert rpc_status.from_call(Sync) == status  # type: ignore[arg-type]
