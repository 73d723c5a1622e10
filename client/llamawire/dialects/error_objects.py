"""Providers' error objects as llamawire's exceptions.

OpenAI's form is `{"error": {"message", "type", "param", "code"}}`, and providers fill it in as they like.
What an error is follows from its code, then from its type, then from the HTTP status. Never from its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import grpc

from llamawire.dialects.json_object import Json
from llamawire.errors import (
    AuthenticationError,
    DeadlineExceededError,
    InferenceError,
    InvalidRequestError,
    LlamawireError,
    MessageTooLargeError,
    ModelNotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestCancelledError,
    UnavailableError,
    UnsupportedError,
)

_GRPC_CODES: dict[type[LlamawireError], grpc.StatusCode] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    MessageTooLargeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ModelNotFoundError: grpc.StatusCode.NOT_FOUND,
    UnsupportedError: grpc.StatusCode.FAILED_PRECONDITION,
    AuthenticationError: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    RateLimitError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceededError: grpc.StatusCode.DEADLINE_EXCEEDED,
    RequestCancelledError: grpc.StatusCode.CANCELLED,
    InferenceError: grpc.StatusCode.INTERNAL,
}

# Codes and types in UPPER_SNAKE_CASE: those of OpenAI, llamawire, DeepSeek, Qwen, llama-server, vLLM, Anthropic.
_BY_NAME: dict[str, type[LlamawireError]] = {
    "INVALID_REQUEST_ERROR": InvalidRequestError,
    "INVALID_PARAMETER": InvalidRequestError,
    "INVALID_PARAMETER_ERROR": InvalidRequestError,
    "BAD_REQUEST_ERROR": InvalidRequestError,
    "CONTEXT_LENGTH_EXCEEDED": InvalidRequestError,
    "EXCEED_CONTEXT_SIZE_ERROR": InvalidRequestError,
    "DATA_INSPECTION_FAILED": InvalidRequestError,
    "REQUEST_TOO_LARGE": MessageTooLargeError,
    "MODEL_NOT_FOUND": ModelNotFoundError,
    "NOT_FOUND_ERROR": ModelNotFoundError,
    "NOT_SUPPORTED_ERROR": UnsupportedError,
    "AUTHENTICATION_ERROR": AuthenticationError,
    "INVALID_API_KEY": AuthenticationError,
    "PERMISSION_ERROR": PermissionDeniedError,
    "ACCESS_DENIED": PermissionDeniedError,
    "RATE_LIMIT_ERROR": RateLimitError,
    "RATE_LIMIT_EXCEEDED": RateLimitError,
    "INSUFFICIENT_QUOTA": RateLimitError,
    "LIMIT_REQUESTS": RateLimitError,
    "MODEL_LOADING": UnavailableError,
    "UNAVAILABLE_ERROR": UnavailableError,
    "SERVICE_UNAVAILABLE": UnavailableError,
    "OVERLOADED_ERROR": UnavailableError,
    "TIMEOUT": DeadlineExceededError,
    "TIMEOUT_ERROR": DeadlineExceededError,
    "CANCELLED": RequestCancelledError,
    "INFERENCE_ERROR": InferenceError,
    "SERVER_ERROR": InferenceError,
    "INTERNAL_ERROR": InferenceError,
    "INTERNAL_SERVER_ERROR": InferenceError,
    "API_ERROR": InferenceError,
}

_BY_STATUS: dict[int, type[LlamawireError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: ModelNotFoundError,
    408: DeadlineExceededError,
    413: MessageTooLargeError,
    422: InvalidRequestError,
    429: RateLimitError,
    499: RequestCancelledError,
    501: UnsupportedError,
    503: UnavailableError,
    504: DeadlineExceededError,
    529: UnavailableError,
}

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")


def find_error(source: Json) -> LlamawireError | None:
    """The error that stands in place of an answer, or beside one that it ends; None where there is none."""
    error = source.get("error")
    if error:
        return _failure(error if isinstance(error, dict) else {"message": str(error)})
    if source.get("object") == "error":  # vLLM's older form
        return _failure(source)
    return None


def event_error(source: Json) -> LlamawireError:
    """The error that an event of the type "error" is, in whatever form."""
    return find_error(source) or _failure(source)


def http_error(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> LlamawireError:
    """The exception for a response whose status is no success.

    `headers` may say when to try again (`retry-after-ms`, or `retry-after` in seconds) and which request it was
    (`x-request-id`), in lower or upper case.
    """
    try:
        source = json.loads(body)
    except (ValueError, RecursionError):
        source = {}
    error = (source.get("error") or source) if isinstance(source, dict) else {}
    failure = _failure(error if isinstance(error, dict) else {"message": str(error)}, status)
    values = {name.lower(): value for name, value in (headers or {}).items()}
    failure.request_id = values.get("x-request-id", "")
    failure.retry_after_seconds = _seconds(values.get("retry-after-ms"), 1000) or _seconds(
        values.get("retry-after"), 1
    )
    return failure


def _failure(error: Mapping[str, Any], status: int | None = None) -> LlamawireError:
    code, kind, param = error.get("code"), error.get("type"), error.get("param")
    name = _upper_snake(code) or _upper_snake(kind)
    number = _status(code) or status
    known = _BY_NAME.get(_upper_snake(code)) or _BY_NAME.get(_upper_snake(kind))
    error_class = known or _BY_STATUS.get(number or 0) or _class_of_range(number)
    message = error.get("message")
    failure = error_class(
        message=str(message) if message else f"the server failed: {name or number or 'it did not say why'}",
        code=_GRPC_CODES[error_class],
        reason=name or _GRPC_CODES[error_class].name,
        metadata={key: str(error[key]) for key in ("code", "type") if error.get(key) is not None},
    )
    if param and isinstance(failure, (InvalidRequestError, UnsupportedError)):
        failure.fields = {str(param): failure.message}
    return failure


def _class_of_range(status: int | None) -> type[LlamawireError]:
    return InvalidRequestError if status is not None and 400 <= status < 500 else InferenceError


def _status(code: object) -> int | None:
    """The HTTP status that a code is."""
    if isinstance(code, str) and code.isascii() and code.isdigit():
        code = int(code[:4])
    return code if type(code) is int and 400 <= code < 600 else None


def _upper_snake(name: object) -> str:
    """A name as reasons are written; "" for what is none."""
    if not isinstance(name, str) or not name.isascii() or name.isdigit():
        return ""
    return _WORDS.sub("_", name).strip("_").upper()


def _seconds(value: str | None, parts: int) -> float | None:
    """The seconds that a header says, in `parts` of a second; None where it says nothing, or a date."""
    try:
        seconds = float(value) / parts if value is not None else None
    except ValueError:
        return None
    return seconds if seconds is not None and 0 <= seconds < float("inf") else None
