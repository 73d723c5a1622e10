"""The worker's sending end: what the server does not read at once waits here, and holds up no step."""

from __future__ import annotations

import select
import socket

import msgspec

from llamawire_server.worker.event_queue import EventQueue
from llamawire_server.worker.messages import Events, Memory
from llamawire_server.worker.wire import ConnectionClosedError, frame


class Outbox:
    """Messages to the server, sent as fast as it reads.

    While any wait, more text joins the text that waits, so that a server that stands still costs as much memory as
    the text that it has not read; what is only of the moment is left out. Every method but `drain` acts at once, and
    each raises ConnectionClosedError where the other side is gone.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._unsent = memoryview(b"")
        """What is left of a message that is half sent, or whole where others wait before the events."""
        self._events = EventQueue()

    @property
    def is_empty(self) -> bool:
        """Whether everything was sent."""
        return not self._unsent and not self._events

    def put(self, message: msgspec.Struct) -> bool:
        """Send a message, or as much of it as goes now. False where it is left out, as it says nothing later."""
        if not self.is_empty:
            self.flush()
        if self.is_empty:
            self._unsent = memoryview(frame(message))
            self._send()
        elif isinstance(message, Events):
            for event in message.events:
                self._events.put(event)
        elif isinstance(message, Memory):
            return False
        else:
            # Those of a load: nothing comes of requests before it is done.
            assert not self._events
            self._unsent = memoryview(self._unsent.tobytes() + frame(message))
        return True

    def flush(self) -> None:
        """Send what waits, as far as it goes now."""
        self._send()
        while self._events and not self._unsent:
            self._unsent = memoryview(frame(Events(self._events.take())))
            self._send()

    def drain(self) -> None:
        """Send all that waits, however long it takes the other side to read it."""
        while not self.is_empty:
            select.select([], [self._connection], [])
            self.flush()

    def wait(self) -> None:
        """Until more can be sent, or something has come."""
        select.select([self._connection], [] if self.is_empty else [self._connection], [])

    def _send(self) -> None:
        try:
            while self._unsent:
                # The socket blocks for whoever reads from it; only here it must not.
                num_bytes = self._connection.send(self._unsent, socket.MSG_DONTWAIT)
                self._unsent = self._unsent[num_bytes:]
        except BlockingIOError:
            return
        except OSError as error:
            raise ConnectionClosedError from error
