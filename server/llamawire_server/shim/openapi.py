"""The OpenAPI description of what is served."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from llamawire_server.service.interface import REQUEST_ID, REQUEST_ID_HEADER
from llamawire_server.shim.call import TIMEOUT_HEADER
from llamawire_server.shim.request_schema import ChatCompletionRequest
from llamawire_server.shim.response_schema import ChatCompletion, ChatCompletionChunk, Error

_REF_TEMPLATE = "#/components/schemas/{model}"

_ERRORS = {
    400: "A field is bad or not supported; `param` names it.",
    404: "No model has this name.",
    413: "The body is too large.",
    429: "Too many requests wait already; `Retry-After` says when to try again.",
    499: "The caller hung up.",
    500: "The engine failed.",
    503: "The model is loading or the server stopping; `Retry-After` says when to try again.",
    504: "The deadline passed, waiting in line included.",
}

_STREAM = (
    "The answer; with `stream: true` server-sent events instead, each a chunk after `data: `. After the last "
    'one comes `data: [DONE]`; a stream that fails ends with `data: {"error": …}` in its place. A chunk '
    "without choices and usage only keeps the connection alive."
)

_REQUEST_ID = {"description": "Names the call in logs.", "schema": {"type": "string"}}
_RETRY_AFTER = {"description": "Seconds to wait before trying again.", "schema": {"type": "integer"}}
_RETRY_AFTER_MS = {"description": "The same in milliseconds.", "schema": {"type": "integer"}}
_SHOULD_RETRY = {
    "description": "Keeps OpenAI's clients from repeating what would fail again.",
    "schema": {"type": "string", "enum": ["false"]},
}

CALL_PARAMETERS = [
    {
        "name": REQUEST_ID_HEADER,
        "in": "header",
        "required": False,
        "description": "The caller's own name for the call; it comes back, or a new one does.",
        "schema": {"type": "string", "pattern": f"^{REQUEST_ID.pattern}$"},
    },
    {
        "name": TIMEOUT_HEADER,
        "in": "header",
        "required": False,
        "description": "How long the caller waits for the whole answer, waiting in line included.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
]

MODEL_ID_PARAMETER = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The model's name, in any form that a chat request may use.",
    "schema": {"type": "string"},
}

CHAT_REQUEST_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": _REF_TEMPLATE.format(model="ChatCompletionRequest")}}
    },
}

CHAT_ANSWER: dict[str, Any] = {
    "model": ChatCompletion,
    "description": _STREAM,
    "content": {
        "text/event-stream": {"schema": {"$ref": _REF_TEMPLATE.format(model="ChatCompletionChunk")}},
    },
}


def error_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The descriptions of failures with these statuses."""
    return {status: {"model": Error, "description": _ERRORS[status]} for status in statuses}


def describe(app: FastAPI) -> dict[str, Any]:
    """The description of `app`, with the models and headers that FastAPI does not see."""
    if app.openapi_schema is None:
        app.openapi_schema = _describe(app)
    return app.openapi_schema


def _describe(app: FastAPI) -> dict[str, Any]:
    description = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    _, unseen = models_json_schema(
        [(ChatCompletionRequest, "validation"), (ChatCompletionChunk, "validation")],
        ref_template=_REF_TEMPLATE,
    )
    schemas = description["components"]["schemas"]
    for name, schema in unseen["$defs"].items():
        schemas.setdefault(name, schema)
    for path in description["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                response["headers"] = _headers(int(status))
    return description


def _headers(status: int) -> dict[str, Any]:
    headers: dict[str, Any] = {REQUEST_ID_HEADER: _REQUEST_ID}
    if status in (429, 503):
        headers |= {"retry-after": _RETRY_AFTER, "retry-after-ms": _RETRY_AFTER_MS}
    if status == 500:
        headers["x-should-retry"] = _SHOULD_RETRY
    return headers
