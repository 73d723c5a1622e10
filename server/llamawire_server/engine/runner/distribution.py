"""How likely a row's tokens are."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.engine.runner.logits import Logits, likeliest, without_nan


def token_logprobs(logits: Logits, token: int, num_top: int) -> TokenLogprobs:
    """How likely the token was, and the `num_top` likeliest ones, by the row as the model computed it.

    logits: float32, (vocabulary size,); not changed. What is no number counts as impossible. Raises DecodeError where
    no token is possible.
    """
    logits, best = without_nan(logits)
    tokens = likeliest(logits, num_top) if num_top else np.empty(0, np.intp)
    # Summed in double precision: over 100,000 tokens, single precision would be off by what callers can see.
    values = np.append(logits[tokens], logits[token]).astype(np.float64)
    values = _logarithms(values, logits, float(logits[best]))
    top = list(zip(tokens.tolist(), values[:-1].tolist(), strict=True))
    return TokenLogprobs(token, float(values[-1]), top)


def _logarithms(values: npt.NDArray[np.float64], logits: Logits, highest: float) -> npt.NDArray[np.float64]:
    """The logits `values` of the row as logarithms of probabilities."""
    if highest == math.inf:
        # What is infinitely likely shares all there is.
        num_infinite = int(np.count_nonzero(logits == np.inf))
        return np.where(values == np.inf, -math.log(num_infinite), -np.inf)
    weights = logits.astype(np.float64)
    weights -= highest
    np.exp(weights, out=weights)
    return values - (highest + math.log(weights.sum()))
