"""What the endpoints of every API share: from a request to its body's meaning, and from work to an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from llamawire_server.service.interface import Service
from llamawire_server.shim.http import body
from llamawire_server.shim.http.disconnect import Calls
from llamawire_server.shim.http.response_types import Json
from llamawire_server.shim.http.settings import HttpSettings
from llamawire_server.shim.http.sse import Events, EventStream

T = TypeVar("T")

# What is larger is parsed and translated in a thread: a body of 16 MiB takes seconds, in which everybody would wait.
_LARGE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Handling:
    """How requests are handled, whichever path they are for. Handlers raise ServiceError, or CallerGoneError when
    the caller hangs up."""

    service: Service
    calls: Calls
    settings: HttpSettings

    async def understand(self, request: Request, understand: Callable[[bytes], T]) -> T:
        """What the body means, which `understand` tells, in a thread where the body is large.

        Raises ServiceError, and CallerGoneError where the caller hangs up before all of it has come.
        """
        data = await body.read(request, self.settings.max_body_bytes)
        return await self.think(len(data), lambda: understand(data))

    async def think(self, num_bytes: int, work: Callable[[], T]) -> T:
        """What work on so many bytes comes to, in a thread where they are many."""
        if num_bytes > _LARGE_BYTES:
            return await asyncio.to_thread(work)
        return work()

    async def run(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        """What the work comes to. Its caller's hanging up ends it: CallerGoneError."""
        return await self.calls.run(work, request.receive)

    def stream(self, items: AsyncGenerator[T, None], events: Events[T]) -> Response:
        """An answer that is sent as it is made."""
        return EventStream(items, events, self.calls, self.settings.keep_alive_seconds)


def json_response(answer: Json) -> Response:
    """A whole answer."""
    return Response(msgspec.json.encode(answer), media_type="application/json")
