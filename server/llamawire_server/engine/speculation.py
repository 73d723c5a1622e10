"""How many tokens are worth guessing: as many as pay, by what steps of so many tokens were seen to take."""

from __future__ import annotations

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

    def __init__(self, token_seconds: float) -> None:
        """token_seconds: how long a step of one token takes."""
        self._seconds: list[float | None] = [token_seconds, *(None for _ in self._SIZES[1:])]
        """By size; None where no step of about that size was seen."""

    def observe(self, num_tokens: int, seconds: float) -> None:
        """Take in a step. Those of more tokens than a draft can have say nothing."""
        if not 0 < num_tokens <= self._SIZES[-1]:
            return
        place = min(range(len(self._SIZES)), key=lambda place: abs(self._SIZES[place] - num_tokens))
        measured = seconds * self._estimate(self._SIZES[place]) / self._estimate(num_tokens)
        before = self._seconds[place]
        self._seconds[place] = measured if before is None else before + self._SMOOTHING * (measured - before)

    def seconds(self, num_tokens: int) -> float:
        """How long a step of so many tokens takes; more tokens never take less."""
        return max(self._estimate(size) for size in (*(s for s in self._SIZES if s < num_tokens), num_tokens))

    def _estimate(self, num_tokens: int) -> float:
        for place in range(1, len(self._SIZES)):
            low, high = self._SIZES[place - 1], self._SIZES[place]
            if num_tokens <= high:
                share = (num_tokens - low) / (high - low)
                return self._at(place - 1) + share * (self._at(place) - self._at(place - 1))
        return self._at(len(self._SIZES) - 1) * num_tokens / self._SIZES[-1]

    def _at(self, place: int) -> float:
        """How long a step of one of the sizes takes: as seen; or as the next smaller one that was seen suggests, and
        no longer than the next larger one."""
        known = next(known for known in range(place, -1, -1) if self._seconds[known] is not None)
        scale = self._shape(self._SIZES[place]) / self._shape(self._SIZES[known])
        larger = next((seconds for seconds in self._seconds[place:] if seconds is not None), None)
        suggested = (self._seconds[known] or 0.0) * scale
        return suggested if larger is None else min(suggested, larger)

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
        return tuple(ahead[: self._best_length(acceptance, len(ahead), num_step_tokens)])

    def _best_length(self, acceptance: float, most: int, num_step_tokens: int) -> int:
        """How much of a draft of `most` tokens to take."""
        best, best_rate = 0, LEAST_GAIN * num_step_tokens / self.times.seconds(num_step_tokens)
        for length in (min(length, most) for length in LENGTHS):
            # 1 + p + p^2 + … tokens come of a draft, the one that is sampled in any case included.
            expected = sum(acceptance**place for place in range(1, length + 1))
            rate = (num_step_tokens + expected) / self.times.seconds(num_step_tokens + length)
            if rate > best_rate:
                best, best_rate = length, rate
            if length == most:
                break
        return best
