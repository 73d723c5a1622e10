"""Requests that have come and that nobody has looked at yet."""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

from llamawire_server.worker.child.rank import rank
from llamawire_server.worker.embedding_messages import Embed
from llamawire_server.worker.messages import CountTokens, Detokenize, Generate, RenderPrompt, Tokenize

# Making prompts takes no more than about this time between two steps, in seconds: running streams wait for it.
ROUND_SECONDS = 0.02

Question: TypeAlias = "Generate | Embed | Tokenize | Detokenize | CountTokens | RenderPrompt"
"""All that is asked of a worker; a `Cancel` waits for nothing."""


class Intake:
    """Requests by their rank, a few of them at a time. What has no rank of its own goes where it came in."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._waiting: dict[int, Question] = {}
        self._held: set[int] = set()
        self._line: list[tuple[float, int, int]] = []  # rank, number and id; of cancelled ones as well
        self._numbers = itertools.count()
        self._latest = -math.inf

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: Question) -> None:
        """Put a request in line."""
        self._waiting[request.request_id] = request
        heapq.heappush(self._line, (self._rank(request), next(self._numbers), request.request_id))

    def cancel(self, request_id: int) -> bool:
        """Drop a request; False where it is not here."""
        self._held.discard(request_id)
        return self._waiting.pop(request_id, None) is not None

    def round(self, is_busy: Callable[[], bool]) -> Iterator[tuple[Question, bool]]:
        """The requests whose turn it is now, each with whether it was held before; at least one, where there is one.

        To be dealt with as they are given: that takes the round's time. Where nothing is computed for anybody
        (`is_busy`), the round goes on.
        """
        end = self._clock() + ROUND_SECONDS
        while self._line:
            _, _, request_id = heapq.heappop(self._line)
            request = self._waiting.pop(request_id, None)
            if request is None:
                continue  # it was cancelled
            was_held = request_id in self._held
            self._held.discard(request_id)
            yield request, was_held
            if is_busy() and self._clock() >= end:
                return

    def hold(self) -> list[int]:
        """Keep those that are left for later rounds; gives the requests that were not held before."""
        held = [request_id for request_id in self._waiting if request_id not in self._held]
        self._held.update(held)
        return held

    def _rank(self, request: Question) -> float:
        if not isinstance(request, (Generate, Embed)):
            return self._latest
        self._latest = max(self._latest, request.arrived)
        return rank(request.arrived, request.priority)
