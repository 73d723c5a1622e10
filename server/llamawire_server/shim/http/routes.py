"""The paths that are served, and the OpenAPI description of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from llamawire_server.service.interface import REQUEST_ID, REQUEST_ID_HEADER
from llamawire_server.shim.http.call import TIMEOUT_HEADER
from llamawire_server.shim.http.dialect import Dialects
from llamawire_server.shim.http.response_types import Error

_REF_TEMPLATE = "#/components/schemas/{model}"

_ERRORS = {
    400: "A field is bad or not supported; the error names it.",
    404: "No model has this name, or nothing this id.",
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
    "description": "Keeps OpenAI's and Anthropic's clients from repeating what would fail again.",
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

    def __init__(self, app: FastAPI, dialects: Dialects) -> None:
        self._app = app
        self.dialects = dialects
        """Which dialect each path's failures are told in; an API adds its own, where it has one."""
        # FastAPI sees what handlers answer, but neither bodies, which they read themselves, nor events.
        self._unseen: list[type[BaseModel]] = []

    def post(
        self,
        path: str,
        handler: Handler,
        *,
        body: type[BaseModel],
        answer: type[BaseModel],
        event: type[BaseModel] | Sequence[type[BaseModel]] | None = None,
        description: str = "The answer.",
        error: type[BaseModel] = Error,
        errors: Iterable[int] = (400, 404, 413, 429, 499, 500, 503, 504),
    ) -> None:
        """What takes a body. event: what streams consist of, where the answer may be one; several where events are of
        different types. error: what failures are, in the path's dialect."""
        self._unseen.append(body)
        success: dict[str, Any] = {"model": answer, "description": description}
        if event is not None:
            events = event if isinstance(event, Sequence) else [event]
            self._unseen += events
            schema = (
                {"oneOf": [_reference(each) for each in events]} if len(events) > 1 else _reference(events[0])
            )
            success["content"] = {"text/event-stream": {"schema": schema}}
        request_body = {"required": True, "content": {"application/json": {"schema": _reference(body)}}}
        self._app.post(
            path,
            responses={200: success, **_error_answers(errors, error)},
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
            responses={200: {"model": answer}, **_error_answers(errors, Error)},
            openapi_extra={"parameters": described} if described else None,
        )(handler)

    def delete(
        self,
        path: str,
        handler: Handler,
        *,
        answer: type[BaseModel],
        errors: Iterable[int] = (),
        parameters: Iterable[dict[str, Any]] = (),
    ) -> None:
        """What takes no body and is no call of the service."""
        self._app.delete(
            path,
            responses={200: {"model": answer}, **_error_answers(errors, Error)},
            openapi_extra={"parameters": [*parameters]},
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
        for path, operations in description["paths"].items():
            id_headers = (REQUEST_ID_HEADER, *self.dialects.at(path).request_id_headers)
            for operation in operations.values():
                for status, response in operation["responses"].items():
                    response["headers"] = dict.fromkeys(id_headers, _REQUEST_ID) | _headers(int(status))
        return description


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF_TEMPLATE.format(model=model.__name__)}


def _error_answers(statuses: Iterable[int], error: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": error, "description": _ERRORS[status]} for status in statuses}


def _headers(status: int) -> dict[str, Any]:
    if status in (429, 503):
        return {"retry-after": _RETRY_AFTER, "retry-after-ms": _RETRY_AFTER_MS}
    return {"x-should-retry": _SHOULD_RETRY} if status in (500, 504) else {}
