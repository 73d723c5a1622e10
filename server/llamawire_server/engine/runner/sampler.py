"""Choosing the next token of one sequence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llamawire_server.engine.constraint import ConstraintError, Mask
from llamawire_server.engine.decode_errors import DecodeError
from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.engine.runner.distribution import token_logprobs
from llamawire_server.engine.runner.logits import Logits, in_order, likeliest, without_nan
from llamawire_server.engine.runner.masking import Masking
from llamawire_server.engine.runner.penalties import Penalties, has_penalties
from llamawire_server.engine.sequence import Sequence

__all__ = ["Logits", "Pick", "Sampler"]

Weights = npt.NDArray[np.float64]

_MASK_64 = 2**64 - 1

# From one choice's seed to the next one's: 2^64 over the golden ratio, so that seeds near each other, which callers
# like to take, share no choice.
_CHOICE_STRIDE = 0x9E3779B97F4A7C15

# Below any difference between two logits that is not 0, and no overflow when one is divided by it.
_LOWEST_TEMPERATURE = 1e-30


# Of all samplers, which are many.
_masking = Masking()


class Pick(NamedTuple):
    """What came in a place."""

    token: int
    logprobs: TokenLogprobs | None
    """None where nobody wants to know."""


class Sampler:
    """The sampling state of one sequence: its counts of tokens, and the place that comes next.

    Its random numbers depend on the seed, the choice and the token's place alone, so that a sequence goes on
    anywhere as it would have gone on here.

    Order: logit_bias, repeat_penalty, frequency and presence penalties, constraint, top_k, temperature, top_p, min_p.
    The temperature comes before top_p, as OpenAI's API and vLLM have it (llama.cpp's own default is the reverse).
    """

    def __init__(self, sequence: Sequence) -> None:
        """The state is the one after the sequence's tokens so far, and its constraint is brought there too.

        Raises ConstraintError where it can't be.
        """
        self._sequence = sequence
        self._parameters = parameters = sequence.sampling
        self._is_greedy = parameters.temperature == 0 or parameters.top_k == 1 or parameters.top_p == 0
        adjusts = bool(parameters.logit_bias) or has_penalties(parameters)
        self._penalties = Penalties(sequence) if adjusts else None
        self._seed = _mix(parameters.seed + sequence.index * _CHOICE_STRIDE)
        self._constraint = sequence.constraint
        self._num_top_logprobs = sequence.num_top_logprobs
        self.place = sequence.num_output_tokens
        """Which of the sequence's output tokens the next call samples, from 0."""
        if self._constraint is not None:
            self._constraint.rewind(self.place)

    @property
    def weighs_all(self) -> bool:
        """Whether each call weighs the whole vocabulary, which takes ten times as long as otherwise."""
        return not self._is_greedy and self._parameters.top_k == 0

    @property
    def is_complete(self) -> bool:
        """Whether nothing may come any more."""
        return self._constraint is not None and self._constraint.is_complete

    def prepare(self, draft: tuple[int, ...]) -> None:
        """Begin with what can be done before the logits are there. draft: what may come from this place on."""
        if self._constraint is not None:
            self._constraint.prepare(draft)

    def pick(self, logits: Logits) -> Pick:
        """As `sample`, with how likely the token was where that is wanted."""
        token = self.sample(logits)
        if self._num_top_logprobs is None:
            return Pick(token, None)
        return Pick(token, token_logprobs(logits, token, self._num_top_logprobs))

    def sample(self, logits: Logits) -> int:
        """The next token, which counts as generated: the call after this one samples the place after it.

        logits: float32, (vocabulary size,), in memory of anybody's; they are the same after the call, but not while
        it lasts. Tokens at minus infinity or NaN never come, one at infinity always does.
        Raises DecodeError where no token can come, and ConstraintError where the constraint fails or leaves none that
        can; the place stays what it was.
        """
        mask = None if self._constraint is None else self._constraint.mask()
        if self._penalties is None:
            token = self._choose(logits, mask)
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                original = self._penalties.apply(logits)
            try:
                token = self._choose(logits, mask)
            finally:
                # Siblings sample from the same row.
                self._penalties.restore(logits, original)
        if self._constraint is not None:
            self._constraint.accept(token)
        if self._penalties is not None:
            self._penalties.count(token)
        self.place += 1
        return token

    def _choose(self, logits: Logits, mask: Mask | None) -> int:
        forced = self._sequence.forced_tokens
        if forced and (ahead := self.place - self._sequence.num_output_tokens) < len(forced):
            return forced[ahead]
        if mask is None:
            return self._best_or_drawn(logits)
        row = _masking.apply(logits, mask)
        if not len(row.logits):
            raise ConstraintError("no token may come")
        try:
            return row.token(self._best_or_drawn(row.logits))
        except DecodeError as error:
            raise ConstraintError("none of the tokens that may come is possible") from error

    def _best_or_drawn(self, logits: Logits) -> int:
        logits, best = without_nan(logits)
        if self._is_greedy or logits[best] == np.inf:
            return best
        return self._draw(logits, best)

    def _draw(self, logits: Logits, best: int) -> int:
        """Invert the cumulative distribution of what may come, in the order of the tokens, at this place's number.

        In that order rather than likeliest first: there, two that are nearly as likely change places with a
        logit's last bit, and what is drawn with them. The weights are probabilities over the likeliest token's. What
        is summed is summed in double precision, so that a last bit that differs between platforms changes the outcome
        in one of 10^13 draws.
        """
        parameters = self._parameters
        if 0 < parameters.top_k < len(logits):
            tokens = likeliest(logits, parameters.top_k)
            weights = self._weights(logits[tokens], logits[best])
            num_kept = self._num_kept(weights, weights.sum())
        else:
            weights = self._weights(logits, logits[best])
            if parameters.top_p == 1 and not parameters.min_p:
                return self._at_random(weights)
            total = weights.sum()
            # All that are less likely than this are together less than the share that is not asked for.
            lowest = max((1 - parameters.top_p) * total / len(logits), parameters.min_p)
            tokens = in_order(logits, np.flatnonzero(weights >= lowest))
            weights = weights[tokens]
            num_kept = self._num_kept(weights, total)
        order = tokens[:num_kept].argsort()
        return int(tokens[order[self._at_random(weights[order])]])

    def _num_kept(self, weights: Weights, total: float) -> int:
        """How many of the tokens may come, the likeliest of which weigh this; `total`: what all of them weigh."""
        parameters = self._parameters
        num_kept = len(weights)
        if parameters.top_p < 1:
            num_kept = min(num_kept, int(weights.cumsum().searchsorted(parameters.top_p * total)) + 1)
        if parameters.min_p:
            num_kept = min(num_kept, int(np.count_nonzero(weights >= parameters.min_p)))
        return num_kept

    def _at_random(self, weights: Weights) -> int:
        """One of the places, as often as it weighs."""
        uniform = (_mix(self._seed + self.place) >> 11) * 2.0**-53
        sums = weights.cumsum()
        # A product that is rounded up to the sum would come after all that weighs anything.
        point = min(uniform * sums[-1], np.nextafter(sums[-1], 0.0))
        return int(sums.searchsorted(point, side="right"))

    def _weights(self, logits: Logits, highest: np.float32) -> Weights:
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
