"""How long steps take, as was seen."""

from __future__ import annotations

import bisect


class StepTimes:
    """How long steps of few tokens take, by their number of tokens."""

    _SIZES = (1, 2, 4, 8, 16, 32, 63)
    _SMOOTHING = 0.2
    # As long as nothing is known: each further token as so much of the first.
    _FURTHER_TOKEN_SHARE = 0.5
    # What was seen so many steps ago counts no more: a size that was slow once would never be tried again.
    _MEMORY_STEPS = 500

    def __init__(self, token_seconds: float) -> None:
        """token_seconds: how long a step of one token takes."""
        self._seen: list[float | None] = [token_seconds, *(None for _ in self._SIZES[1:])]
        """By size; None where no step of about that size was seen of late."""
        self._last_seen = [0] * len(self._SIZES)
        self._num_steps = 0
        self._seconds = self._complete()

    def observe(self, num_tokens: int, seconds: float) -> None:
        """Take in a step. Those of more tokens than a draft can have say nothing."""
        if not 0 < num_tokens <= self._SIZES[-1]:
            return
        place = bisect.bisect_left(self._SIZES, num_tokens)
        if place and num_tokens - self._SIZES[place - 1] < self._SIZES[place] - num_tokens:
            place -= 1
        self._num_steps += 1
        self._last_seen[place] = self._num_steps
        for other in range(1, len(self._SIZES)):
            if self._num_steps - self._last_seen[other] > self._MEMORY_STEPS:
                self._seen[other] = None
        measured = seconds * self._seconds[place] / self.seconds(num_tokens)
        before = self._seen[place]
        if before is None:
            self._seen[place] = measured
        else:
            change = 1 + self._SMOOTHING * (measured / before - 1)
            # What makes steps of one size slow makes others slow: if only that size seemed to be, larger ones would
            # seem to cost nothing. As it may be that size alone, the others follow half of the way.
            self._seen = [None if seen is None else seen * change**0.5 for seen in self._seen]
            self._seen[place] = before * change
        self._seconds = self._complete()

    def seconds(self, num_tokens: int) -> float:
        """How long a step of so many tokens takes; more tokens never take less."""
        if num_tokens <= 1:
            return self._seconds[0]
        place = bisect.bisect_left(self._SIZES, num_tokens)
        if place == len(self._SIZES):
            return self._seconds[-1] * num_tokens / self._SIZES[-1]
        if self._SIZES[place] == num_tokens:
            return self._seconds[place]
        low, high = self._SIZES[place - 1], self._SIZES[place]
        share = (num_tokens - low) / (high - low)
        return self._seconds[place - 1] + share * (self._seconds[place] - self._seconds[place - 1])

    def _complete(self) -> list[float]:
        """By size: as seen; or as the next smaller one that was seen suggests, and no longer than the next larger one
        that was. Never less than for a smaller size."""
        complete: list[float] = []
        known_seconds, known_size = 0.0, 1
        for place, (size, seen) in enumerate(zip(self._SIZES, self._seen, strict=True)):
            if seen is not None:
                known_seconds, known_size = seen, size
            seconds = known_seconds * self._shape(size) / self._shape(known_size)
            larger = next((later for later in self._seen[place:] if later is not None), seconds)
            complete.append(max(min(seconds, larger), complete[-1] if complete else 0.0))
        return complete

    def _shape(self, num_tokens: int) -> float:
        return 1 + self._FURTHER_TOKEN_SHARE * (num_tokens - 1)
