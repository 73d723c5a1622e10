"""Failures as HTTP answers, in the form that the asked path's API has for them; OpenAI's is the usual one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from llamawire_server.errors import Condition, FieldViolation, ServiceError, engine_fault, listing
from llamawire_server.shim.http.dialect import dialect_of
from llamawire_server.shim.http.disconnect import CallerGoneError

# Conditions that the same request will meet again, after as much work: OpenAI's and Anthropic's clients repeat every
# 5xx unless told not to.
_LASTING = (Condition.ENGINE, Condition.DEADLINE)

# Reasons that OpenAI has a code of its own for, beside those of the error table.
_CODES = {
    "CONTEXT_LENGTH_EXCEEDED": "context_length_exceeded",
    "PREVIOUS_RESPONSE_NOT_FOUND": "previous_response_not_found",
}

_STATUS_CALLER_GONE = 499


class OpenAIDialect:
    """OpenAI's, which is spoken wherever no API has another one."""

    request_id_headers: tuple[str, ...] = ()

    def error(self, error: ServiceError, request_id: str) -> dict[str, Any]:
        """The error without the request's id, which is in a header."""
        return error_body(error)

    def http_error(self, status: int, message: str, request_id: str) -> dict[str, Any]:
        """An error without a code."""
        return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def error_body(error: ServiceError) -> dict[str, Any]:
    """The error in OpenAI's form. `error` must stay the first key: some clients look no further."""
    row = error.condition.value
    return {
        "error": {
            "message": error.message,
            "type": row.openai_type,
            "param": error.violations[0].field if error.violations else None,
            "code": _CODES.get(error.reason, row.openai_code),
        }
    }


def error_response(error: ServiceError, scope: Scope) -> Response:
    """The whole answer to a request that failed."""
    return Response(
        msgspec.json.encode(dialect_of(scope).error(error, scope["state"]["request_id"])),
        status_code=error.condition.value.http_status,
        headers=_retry_headers(error),
        media_type="application/json",
    )


def unexpected() -> ServiceError:
    """What callers are told of an exception that nobody foresaw: nothing of its text."""
    return engine_fault("the server failed to answer this request")


def in_callers_words(error: ServiceError, scope: Scope) -> ServiceError:
    """The error with every field called what the request, where it was understood, calls it."""
    rename = scope["state"].get("rename")
    return error if rename is None else as_sent(error, rename)


def as_sent(error: ServiceError, rename: Callable[[str], str]) -> ServiceError:
    """The error of a request, with every bad field under the name that the request has it under."""
    violations = tuple(
        FieldViolation(rename(violation.field), violation.description) for violation in error.violations
    )
    if violations == tuple(error.violations):
        return error
    message = listing(violations) if error.lists_violations else error.message
    return replace(error, violations=violations, message=message)


async def handle_service_error(request: Request, error: ServiceError) -> Response:
    """Answers a call that failed."""
    return error_response(in_callers_words(error, request.scope), request.scope)


async def handle_http_exception(request: Request, error: HTTPException) -> Response:
    """Answers an unknown path or a method that a path does not have."""
    message = f"{error.detail}: {request.method} {request.url.path}"
    dialect = dialect_of(request.scope)
    body = dialect.http_error(error.status_code, message, request.state.request_id)
    return Response(
        msgspec.json.encode(body), error.status_code, headers=error.headers, media_type="application/json"
    )


async def handle_caller_gone(_request: Request, _error: CallerGoneError) -> Response:
    """Answers nobody: the status is for what is logged and counted."""
    return Response(status_code=_STATUS_CALLER_GONE)


def _retry_headers(error: ServiceError) -> dict[str, str]:
    seconds = error.retry_after_seconds
    if seconds is not None:
        return {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}
    return {"x-should-retry": "false"} if error.condition in _LASTING else {}
