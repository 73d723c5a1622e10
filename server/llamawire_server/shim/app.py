"""The HTTP application: every API's paths, health, and the description of them."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from llamawire_server import __version__
from llamawire_server.errors import ServiceError
from llamawire_server.service.interface import Service
from llamawire_server.shim import health
from llamawire_server.shim.chat import endpoint as chat
from llamawire_server.shim.completions import endpoint as completions
from llamawire_server.shim.embeddings import endpoint as embeddings
from llamawire_server.shim.http.cross_origin import allow_cross_origin
from llamawire_server.shim.http.dialect import Dialects
from llamawire_server.shim.http.disconnect import CallerGoneError, Calls
from llamawire_server.shim.http.errors import (
    OpenAIDialect,
    handle_caller_gone,
    handle_http_exception,
    handle_service_error,
)
from llamawire_server.shim.http.handling import Handling
from llamawire_server.shim.http.middleware import RequestBoundary
from llamawire_server.shim.http.routes import Routes
from llamawire_server.shim.http.settings import HttpSettings
from llamawire_server.shim.messages import endpoint as messages
from llamawire_server.shim.models import endpoint as models
from llamawire_server.shim.responses import endpoint as responses
from llamawire_server.shim.tokens import endpoint as tokens

APIS = (chat, completions, embeddings, responses, messages, tokens, models, health)


def create_app(service: Service, calls: Calls, settings: HttpSettings) -> FastAPI:
    """An application that answers from `service`, and does its work as part of `calls`."""
    app = FastAPI(
        title="llamawire",
        version=__version__,
        description="Local GGUF models behind OpenAI's APIs, and Anthropic's.",
        redirect_slashes=False,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    dialects = Dialects(OpenAIDialect())
    app.add_middleware(RequestBoundary, dialects=dialects)
    # After the boundary, and so around it: failures that it answers are for browsers to read, too.
    allow_cross_origin(app, settings.allowed_origins)
    app.exception_handler(ServiceError)(handle_service_error)
    app.exception_handler(HTTPException)(handle_http_exception)
    app.exception_handler(CallerGoneError)(handle_caller_gone)
    handling = Handling(service, calls, settings)
    routes = Routes(app, dialects)
    for api in APIS:
        api.add_routes(routes, handling)
    app.openapi = routes.describe  # type: ignore[method-assign]
    return app
