"""Whether the process answers, and whether it takes calls."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from llamawire_server.errors import Condition, ServiceError
from llamawire_server.shim.http.handling import Handling, json_response
from llamawire_server.shim.http.response_types import Health
from llamawire_server.shim.http.routes import Routes


@dataclass(frozen=True)
class Endpoint:
    """The handlers of what orchestrators ask."""

    handling: Handling

    async def check_health(self) -> Response:
        """Says that the process answers."""
        return json_response({"status": "ok"})

    async def check_readiness(self) -> Response:
        """Says whether new calls are taken now."""
        if not await self.handling.service.is_serving():
            raise ServiceError(Condition.NOT_READY, "NOT_SERVING", "the server takes no calls now")
        return json_response({"status": "ready"})


def add_routes(routes: Routes, handling: Handling) -> None:
    endpoint = Endpoint(handling)
    routes.get("/healthz", endpoint.check_health, answer=Health, is_call=False)
    routes.get("/readyz", endpoint.check_readiness, answer=Health, errors=(500, 503), is_call=False)
