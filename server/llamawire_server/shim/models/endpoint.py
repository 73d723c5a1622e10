"""Which models there are."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from llamawire.v1 import model_pb2
from llamawire_server.shim.http.call import call_of
from llamawire_server.shim.http.handling import Handling, json_response
from llamawire_server.shim.http.response_types import Json
from llamawire_server.shim.http.routes import Routes
from llamawire_server.shim.models.schema import Model, ModelList

_ID_PARAMETER = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The model's name, in any form that a chat request may use.",
    "schema": {"type": "string"},
}


@dataclass(frozen=True)
class Endpoint:
    """The handlers of the models' paths."""

    handling: Handling

    async def list_models(self, request: Request) -> Response:
        """Lists every model that a request can name."""
        listing = self.handling.service.list_models(model_pb2.ListModelsRequest(), call_of(request))
        found = await self.handling.run(request, listing)
        return json_response({"object": "list", "data": [_model(model) for model in found.models]})

    async def get_model(self, request: Request) -> Response:
        """Tells about one model."""
        wanted = model_pb2.GetModelRequest(name=request.path_params["id"])
        finding = self.handling.service.get_model(wanted, call_of(request))
        return json_response(_model((await self.handling.run(request, finding)).model))


def add_routes(routes: Routes, handling: Handling) -> None:
    endpoint = Endpoint(handling)
    routes.get("/v1/models", endpoint.list_models, answer=ModelList, errors=(400, 429, 500, 503, 504))
    routes.get(
        "/v1/models/{id:path}",
        endpoint.get_model,
        answer=Model,
        errors=(400, 404, 429, 500, 503, 504),
        parameters=[_ID_PARAMETER],
    )


def _model(source: model_pb2.Model) -> Json:
    return {
        "id": source.name,
        "object": "model",
        "created": source.created.seconds,
        "owned_by": "llamawire",
    }
