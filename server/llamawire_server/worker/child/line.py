"""Who may line up at a model: nobody for whom there is no room, or whose time would be up before their turn comes."""

from __future__ import annotations

import time

from llamawire_server.engine.engine import Queue
from llamawire_server.worker.child.prompts import RequestError

_SHORTEST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60.0


class Line:
    """The queue's limits, and how fast it moves, by how long requests were served that ended by themselves."""

    _SMOOTHING = 0.2

    def __init__(self, num_slots: int, max_queued_tokens: int) -> None:
        self._num_slots = num_slots
        self._max_queued_tokens = max_queued_tokens
        self._served_seconds: float | None = None

    def note_served(self, seconds: float) -> None:
        """A request has ended, so long after its first step."""
        if self._served_seconds is None:
            self._served_seconds = seconds
        else:
            self._served_seconds += self._SMOOTHING * (seconds - self._served_seconds)

    def check(self, num_tokens: int, deadline: float | None, queue: Queue) -> None:
        """Raise RequestError for a prompt of `num_tokens` tokens that can't line up now.

        deadline: by time.monotonic; None: there is none.
        """
        if queue.num_waiting and queue.num_waiting_tokens + num_tokens > self._max_queued_tokens:
            raise RequestError(
                "BUSY",
                "QUEUE_FULL",
                f"prompts of {queue.num_waiting_tokens} tokens wait for the model already; "
                f"at most {self._max_queued_tokens} may",
                retry_seconds=between(self._wait_seconds(queue.num_running + queue.num_waiting)),
            )
        if deadline is None:
            return
        left_seconds = deadline - time.monotonic()
        wait_seconds = self._wait_seconds(queue.num_running + queue.num_ahead)
        needed_seconds = wait_seconds + queue.prompt_token_seconds * num_tokens
        if wait_seconds and needed_seconds > left_seconds:
            raise RequestError(
                "BUSY",
                "DEADLINE_UNREACHABLE",
                f"an answer would begin in about {needed_seconds:.1f} s; the deadline is in {left_seconds:.1f} s",
                retry_seconds=between(needed_seconds - left_seconds),
            )

    def _wait_seconds(self, num_before: int) -> float:
        """About how long it takes until a slot is free for who has so many before them, running ones included."""
        num_ends = num_before + 1 - self._num_slots
        if num_ends <= 0 or self._served_seconds is None:
            return 0.0
        return num_ends * self._served_seconds / self._num_slots


def between(seconds: float) -> float:
    """A time to come back after, in seconds, that is neither too short nor too long."""
    return min(max(seconds, _SHORTEST_RETRY_SECONDS), _LONGEST_RETRY_SECONDS)
