"""How many tokens are worth guessing: as many as pay, by what steps of so many tokens were seen to take."""

from __future__ import annotations

import bisect

from llamawire_server.engine.sequence import Sequence

# Drafts are of one of these lengths, or shorter where nothing more is to be guessed.
LENGTHS = (2, 4, 8, 16, 32)

# What a draft must promise over going on without one: a guess that fails costs time, and others wait for it.
LEAST_GAIN = 1.1


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
        self._seen[place] = measured if before is None else before + self._SMOOTHING * (measured - before)
        self._seconds = self._complete()

    def seconds(self, num_tokens: int) -> float:
        """How long a step of so many tokens takes; more tokens never take less."""
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


class Speculation:
    """Decides for each sequence of a step how much of its future to guess."""

    def __init__(self, token_seconds: float) -> None:
        """token_seconds: how long a token takes that is computed by itself."""
        self.times = StepTimes(token_seconds)

    def draft(self, sequence: Sequence, most: int, num_step_tokens: int) -> tuple[int, ...]:
        """What to compute beside the sequence's next token: `most` tokens at most.

        num_step_tokens: those that the step has already, each of which brings one token.
        """
        drafter = sequence.drafter
        acceptance = drafter.acceptance(len(sequence.tokens)) if drafter is not None else 0.0
        if drafter is None or not acceptance:
            return ()
        ahead = drafter.draft(sequence.tokens, min(most, LENGTHS[-1]))
        if not ahead:
            return ()
        return tuple(ahead[: self._best_length(acceptance, len(ahead), num_step_tokens)])

    def _best_length(self, acceptance: float, most: int, num_step_tokens: int) -> int:
        """How much of a draft of `most` tokens to take."""
        best, best_rate = 0, LEAST_GAIN * num_step_tokens / self.times.seconds(num_step_tokens)
        for length in (min(length, most) for length in LENGTHS):
            # 1 + p + p^2 + … tokens come of a draft, the one that is sampled in any case included.
            expected = length * 1.0
            if acceptance < 1:
                expected = acceptance * (1 - acceptance**length) / (1 - acceptance)
            rate = (num_step_tokens + expected) / self.times.seconds(num_step_tokens + length)
            if rate > best_rate:
                best, best_rate = length, rate
            if length == most:
                break
        return best
