"""Every way a call can fail, as an exception.

* LlamawireError
  - InvalidRequestError         a field is wrong, or the prompt is too long for the model's context
    · MessageTooLargeError      the message is larger than the server, or this client, takes
  - ModelNotFoundError          no model has that name
  - UnsupportedError            the model can't do what was asked
  - AuthenticationError         no key, or a wrong one
  - PermissionDeniedError       the key does not allow this
  - RateLimitError              the queue or the memory budget is full; try later
  - UnavailableError            the model is loading or the server drains; try later
    · ConnectionFailedError     no llamawire server answered at all
  - DeadlineExceededError       the timeout passed, waiting included
  - RequestCancelledError       the call was cancelled, by either side
  - InferenceError              the server failed
    · MalformedResponseError    what it sent can't be read, or was cut off

What a call raises is decided by the status code and the `reason` that the server sends, never by its text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from llamawire.metadata import find_request_id

DOMAIN = "llamawire"

_Detail = TypeVar("_Detail", bound=Message)


@dataclass(eq=False)
class LlamawireError(Exception):
    """A call failed. The gRPC error that it was made from is its `__cause__`."""

    message: str
    """What went wrong, for people."""

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    """The gRPC status code."""

    reason: str = ""
    """What went wrong, for programs: UPPER_SNAKE_CASE. The status code's name where the server sent none."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    """More facts about the reason, such as the limit that was passed."""

    request_id: str = ""
    """The id under which the server logged the call."""

    retry_after_seconds: float | None = None
    """How long the server asks to wait before another try; None where it says nothing."""

    def __post_init__(self) -> None:
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return False


@dataclass(eq=False)
class InvalidRequestError(LlamawireError):
    """The request is wrong; sending it again will not help."""

    fields: Mapping[str, str] = field(default_factory=dict)
    """What is wrong, by the field's path in the request, such as `messages[2].role`."""


@dataclass(eq=False)
class MessageTooLargeError(InvalidRequestError):
    """A request or an answer is larger than one side takes."""


@dataclass(eq=False)
class ModelNotFoundError(LlamawireError):
    """No model has the name."""

    model: str = ""
    """The name that was asked for."""


@dataclass(eq=False)
class UnsupportedError(LlamawireError):
    """The request is well-formed, and this model or server can't do it."""

    fields: Mapping[str, str] = field(default_factory=dict)
    """What can't be done, by the field's path in the request."""


@dataclass(eq=False)
class AuthenticationError(LlamawireError):
    """The call had no key, or a wrong one."""


@dataclass(eq=False)
class PermissionDeniedError(LlamawireError):
    """The key does not allow this."""


@dataclass(eq=False)
class RateLimitError(LlamawireError):
    """The server is busy: its queue or its memory budget is full."""

    @property
    def retryable(self) -> bool:
        return self.retry_after_seconds is not None


@dataclass(eq=False)
class UnavailableError(LlamawireError):
    """The server does not take the call now: the model is loading, or the server drains."""

    @property
    def retryable(self) -> bool:
        return True


@dataclass(eq=False)
class ConnectionFailedError(UnavailableError):
    """No llamawire server answered: it can't be reached, or the connection to it broke."""


@dataclass(eq=False)
class DeadlineExceededError(LlamawireError):
    """The timeout passed before the answer was complete."""


@dataclass(eq=False)
class RequestCancelledError(LlamawireError):
    """The call was cancelled: the stream was closed here, or the server ended it."""


@dataclass(eq=False)
class InferenceError(LlamawireError):
    """The server failed; not the caller's doing."""


@dataclass(eq=False)
class MalformedResponseError(InferenceError):
    """A server's answer over HTTP can't be read: it is no JSON, or of another form, or was cut off."""

    raw: str = ""
    """What could not be read, as it came; of what is too long, the beginning."""


_CLASSES: dict[grpc.StatusCode, type[LlamawireError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: ModelNotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: UnsupportedError,
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RateLimitError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.CANCELLED: RequestCancelledError,
    grpc.StatusCode.INTERNAL: InferenceError,
    grpc.StatusCode.UNKNOWN: InferenceError,
    grpc.StatusCode.DATA_LOSS: InferenceError,
}


def from_rpc_error(error: grpc.RpcError, request_id: str = "") -> LlamawireError:
    """The exception for a failed call of gRPC's, sync or asyncio; a plain LlamawireError for an unknown code.

    `request_id` is the id that was sent, for where none came back.
    """
    call = cast("grpc.Call", error)  # every RpcError of a channel's has what is read of a call here
    status = _status_of(call)
    info = _find(status, error_details_pb2.ErrorInfo)
    retry = _find(status, error_details_pb2.RetryInfo)
    is_ours = info is not None and info.domain == DOMAIN
    reason = info.reason if info is not None and is_ours else ""
    code = call.code()
    error_class = _class_of(code, reason, is_ours=is_ours, offers_retry=retry is not None)
    failure = error_class(
        message=call.details() or code.name,
        code=code,
        reason=reason or code.name,
        metadata=dict(info.metadata) if info is not None else {},
        request_id=_request_id_of(call, status) or request_id,
        retry_after_seconds=retry.retry_delay.ToNanoseconds() / 1e9 if retry is not None else None,
    )
    if isinstance(failure, (InvalidRequestError, UnsupportedError)):
        failure.fields = dict(_violations(status))
    elif isinstance(failure, ModelNotFoundError):
        resource = _find(status, error_details_pb2.ResourceInfo)
        failure.model = resource.resource_name.removeprefix("model/") if resource is not None else ""
    return failure


def _class_of(
    code: grpc.StatusCode, reason: str, *, is_ours: bool, offers_retry: bool
) -> type[LlamawireError]:
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # gRPC itself refuses an oversized message with this code, and no details.
        too_large = reason == "MESSAGE_TOO_LARGE" or not (is_ours or offers_retry)
        return MessageTooLargeError if too_large else RateLimitError
    if code is grpc.StatusCode.UNAVAILABLE and not is_ours:
        return ConnectionFailedError
    return _CLASSES.get(code, LlamawireError)


def _status_of(call: grpc.Call) -> status_pb2.Status:
    """The google.rpc.Status that the error carries, an empty one where it is absent or can't be read."""
    try:
        status = rpc_status.from_call(call)
    except (ValueError, DecodeError):
        status = None
    return status if status is not None else status_pb2.Status()


def _find(status: status_pb2.Status, kind: type[_Detail]) -> _Detail | None:
    detail = kind()
    for packed in status.details:
        try:
            if packed.Unpack(detail):
                return detail
        except DecodeError:
            continue
    return None


def _violations(status: status_pb2.Status) -> Iterator[tuple[str, str]]:
    bad_request = _find(status, error_details_pb2.BadRequest)
    failure = _find(status, error_details_pb2.PreconditionFailure)
    for violation in bad_request.field_violations if bad_request is not None else ():
        yield violation.field, violation.description
    for violation in failure.violations if failure is not None else ():
        yield violation.subject, violation.description


def _request_id_of(call: grpc.Call, status: status_pb2.Status) -> str:
    request = _find(status, error_details_pb2.RequestInfo)
    if request is not None and request.request_id:
        return str(request.request_id)
    return find_request_id(call.trailing_metadata()) or find_request_id(call.initial_metadata())
