"""Error objects, as exceptions that say what to do."""

from __future__ import annotations

import json

import grpc
import pytest

from llamawire import (
    AuthenticationError,
    DeadlineExceededError,
    InferenceError,
    InvalidRequestError,
    LlamawireError,
    MessageTooLargeError,
    ModelNotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnavailableError,
)
from llamawire.dialects import http_error, read_chunk


def raised(source: object) -> LlamawireError:
    with pytest.raises(LlamawireError) as caught:
        read_chunk(json.dumps(source))
    return caught.value


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (
            {"type": "invalid_request_error", "code": "context_length_exceeded"},
            InvalidRequestError,
            "CONTEXT_LENGTH_EXCEEDED",
        ),
        ({"type": "invalid_request_error", "code": None}, InvalidRequestError, "INVALID_REQUEST_ERROR"),
        ({"type": "invalid_request_error", "code": "model_not_found"}, ModelNotFoundError, "MODEL_NOT_FOUND"),
        (
            {"type": "invalid_request_error", "code": "invalid_api_key"},
            AuthenticationError,
            "INVALID_API_KEY",
        ),
        ({"type": "requests", "code": "rate_limit_exceeded"}, RateLimitError, "RATE_LIMIT_EXCEEDED"),
        ({"type": "model_loading", "code": "model_loading"}, UnavailableError, "MODEL_LOADING"),
        ({"type": "timeout", "code": "timeout"}, DeadlineExceededError, "TIMEOUT"),
        ({"type": "inference_error", "code": "inference_error"}, InferenceError, "INFERENCE_ERROR"),
        ({"type": "overloaded_error"}, UnavailableError, "OVERLOADED_ERROR"),
        ({"type": "unavailable_error", "code": 503}, UnavailableError, "UNAVAILABLE_ERROR"),
        ({"type": "BadRequestError", "code": 400}, InvalidRequestError, "BAD_REQUEST_ERROR"),
        ({"code": "InvalidParameter"}, InvalidRequestError, "INVALID_PARAMETER"),
        ({"code": 429}, RateLimitError, "RESOURCE_EXHAUSTED"),
        ({"code": "502"}, InferenceError, "INTERNAL"),
        ({"code": 418, "type": "teapot"}, InvalidRequestError, "TEAPOT"),
        ({"type": "something new"}, InferenceError, "SOMETHING_NEW"),
        ({}, InferenceError, "INTERNAL"),
    ],
)
def test_what_an_error_is(error, kind, reason):
    failure = raised({"error": {"message": "no", **error}})

    assert type(failure) is kind
    assert failure.reason == reason
    assert str(failure) == "no"


def test_the_field_at_fault_and_what_the_provider_called_it():
    failure = raised(
        {
            "error": {
                "message": "too hot",
                "type": "invalid_request_error",
                "param": "temperature",
                "code": None,
            }
        }
    )

    assert isinstance(failure, InvalidRequestError)
    assert failure.fields == {"temperature": "too hot"}
    assert failure.metadata == {"type": "invalid_request_error"}
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "source",
    [
        {"error": "no"},
        {"id": "1", "choices": [], "error": {"message": "no"}},
        {"object": "error", "message": "no", "type": "", "param": None, "code": 500},
    ],
)
def test_other_forms_of_an_error(source):
    failure = raised(source)

    assert isinstance(failure, InferenceError)
    assert str(failure) == "no"


def test_an_error_without_words():
    assert str(raised({"error": {"code": 500}})) == "the server failed: 500"
    assert str(raised({"error": {"type": "x"}})) == "the server failed: X"
    assert str(raised({"error": True})) == "True"


@pytest.mark.parametrize("error", [None, False, {}, ""])
def test_no_error_is_none(error):
    source = {"id": "1", "choices": [], "error": error}

    assert read_chunk(json.dumps(source)).id == "1"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (402, InvalidRequestError),
        (403, PermissionDeniedError),
        (404, ModelNotFoundError),
        (413, MessageTooLargeError),
        (429, RateLimitError),
        (500, InferenceError),
        (503, UnavailableError),
        (504, DeadlineExceededError),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"detail": "x"}', b'{"error": {}}', b'{"error": null}']
)
def test_a_response_s_status(status, kind, body):
    assert type(http_error(status, body)) is kind


def test_a_response_s_body_and_headers():
    body = json.dumps({"error": {"message": "later", "type": "rate_limit_error"}}).encode()
    failure = http_error(429, body, {"Retry-After": "7", "X-Request-Id": "r1"})

    assert isinstance(failure, RateLimitError)
    assert failure.retryable
    assert (str(failure), failure.retry_after_seconds, failure.request_id) == ("later", 7.0, "r1")
    assert http_error(429, body, {"retry-after": "7", "retry-after-ms": "1500"}).retry_after_seconds == 1.5
    assert http_error(429, body, {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}).retry_after_seconds is None
