"""Where the events of one request wait for whoever reads them."""

from __future__ import annotations

import asyncio

from llamawire_server.worker.event_queue import EventQueue
from llamawire_server.worker.messages import Event, TextDelta


def is_last(event: Event) -> bool:
    """Whether nothing follows the event in its request."""
    return not isinstance(event, TextDelta)


class Mailbox:
    """The events of one request. A reader that is slower than the model finds several steps' text as one."""

    def __init__(self) -> None:
        self._events = EventQueue()
        self._arrival = asyncio.Event()
        self._is_complete = False

    def put(self, event: Event) -> None:
        """Add an event. Nothing comes after the last one: a deadline and the worker may both have a last word."""
        if self._is_complete:
            return
        self._is_complete = is_last(event)
        self._events.put(event)
        self._arrival.set()

    async def take(self) -> list[Event]:
        """All events that have come; waits for the first."""
        await self._arrival.wait()
        self._arrival.clear()
        return self._events.take()
