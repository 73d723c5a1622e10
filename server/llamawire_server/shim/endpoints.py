"""What each path does: a request in, a call of the service, an answer out."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from llamawire.v1 import model_pb2
from llamawire_server.errors import Condition, ServiceError
from llamawire_server.service.interface import Service
from llamawire_server.shim import answers
from llamawire_server.shim.body import read_json_object, validate
from llamawire_server.shim.call import call_of
from llamawire_server.shim.disconnect import Calls
from llamawire_server.shim.events import ChunkEvents
from llamawire_server.shim.functions import uses_functions
from llamawire_server.shim.sse import EventStream
from llamawire_server.shim.translate import to_chat_request

T = TypeVar("T")


@dataclass(frozen=True)
class Endpoints:
    """The handlers of all paths. Each raises ServiceError, or CallerGoneError when the caller hangs up."""

    service: Service
    calls: Calls
    max_body_bytes: int
    keep_alive_seconds: float
    allow_unknown_fields: bool

    async def create_chat_completion(self, request: Request) -> Response:
        """Answers a conversation, at once or as a stream."""
        body = await read_json_object(request, self.max_body_bytes)
        asked = validate(body, self.allow_unknown_fields)
        request.state.asked = asked  # what an error's fields are called depends on it
        call, message = call_of(request), to_chat_request(asked)
        as_functions = uses_functions(asked)
        if asked.stream:
            options = asked.stream_options
            events = ChunkEvents(options is not None and bool(options.include_usage), as_functions)
            chunks = self.service.stream_chat_completion(message, call)
            return EventStream(chunks, events, self.calls, self.keep_alive_seconds)
        answer = await self._run(request, self.service.create_chat_completion(message, call))
        return _json(answers.chat_completion(answer, as_functions))

    async def list_models(self, request: Request) -> Response:
        """Lists every model that a request can name."""
        listing = self.service.list_models(model_pb2.ListModelsRequest(), call_of(request))
        return _json(answers.model_list((await self._run(request, listing)).models))

    async def get_model(self, request: Request) -> Response:
        """Tells about one model."""
        wanted = model_pb2.GetModelRequest(name=request.path_params["id"])
        found = await self._run(request, self.service.get_model(wanted, call_of(request)))
        return _json(answers.model(found.model))

    async def check_health(self) -> Response:
        """Says that the process answers."""
        return _json({"status": "ok"})

    async def check_readiness(self) -> Response:
        """Says whether new calls are taken now."""
        if not await self.service.is_serving():
            raise ServiceError(Condition.NOT_READY, "NOT_SERVING", "the server takes no calls now")
        return _json({"status": "ready"})

    async def _run(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        return await self.calls.run(work, request.receive)


def _json(body: answers.Json) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
