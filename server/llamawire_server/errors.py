"""Every way a call can fail, in one table, and its form as a gRPC status.

A failure is raised as a `ServiceError` wherever it is noticed, and turned into a status or an HTTP answer
only at the edge. The details are those of google.rpc (error_details.proto); every error carries an
ErrorInfo whose `reason` is what clients decide on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN = "llamawire"

# What a caller is told to wait while a model loads or the server drains, in seconds.
DEFAULT_RETRY_SECONDS = 10.0

# A status travels in trailing metadata, of which gRPC's clients take 8 KiB in all and drop the rest, code and
# details included. The message is there twice, once with three bytes for each one that is not ASCII, and the details
# grow by a third on their way.
MAX_MESSAGE_BYTES = 1024
MAX_RESOURCE_BYTES = 512
MAX_VIOLATIONS = 32
MAX_VIOLATIONS_BYTES = 2048
MAX_VIOLATION_BYTES = 512


@dataclass(frozen=True)
class Row:
    """One row of the error table: what each side of the wire says about a condition."""

    grpc_code: grpc.StatusCode
    http_status: int
    openai_type: str
    openai_code: str | None = None
    retry_seconds: float | None = None


class Condition(Enum):
    """What went wrong, as callers are to tell it apart."""

    INVALID = Row(grpc.StatusCode.INVALID_ARGUMENT, 400, "invalid_request_error")
    UNKNOWN_MODEL = Row(grpc.StatusCode.NOT_FOUND, 404, "model_not_found", "model_not_found")
    UNSUPPORTED = Row(grpc.StatusCode.FAILED_PRECONDITION, 400, "invalid_request_error")
    UNAUTHENTICATED = Row(grpc.StatusCode.UNAUTHENTICATED, 401, "authentication_error")
    FORBIDDEN = Row(grpc.StatusCode.PERMISSION_DENIED, 403, "permission_error")
    BUSY = Row(grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "rate_limit_error", retry_seconds=1.0)
    TOO_LARGE = Row(grpc.StatusCode.RESOURCE_EXHAUSTED, 413, "invalid_request_error")
    NOT_READY = Row(
        grpc.StatusCode.UNAVAILABLE,
        503,
        "model_loading",
        "model_loading",
        retry_seconds=DEFAULT_RETRY_SECONDS,
    )
    DEADLINE = Row(grpc.StatusCode.DEADLINE_EXCEEDED, 504, "timeout", "timeout")
    CANCELLED = Row(grpc.StatusCode.CANCELLED, 499, "cancelled", "cancelled")
    ENGINE = Row(grpc.StatusCode.INTERNAL, 500, "inference_error", "inference_error")


@dataclass(frozen=True)
class FieldViolation:
    """One bad field: its path in the request, such as `messages[2].role`, and what is wrong with it."""

    field: str
    description: str


# The reasons of errors whose message is the list of their violations.
INVALID_FIELD = "INVALID_FIELD"
UNSUPPORTED = "UNSUPPORTED"


@dataclass(eq=False)
class ServiceError(Exception):
    """A failure that callers are told about.

    `reason` is UPPER_SNAKE_CASE and part of the contract; `message` is for people. `resource` names what
    was not found (UNKNOWN_MODEL). `retry_seconds` overrides the condition's own. `metadata` goes into
    ErrorInfo.
    """

    condition: Condition
    reason: str
    message: str
    violations: Sequence[FieldViolation] = ()
    resource: str = ""
    retry_seconds: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message

    @property
    def lists_violations(self) -> bool:
        """Whether the message has no words of its own: it only lists the violations."""
        return self.reason in (INVALID_FIELD, UNSUPPORTED)

    @property
    def retry_after_seconds(self) -> float | None:
        """How long to wait before trying again, in seconds; None where trying again is not offered."""
        return self.retry_seconds if self.retry_seconds is not None else self.condition.value.retry_seconds


def listing(violations: Sequence[FieldViolation]) -> str:
    """A message that names every bad field."""
    return "; ".join(
        f"{violation.field}: {violation.description}" if violation.field else violation.description
        for violation in violations
    )


def invalid(violations: Sequence[FieldViolation], reason: str = INVALID_FIELD) -> ServiceError:
    """A request with bad fields; its message names every one of them."""
    return ServiceError(Condition.INVALID, reason, listing(violations), violations=tuple(violations))


def invalid_field(name: str, description: str, reason: str = INVALID_FIELD) -> ServiceError:
    """A request with one bad field."""
    return invalid([FieldViolation(name, description)], reason)


def model_not_found(name: str, message: str | None = None, reason: str = "MODEL_NOT_FOUND") -> ServiceError:
    """No model answers to this name."""
    return ServiceError(
        Condition.UNKNOWN_MODEL, reason, message or f"no model is named '{name}'", resource=f"model/{name}"
    )


def unsupported(violations: Sequence[FieldViolation]) -> ServiceError:
    """A well-formed request for what this model or server can't do."""
    return ServiceError(Condition.UNSUPPORTED, UNSUPPORTED, listing(violations), violations=tuple(violations))


