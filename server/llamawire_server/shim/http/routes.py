"""The paths that are served, and the OpenAPI description of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from llamawire_server.service.interface import REQUEST_ID, REQUEST_ID_HEADER
from llamawire_server.shim.http.call import TIMEOUT_HEADER
from llamawire_server.shim.http.response_types import Error

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

_REQUEST_ID = {"description": "Names the call in logs.", "schema": {"type": "string"}}
_RETRY_AFTER = {"description": "Seconds to wait before trying again.", "schema": {"type": "integer"}}
_RETRY_AFTER_MS = {"description": "The same in milliseconds.", "schema": {"type": "integer"}}
_SHOULD_RETRY = {
    "description": "Keeps OpenAI's clients from repeating what would fail again.",
    "schema": {"type": "string", "enum": ["false"]},
}

_CALL_PARAMETERS = [
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


Handler = Callable[..., Awaitable[Response]]


class Routes:
    """Adds paths to an application, and describes them."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        # FastAPI sees what handlers answer, but neither bodies, which they read themselves, nor events.
        self._unseen: list[type[BaseModel]] = []

    def post(
        self,
        path: str,
        handler: Handler,
        *,
        body: type[BaseModel],
        answer: type[BaseModel],
        event: type[BaseModel] | None = None,
        description: str = "The answer.",
        errors: Iterable[int] = (400, 404, 413, 429, 499, 500, 503, 504),
    ) -> None:
        """What takes a body. event: what streams consist of, where the answer may be one."""
        self._unseen.append(body)
        success: dict[str, Any] = {"model": answer, "description": description}
        if event is not None:
            self._unseen.append(event)
            success["content"] = {"text/event-stream": {"schema": _reference(event)}}
        request_body = {"required": True, "content": {"application/json": {"schema": _reference(body)}}}
        self._app.post(
            path,
            responses={200: success, **_error_answers(errors)},
            openapi_extra={"requestBody": request_body, "parameters": _CALL_PARAMETERS},
        )(handler)

    def get(
        self,
        path: str,
        handler: Handler,
        *,
        answer: type[BaseModel],
        errors: Iterable[int] = (),
        parameters: Iterable[dict[str, Any]] = (),
        is_call: bool = True,
    ) -> None:
        """What takes no body. is_call: whether it is a call of the service, with an id and a deadline."""
        described = [*parameters, *(_CALL_PARAMETERS if is_call else ())]
        self._app.get(
            path,
            responses={200: {"model": answer}, **_error_answers(errors)},
            openapi_extra={"parameters": described} if described else None,
        )(handler)

    def describe(self) -> dict[str, Any]:
        """The OpenAPI description of the application."""
        if self._app.openapi_schema is None:
            self._app.openapi_schema = self._describe()
        return self._app.openapi_schema

    def _describe(self) -> dict[str, Any]:
        app = self._app
        description = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        _, unseen = models_json_schema(
            [(model, "validation") for model in self._unseen], ref_template=_REF_TEMPLATE
        )
        schemas = description["components"]["schemas"]
        for name, schema in unseen["$defs"].items():
            schemas.setdefault(name, schema)
        for path in description["paths"].values():
            for operation in path.values():
                for status, response in operation["responses"].items():
                    response["headers"] = _headers(int(status))
        return description


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF_TEMPLATE.format(model=model.__name__)}


def _error_answers(statuses: Iterable[int]) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Error, "description": _ERRORS[status]} for status in statuses}


def _headers(status: int) -> dict[str, Any]:
    headers: dict[str, Any] = {REQUEST_ID_HEADER: _REQUEST_ID}
    if status in (429, 503):
        headers |= {"retry-after": _RETRY_AFTER, "retry-after-ms": _RETRY_AFTER_MS}
    if status == 500:
        headers["x-should-retry"] = _SHOULD_RETRY
    return headers
