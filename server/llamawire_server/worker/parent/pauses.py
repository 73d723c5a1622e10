"""How long to wait before a worker is started again, and when to give it up."""

from __future__ import annotations

from llamawire_server.config import WorkerSettings


class Pauses:
    """How long to wait before a worker is started again: longer each time, unless it lived on for a while."""

    # A life that brought something makes the next pause short; one of so many seconds makes it none.
    _LONG_SECONDS = 5.0
    # A life that brought nothing, there being nothing to do, has to last for so many of the longest pauses.
    _LONG_PAUSES = 2.0
    _MOST_DOUBLINGS = 30

    def __init__(self, policy: WorkerSettings) -> None:
        self._policy = policy
        self._num_in_a_row = 0
        self._num_fruitless = 0
        self._has_progressed = False

    @property
    def are_used_up(self) -> bool:
        """Whether it died too often without getting anywhere."""
        return self._num_fruitless > self._policy.max_restarts

    def note_progress(self) -> None:
        """Something came of a request."""
        self._has_progressed = True

    def note_life(self, seconds: float) -> None:
        """A worker that was ready is dead after so many seconds."""
        if seconds > self._LONG_PAUSES * self._policy.longest_pause_seconds:
            self._num_in_a_row = self._num_fruitless = 0
        elif self._has_progressed:
            self._num_in_a_row = 0 if seconds > self._LONG_SECONDS else min(self._num_in_a_row, 1)
            self._num_fruitless = 0
        self._has_progressed = False

    def next_seconds(self) -> float:
        """The pause before the next start. Counts a death."""
        num_doublings = min(self._num_in_a_row - 1, self._MOST_DOUBLINGS)
        seconds = self._policy.first_pause_seconds * 2**num_doublings if self._num_in_a_row else 0.0
        self._num_in_a_row += 1
        self._num_fruitless += 1
        return min(seconds, self._policy.longest_pause_seconds)
