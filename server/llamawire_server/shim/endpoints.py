"""What each path does: a request in, a call of the service, an answer out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from llamawire.v1 import chat_pb2, model_pb2
from llamawire_server.errors import Condition, ServiceError
from llamawire_server.service.interface import Service
from llamawire_server.shim import answers, body
from llamawire_server.shim.call import call_of
from llamawire_server.shim.disconnect import Calls
from llamawire_server.shim.events import ChunkEvents
from llamawire_server.shim.functions import uses_functions
from llamawire_server.shim.request_schema import ChatCompletionRequest
from llamawire_server.shim.sse import EventStream
from llamawire_server.shim.translate import to_chat_request

T = TypeVar("T")

# Larger bodies are parsed and translated in a thread: one of 16 MiB takes seconds, in which everybody would wait.
_LARGE_BODY_BYTES = 64 * 1024


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
        data = await body.read(request, self.max_body_bytes)
        if len(data) > _LARGE_BODY_BYTES:
            asked, message = await asyncio.to_thread(self._understand, data)
        else:
            asked, message = self._understand(data)
        request.state.asked = asked  # what an error's fields are called depends on it
        call, as_functions = call_of(request), uses_functions(asked)
        if asked.stream:
            options = asked.stream_options
            include_usage = options is not None and bool(options.include_usage)
            events = ChunkEvents(asked.model, include_usage, as_functions)
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

    def _understand(self, data: bytes) -> tuple[ChatCompletionRequest, chat_pb2.ChatCompletionRequest]:
        """What a body asks for, in OpenAI's form and in that of the service."""
        asked = body.validate(body.parse(data), self.allow_unknown_fields)
        return asked, to_chat_request(asked)

    async def _run(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        return await self.calls.run(work, request.receive)


def _json(answer: answers.Json) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
