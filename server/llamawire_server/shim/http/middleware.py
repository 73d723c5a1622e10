"""What every request passes through: it gets an id and a dialect, and no exception gets out."""

from __future__ import annotations

import logging

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llamawire_server.service.interface import REQUEST_ID_HEADER, request_id_from
from llamawire_server.shim.http.dialect import Dialects
from llamawire_server.shim.http.errors import error_response, unexpected

logger = logging.getLogger(__name__)


class RequestBoundary:
    """Names the request, in the scope's state and in the answer, and answers what nobody foresaw.

    The state has the dialect of the asked path too, which all failures are told in.
    """

    def __init__(self, app: ASGIApp, dialects: Dialects) -> None:
        self._app = app
        self._dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_from(Headers(scope=scope).get(REQUEST_ID_HEADER))
        dialect = self._dialects.at(scope["path"])
        scope.setdefault("state", {}).update(request_id=request_id, dialect=dialect)
        id_headers = [
            (name.encode(), request_id.encode()) for name in (REQUEST_ID_HEADER, *dialect.request_id_headers)
        ]
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message.get("headers", ()), *id_headers]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            logger.exception("request %s failed", request_id)
            if started:
                raise
            await error_response(unexpected(), scope)(scope, receive, send_with_id)