def engine_fault(message: str, reason: str = "INFERENCE_ERROR") -> ServiceError:
    """The engine failed; not the caller's doing."""
    return ServiceError(Condition.ENGINE, reason, message)


def to_status(error: ServiceError, request_id: str) -> status_pb2.Status:
    """The error as a google.rpc.Status, with the details that its condition calls for, cut to what can be sent."""
    condition = error.condition
    message = _clip(error.message, MAX_MESSAGE_BYTES)
    status = status_pb2.Status(code=condition.value.grpc_code.value[0], message=message)

    def attach(detail: Message) -> None:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)

    attach(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=dict(error.metadata)))
    if condition is Condition.INVALID:
        bad_request = error_details_pb2.BadRequest()
        for violation in _sendable(error.violations):
            bad_request.field_violations.add(field=violation.field, description=violation.description)
        attach(bad_request)
    elif condition is Condition.UNSUPPORTED:
        failure = error_details_pb2.PreconditionFailure()
        for violation in _sendable(error.violations):
            failure.violations.add(
                type=error.reason, subject=violation.field, description=violation.description
            )
        attach(failure)
    elif condition is Condition.UNKNOWN_MODEL:
        attach(
            error_details_pb2.ResourceInfo(
                resource_type="llamawire.v1.Model",
                resource_name=_clip(error.resource, MAX_RESOURCE_BYTES),
                description=_clip(error.message, MAX_RESOURCE_BYTES),
            )
        )
    elif condition is Condition.ENGINE:
        attach(error_details_pb2.RequestInfo(request_id=request_id))
    if (seconds := error.retry_after_seconds) is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(seconds * 1e9))
        attach(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def _sendable(violations: Sequence[FieldViolation]) -> list[FieldViolation]:
    """As many of the violations as there is room for, and one more that counts the others."""
    sendable: list[FieldViolation] = []
    room = MAX_VIOLATIONS_BYTES
    for violation in violations[:MAX_VIOLATIONS]:
        field = _clip(violation.field, MAX_VIOLATION_BYTES)
        description = _clip(violation.description, MAX_VIOLATION_BYTES)
        room -= len(field.encode()) + len(description.encode())
        if room < 0:
            break
        sendable.append(FieldViolation(field, description))
    if num_left := len(violations) - len(sendable):
        sendable.append(FieldViolation("", f"and {num_left} more are wrong"))
    return sendable


def _clip(text: str, max_bytes: int) -> str:
    """The text, or its beginning, as UTF-8 that fits; the names of files may be bytes that are none."""
    data = text.encode("utf-8", "replace")
    if len(data) > max_bytes:
        data = data[: max_bytes - len("…".encode())] + "…".encode()
    return data.decode("utf-8", "ignore")


def from_status(status: status_pb2.Status) -> ServiceError:
    """The error that `to_status` wrote, or the nearest one to a status that another program wrote."""
    reason, resource, retry_seconds = "", "", None
    metadata: dict[str, str] = {}
    violations: list[FieldViolation] = []
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        failure = error_details_pb2.PreconditionFailure()
        resource_info = error_details_pb2.ResourceInfo()
        retry = error_details_pb2.RetryInfo()
        # A detail that can't be read takes nothing from the others.
        with contextlib.suppress(DecodeError):
            if detail.Unpack(info):
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad_request):
                violations += [FieldViolation(v.field, v.description) for v in bad_request.field_violations]
            elif detail.Unpack(failure):
                violations += [FieldViolation(v.subject, v.description) for v in failure.violations]
            elif detail.Unpack(resource_info):
                resource = resource_info.resource_name
            elif detail.Unpack(retry):
                retry_seconds = retry.retry_delay.ToNanoseconds() / 1e9
    condition = _condition_of(status.code, reason)
    name = code_pb2.Code.Name(status.code) if status.code in code_pb2.Code.values() else "UNKNOWN"
    return ServiceError(
        condition,
        reason or name,
        status.message,
        violations=tuple(violations),
        resource=resource,
        retry_seconds=retry_seconds,
        metadata=metadata,
    )


def _condition_of(code: int, reason: str) -> Condition:
    if code == code_pb2.RESOURCE_EXHAUSTED:
        # gRPC itself refuses an oversized message with this code, and no details.
        return Condition.TOO_LARGE if reason in ("MESSAGE_TOO_LARGE", "") else Condition.BUSY
    for condition in Condition:
        if condition.value.grpc_code.value[0] == code:
            return condition
    return Condition.ENGINE
