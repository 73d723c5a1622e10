"""Choosing the next token of one sequence."""

from __future__ import annotations

import numpy as np

from llamawire_server.engine.runner.logits import Logits, in_order, likeliest, without_nan
from llamawire_server.engine.runner.penalties import Penalties, has_penalties
from llamawire_server.engine.sequence import Sequence

__all__ = ["Logits", "Sampler"]

_MASK_64 = 2**64 - 1

# Below any difference between two logits that is not 0, and no overflow when one is divided by it.
_LOWEST_TEMPERATURE = 1e-30


class Sampler:
    """The sampling state of one sequence: its counts of tokens, and the place that comes next.

    Its random numbers depend on the seed, the choice and the token's place alone, so that a sequence goes on
    anywhere as it would have gone on here.

    Order: logit_bias, repeat_penalty, frequency and presence penalties, top_k, temperature, top_p, min_p. The
    temperature comes before top_p, as OpenAI's API and vLLM have it (llama.cpp's own default is the reverse).
    """

    def __init__(self, sequence: Sequence) -> None:
        """The state is the one after the sequence's tokens so far."""
        self._parameters = parameters = sequence.sampling
        self._is_greedy = parameters.temperature == 0 or parameters.top_k == 1 or parameters.top_p == 0
        adjusts = bool(parameters.logit_bias) or has_penalties(parameters)
        self._penalties = Penalties(sequence) if adjusts else None
        self._seed = _mix(parameters.seed + sequence.index)
        self.place = sequence.num_output_tokens
        """Which of the sequence's output tokens the next call samples, from 0."""

    @property
    def weighs_all(self) -> bool:
        """Whether each call weighs the whole vocabulary, which takes ten times as long as otherwise."""
        return not self._is_greedy and self._parameters.top_k == 0

    def sample(self, logits: Logits) -> int:
        """The next token, which counts as generated: the call after this one samples the place after it.

        logits: float32, (vocabulary size,), in memory of anybody's; they are the same after the call, but not while
        it lasts. Tokens at minus infinity or NaN never come, one at infinity always does.
        Raises DecodeError where no token can come; the place stays what it was.
        """
        if self._penalties is None:
            token = self._choose(logits)
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                original = self._penalties.apply(logits)
            try:
                token = self._choose(logits)
            finally:
                # Siblings sample from the same row.
                self._penalties.restore(logits, original)
            self._penalties.count(token)
        self.place += 1
        return token

    def _choose(self, logits: Logits) -> int:
        logits, best = without_nan(logits)
        if self._is_greedy or logits[best] == np.inf:
            return best
        return self._draw(logits, best)

    def _draw(self, logits: Logits, best: int) -> int:
        """Invert the cumulative distribution over the candidates, likeliest first, at this place's random number.

        The weights are probabilities over the likeliest token's. What is summed is summed in double precision and in
        one order, so that a last bit that differs between platforms changes the outcome in one of 10^13 draws.
        """
        parameters = self._parameters
        uniform = (_mix(self._seed + self.place) >> 11) * 2.0**-53
        if 0 < parameters.top_k < len(logits):
            tokens = likeliest(logits, parameters.top_k)
            weights = self._weights(logits[tokens], logits[best])
            sums = weights.cumsum()
            total = sums[-1]
        else:
            weights = self._weights(logits, logits[best])
            total = weights.sum()
            # All that are less likely than this are together less than the share that is not asked for.
            share = parameters.top_p if parameters.top_p < 1 or parameters.min_p else uniform
            lowest = max((1 - share) * total / len(logits), parameters.min_p)
            tokens = in_order(logits, np.flatnonzero(weights >= lowest))
            weights = weights[tokens]
            sums = weights.cumsum()
        num_kept = len(sums)
        if parameters.top_p < 1:
            num_kept = min(num_kept, int(sums.searchsorted(parameters.top_p * total)) + 1)
        if parameters.min_p:
            num_kept = min(num_kept, int(np.count_nonzero(weights >= parameters.min_p)))
        if parameters.top_p < 1 or parameters.min_p:
            total = sums[num_kept - 1]
        chosen = int(sums[:num_kept].searchsorted(uniform * total, side="right"))
        return int(tokens[min(chosen, num_kept - 1)])

    def _weights(self, logits: Logits, highest: np.float32) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        weights = logits.astype(np.float64)
        weights -= float(highest)
        weights /= max(self._parameters.temperature, _LOWEST_TEMPERATURE)
        return np.exp(weights, out=weights)


def _mix(number: int) -> int:
    """64 bits that look random, from a number that need not (splitmix64: Steele, Lea, Flood, OOPSLA 2014)."""
    mixed = (number + 0x9E3779B97F4A7C15) & _MASK_64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK_64
    return mixed ^ (mixed >> 31)
