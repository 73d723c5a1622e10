"""What every RPC has in common: request ids, deadlines, undecodable requests, errors as statuses."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from llamawire_server.errors import (
    Condition,
    ServiceError,
    engine_fault,
    invalid_field,
    to_status,
)
from llamawire_server.service.interface import REQUEST_ID_HEADER, Call, request_id_from, trace_from

if TYPE_CHECKING:
    # Generic in their stubs only.
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]

log = logging.getLogger(__name__)

STATUS_DETAILS = "grpc-status-details-bin"

_current_call: contextvars.ContextVar[Call] = contextvars.ContextVar("current_call")


def current_call() -> Call:
    """The call that the running handler answers."""
    return _current_call.get()


class BadRequest:
    """Stands in for a request that could not be decoded, until the handler can say so."""

    def __init__(self, error: ServiceError) -> None:
        self.error = error


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler of llamawire's own services; health and reflection are left as they are."""

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler: Any = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith("/llamawire."):
            return handler  # type: ignore[no-any-return]
        decode = self._decoder(handler.request_deserializer)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                _streaming(handler.unary_stream), decode, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            _unary(handler.unary_unary), decode, handler.response_serializer
        )

    def _decoder(self, decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        def decode_or_explain(data: bytes) -> Any:
            if len(data) > self._max_message_bytes:
                return BadRequest(
                    ServiceError(
                        Condition.TOO_LARGE,
                        "MESSAGE_TOO_LARGE",
                        f"the request has {len(data)} bytes; at most {self._max_message_bytes} are taken",
                    )
                )
            try:
                return decode(data)
            except (DecodeError, UnicodeDecodeError) as error:
                # gRPC itself would answer INTERNAL, as if the fault were ours.
                return BadRequest(
                    invalid_field("request", f"is no valid message: {error}", "MALFORMED_REQUEST")
                )

        return decode_or_explain


def _unary(behaviour: Callable[[Any, Context], Awaitable[Any]]) -> Any:
    async def handle(request: Any, context: Context) -> Any:
        call = await _begin(context)
        try:
            if isinstance(request, BadRequest):
                raise request.error
            return await behaviour(request, context)
        except Exception as error:
            await _abort(context, error, call)

    return handle


def _streaming(behaviour: Callable[[Any, Context], AsyncGenerator[Any, None]]) -> Any:
    async def handle(request: Any, context: Context) -> AsyncGenerator[Any, None]:
        call = await _begin(context)
        try:
            if isinstance(request, BadRequest):
                raise request.error
            responses = behaviour(request, context)
            try:
                async for response in responses:
                    yield response
            finally:
                # A caller's cancel and its deadline arrive here; the work ends before the handler does.
                await responses.aclose()
        except Exception as error:
            await _abort(context, error, call)

    return handle


async def _begin(context: Context) -> Call:
    headers = [(key.lower(), value) for key, value in context.invocation_metadata() or ()]
    remaining = context.time_remaining()  # type: ignore[no-untyped-call,unused-ignore]
    call = Call(
        request_id_from(dict(headers).get(REQUEST_ID_HEADER)),
        timeout_seconds=remaining,
        metadata=trace_from(headers),
    )
    _current_call.set(call)
    await context.send_initial_metadata(_echo(call))
    return call


def _echo(call: Call) -> tuple[tuple[str, str], ...]:
    return ((REQUEST_ID_HEADER, call.request_id), *call.metadata.items())


async def _abort(context: Context, error: Exception, call: Call) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, ServiceError):
        log.error("call %s failed", call.request_id, exc_info=error)
        error = engine_fault("the call failed in the server")
    status = to_status(error, call.request_id)
    details: tuple[tuple[str, str | bytes], ...] = ((STATUS_DETAILS, status.SerializeToString()),)
    try:
        await context.abort(error.condition.value.grpc_code, status.message, trailing_metadata=details)
    except grpc.aio.InternalError:
        # The call has just ended by itself, as one does whose deadline passes: there is nobody to tell.
        raise asyncio.CancelledError from None
    raise AssertionError("abort raises")
