"""The HTTP application: OpenAI's paths, health, and the description of both."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from llamawire_server import __version__
from llamawire_server.errors import ServiceError
from llamawire_server.service.interface import Service
from llamawire_server.shim import openapi
from llamawire_server.shim.disconnect import CallerGoneError, Calls
from llamawire_server.shim.endpoints import Endpoints
from llamawire_server.shim.errors import handle_caller_gone, handle_http_exception, handle_service_error
from llamawire_server.shim.middleware import RequestBoundary
from llamawire_server.shim.openapi import CALL_PARAMETERS, error_answers
from llamawire_server.shim.response_schema import Health, Model, ModelList


def create_app(
    service: Service,
    calls: Calls,
    *,
    max_body_bytes: int,
    keep_alive_seconds: float = 15.0,
    allow_unknown_fields: bool = False,
) -> FastAPI:
    """An application that answers from `service`, and does its work as part of `calls`.

    A stream in which nothing comes for `keep_alive_seconds` is kept alive. `allow_unknown_fields` lets pass
    what is otherwise refused: fields that neither OpenAI nor llamawire has.
    """
    app = FastAPI(
        title="llamawire",
        version=__version__,
        description="Local GGUF models behind OpenAI's API.",
        redirect_slashes=False,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.add_middleware(RequestBoundary)
    app.exception_handler(ServiceError)(handle_service_error)
    app.exception_handler(HTTPException)(handle_http_exception)
    app.exception_handler(CallerGoneError)(handle_caller_gone)
    _add_routes(app, Endpoints(service, calls, max_body_bytes, keep_alive_seconds, allow_unknown_fields))
    app.openapi = lambda: openapi.describe(app)  # type: ignore[method-assign]
    return app


def _add_routes(app: FastAPI, endpoints: Endpoints) -> None:
    app.post(
        "/v1/chat/completions",
        responses={200: openapi.CHAT_ANSWER, **error_answers(400, 404, 413, 429, 499, 500, 503, 504)},
        openapi_extra={"requestBody": openapi.CHAT_REQUEST_BODY, "parameters": CALL_PARAMETERS},
    )(endpoints.create_chat_completion)
    app.get(
        "/v1/models",
        responses={200: {"model": ModelList}, **error_answers(400, 429, 500, 503, 504)},
        openapi_extra={"parameters": CALL_PARAMETERS},
    )(endpoints.list_models)
    app.get(
        "/v1/models/{id:path}",
        responses={200: {"model": Model}, **error_answers(400, 404, 429, 500, 503, 504)},
        openapi_extra={"parameters": [openapi.MODEL_ID_PARAMETER, *CALL_PARAMETERS]},
    )(endpoints.get_model)
    app.get("/healthz", responses={200: {"model": Health}})(endpoints.check_health)
    app.get("/readyz", responses={200: {"model": Health}, **error_answers(500, 503)})(
        endpoints.check_readiness
    )
