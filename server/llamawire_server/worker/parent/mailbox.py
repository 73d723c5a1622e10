"""Where the events of one request wait for whoever reads them."""

from __future__ import annotations

import asyncio

from llamawire_server.worker.embedding_messages import Vectors
from llamawire_server.worker.event_queue import EventQueue
from llamawire_server.worker.messages import Event, TextDelta


def is_last(event: Event) -> bool:
    """Whether nothing follows the event in its request."""
    return event.is_last if isinstance(event, Vectors) else not isinstance(event, TextDelta)


class Mailbox:
    """The events of one request, for one reader. Slower than the model, it finds several steps' text as one."""

    def __init__(self) -> None:
        self._events = EventQueue()
        # An asyncio.Event would keep a line of readers.
        self._arrival: asyncio.Future[None] | None = None
        self._is_complete = False

    def put(self, event: Event) -> None:
        """Add an event. Nothing comes after the last one: a deadline and the worker may both have a last word."""
        if self._is_complete:
            return
        self._is_complete = is_last(event)
        self._events.put(event)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def take(self) -> list[Event]:
        """All events that have come; waits for the first."""
        if not len(self._events):
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        return self._events.take()
