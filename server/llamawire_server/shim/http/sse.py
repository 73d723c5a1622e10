"""A streamed answer: the HTTP response that what a service sends is sent on with."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Generic, Protocol, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llamawire_server.errors import ServiceError, engine_fault
from llamawire_server.shim.http.disconnect import CallerGoneError, Calls
from llamawire_server.shim.http.errors import in_callers_words, unexpected

logger = logging.getLogger(__name__)

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Events(Protocol[T_contra]):
    """Writes the events of one stream. Each method gives whole events, and maybe none."""

    def write(self, item: T_contra, /) -> bytes:
        """The events of what the service sent."""
        ...

    def keep_alive(self) -> bytes:
        """An event without news; it may be the first."""
        ...

    def end(self) -> bytes:
        """The events that end a stream which came to its end."""
        ...

    def fail(self, error: ServiceError) -> bytes:
        """The last event of a stream that failed."""
        ...


class EventStream(Response, Generic[T]):
    """Sends what a service sends as server-sent events.

    Where nothing comes for `keep_alive_seconds`, an event without news is sent, be it the first: the wait in line,
    for the model and for the prompt is the longest. Until anything is sent a ServiceError is raised, to become a
    plain HTTP error; afterwards it is the last event.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        items: AsyncGenerator[T, None],
        events: Events[T],
        calls: Calls,
        keep_alive_seconds: float,
    ) -> None:
        # Response's own initialiser would declare the length of a body that does not exist yet.
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})
        self._items = items
        self._events = events
        self._calls = calls
        self._keep_alive_seconds = keep_alive_seconds
        self._started = False
        self._starting = asyncio.Lock()
        self._last_sent = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._calls.run(self._send_events(send), receive)
        except CallerGoneError:
            if not self._started:
                raise
        except ServiceError as error:
            if not self._started:
                raise
            await self._send(send, self._events.fail(in_callers_words(error, scope)), more_body=False)
        except Exception:
            if not self._started:
                raise
            logger.exception("the stream of request %s failed", scope["state"]["request_id"])
            await self._send(send, self._events.fail(unexpected()), more_body=False)

    async def _send_events(self, send: Send) -> None:
        has_begun = False
        async with aclosing(self._items) as items, self._kept_alive(send):
            async for item in items:
                has_begun = True
                if body := self._events.write(item):
                    await self._send(send, body)
        if not has_begun:
            raise engine_fault("the answer ended before it began")
        await self._send(send, self._events.end(), more_body=False)

    @asynccontextmanager
    async def _kept_alive(self, send: Send) -> AsyncIterator[None]:
        self._last_sent = time.monotonic()
        beating = asyncio.create_task(self._beat(send))
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self, send: Send) -> None:
        while True:
            quiet_seconds = time.monotonic() - self._last_sent
            if quiet_seconds >= self._keep_alive_seconds:
                await self._send(send, self._events.keep_alive())
            else:
                await asyncio.sleep(self._keep_alive_seconds - quiet_seconds)

    async def _send(self, send: Send, body: bytes, *, more_body: bool = True) -> None:
        if not self._started:
            # The answer and what keeps it alive may both be first.
            async with self._starting:
                if not self._started:
                    await send(
                        {
                            "type": "http.response.start",
                            "status": self.status_code,
                            "headers": self.raw_headers,
                        }
                    )
                    self._started = True
        await send({"type": "http.response.body", "body": body, "more_body": more_body})
        self._last_sent = time.monotonic()
