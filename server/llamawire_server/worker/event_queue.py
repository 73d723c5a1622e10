"""Events that wait for a slow reader, so that they take up no more room than their text does."""

from __future__ import annotations

import io

import msgspec

from llamawire_server.chat.tools import CallDelta
from llamawire_server.worker.messages import Event, Logprob, TextDelta


class _Growing:
    """Several deltas of one choice that are to become one."""

    def __init__(self, first: TextDelta) -> None:
        self._first = first
        self._text = io.StringIO()
        self._reasoning = io.StringIO()
        self._calls: list[_GrowingCall] = []
        self._tokens: list[int] = []
        self._logprobs: list[Logprob] = []
        self._held = first.held
        self._counts = first.counts
        self._finish_reason = ""
        self._matched_stop = ""
        self.add(first)

    def add(self, later: TextDelta) -> None:
        self._text.write(later.text)
        self._reasoning.write(later.reasoning)
        for call in later.calls:
            if self._calls and self._calls[-1].takes(call):
                self._calls[-1].add(call)
            else:
                self._calls.append(_GrowingCall(call))
        self._tokens += later.tokens
        self._logprobs += later.logprobs
        self._held = later.held
        self._counts = later.counts
        self._finish_reason = later.finish_reason or self._finish_reason
        self._matched_stop = later.matched_stop or self._matched_stop

    def delta(self) -> TextDelta:
        return msgspec.structs.replace(
            self._first,
            text=self._text.getvalue(),
            tokens=self._tokens,
            finish_reason=self._finish_reason,
            reasoning=self._reasoning.getvalue(),
            calls=[call.delta() for call in self._calls],
            logprobs=self._logprobs,
            matched_stop=self._matched_stop,
            held=self._held,
            counts=self._counts,
        )


class _GrowingCall:
    """Consecutive pieces of one tool call."""

    def __init__(self, first: CallDelta) -> None:
        self._first = first
        self._arguments = io.StringIO()
        self.add(first)

    def takes(self, later: CallDelta) -> bool:
        return later.index == self._first.index and not later.id and not later.name

    def add(self, later: CallDelta) -> None:
        self._arguments.write(later.arguments)

    def delta(self) -> CallDelta:
        return msgspec.structs.replace(self._first, arguments=self._arguments.getvalue())


class EventQueue:
    """Events in their order; more of a choice's text joins what of it waits already.

    Within a request only deltas of different choices may change places, and all other events stay where they are.
    """

    def __init__(self) -> None:
        self._events: list[Event | _Growing] = []
        # Where the delta is that more of a choice may join, by request and choice.
        self._places: dict[int, dict[int, int]] = {}

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event) -> None:
        """Add an event."""
        if not isinstance(event, TextDelta):
            # What comes after it must not get before it.
            self._places.pop(event.request_id, None)
            self._events.append(event)
            return
        places = self._places.setdefault(event.request_id, {})
        place = places.setdefault(event.index, len(self._events))
        if place == len(self._events):
            self._events.append(event)
            return
        waiting = self._events[place]
        if isinstance(waiting, TextDelta):
            waiting = self._events[place] = _Growing(waiting)
        assert isinstance(waiting, _Growing)
        waiting.add(event)

    def take(self) -> list[Event]:
        """All of it, to be sent."""
        events = [event.delta() if isinstance(event, _Growing) else event for event in self._events]
        self._events = []
        self._places.clear()
        return events
