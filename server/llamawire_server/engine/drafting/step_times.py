"""How long steps take, as was seen."""

from __future__ import annotations

import bisect
import math


class StepTimes:
    """How long steps of few tokens take, by their number of tokens.

    What was seen is believed less the longer ago it was, and what a step usually takes is believed in its place: so a
    size that was slow once, beside other sequences or on a busier machine, is tried again. A trial costs one step.
    """

    _SIZES = (1, 2, 4, 8, 16, 32, 63)
    _SMOOTHING = 0.2
    # What is usual: each further token takes so much of the first.
    _FURTHER_TOKEN_SHARE = 0.5
    # What was seen counts half after so many steps, by its logarithm.
    _HALF_LIFE_STEPS = 16

    def __init__(self, token_seconds: float) -> None:
        """token_seconds: how long a step of one token takes."""
        self._seen: list[float | None] = [token_seconds, *(None for _ in self._SIZES[1:])]
        """By size; None where no step of about that size was seen."""
        # What is said beforehand counts little once something was seen.
        self._last_seen = [-3 * self._HALF_LIFE_STEPS] * len(self._SIZES)
        self._num_steps = 0
        self._seconds = self._complete()

    def observe(self, num_tokens: int, seconds: float) -> None:
        """Take in a step. Those of more tokens than a draft can have say nothing."""
        if not 0 < num_tokens <= self._SIZES[-1]:
            return
        place = bisect.bisect_left(self._SIZES, num_tokens)
        if place and num_tokens - self._SIZES[place - 1] < self._SIZES[place] - num_tokens:
            place -= 1
        measured = seconds * self._seconds[place] / self.seconds(num_tokens)
        belief = self._belief(place)
        self._num_steps += 1
        self._last_seen[place] = self._num_steps
        before = self._seen[place]
        if before is None:
            self._seen[place] = measured
        else:
            # What makes steps of one size slow makes others slow: if only that size seemed to be, larger ones would
            # seem to cost nothing. As it may be that size alone, the others follow half of the way; and less where it
            # may have been so for long. By logarithms, a step that was held up says little.
            change = measured / before
            shared = change ** (self._SMOOTHING * belief / 2)
            self._seen = [None if seen is None else seen * shared for seen in self._seen]
            self._seen[place] = before * change ** (1 - (1 - self._SMOOTHING) * belief)
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

    def _belief(self, place: int) -> float:
        """How much what was seen of a size counts, 1 if it was seen just now."""
        return math.pow(0.5, (self._num_steps - self._last_seen[place]) / self._HALF_LIFE_STEPS)

    def _complete(self) -> list[float]:
        """By size: as seen, as far as that is believed; for the rest as the next smaller one suggests. No longer than
        the next larger one that was seen, and never less than for a smaller size."""
        complete: list[float] = []
        for place, (size, seen) in enumerate(zip(self._SIZES, self._seen, strict=True)):
            if not complete:
                assert seen is not None  # given at the beginning
                complete.append(seen)
                continue
            seconds = complete[-1] * self._shape(size) / self._shape(self._SIZES[place - 1])
            if seen is not None:
                seconds *= (seen / seconds) ** self._belief(place)
            larger = next((later for later in self._seen[place + 1 :] if later is not None), seconds)
            complete.append(max(min(seconds, larger), complete[-1]))
        return complete

    def _shape(self, num_tokens: int) -> float:
        return 1 + self._FURTHER_TOKEN_SHARE * (num_tokens - 1)
