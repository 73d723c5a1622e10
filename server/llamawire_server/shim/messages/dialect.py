"""Failures in Anthropic's form."""

from __future__ import annotations

from llamawire_server.errors import Condition, ServiceError
from llamawire_server.shim.http.response_types import Json

_TYPES = {
    Condition.INVALID: "invalid_request_error",
    Condition.UNSUPPORTED: "invalid_request_error",
    Condition.UNKNOWN_MODEL: "not_found_error",
    Condition.UNAUTHENTICATED: "authentication_error",
    Condition.FORBIDDEN: "permission_error",
    Condition.BUSY: "rate_limit_error",
    Condition.TOO_LARGE: "request_too_large",
    Condition.NOT_READY: "overloaded_error",
    Condition.DEADLINE: "timeout_error",
    Condition.CANCELLED: "api_error",
    Condition.ENGINE: "api_error",
}

# What Anthropic's clients look for in the refusal of a `thread`, a conversation that the server is to keep: they send
# the conversation whole then. Their tool loop asks for a thread by itself.
_NO_THREADS = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


class AnthropicDialect:
    """Errors with a type and the request's id, which is in the header that Anthropic's clients look for, too."""

    request_id_headers = ("request-id",)

    def error(self, error: ServiceError, request_id: str) -> Json:
        """The body of the answer to a call that failed, and the last event of a stream that did."""
        body = _body(_TYPES[error.condition], _message(error), request_id)
        if any(violation.field == "thread" for violation in error.violations):
            body["error"]["details"] = _NO_THREADS
        return body

    def http_error(self, status: int, message: str, request_id: str) -> Json:
        """The body of the answer to what is no call."""
        return _body("not_found_error" if status == 404 else "invalid_request_error", message, request_id)


def _message(error: ServiceError) -> str:
    """The error's message, which has to say which field is bad: nothing else of the form does."""
    field = error.violations[0].field if error.violations else ""
    return error.message if field in error.message else f"{field}: {error.message}"


def _body(error_type: str, message: str, request_id: str) -> Json:
    return {"type": "error", "error": {"type": error_type, "message": message}, "request_id": request_id}
