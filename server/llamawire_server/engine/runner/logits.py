"""Rows of logits: which tokens are the likeliest, without sorting the vocabulary."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llamawire_server.engine.decode_errors import DecodeError

Logits = npt.NDArray[np.float32]
"""One float32 a token of the vocabulary, in whoever's memory."""

Tokens = npt.NDArray[np.intp]

# Each group of so many tokens is looked at by its largest logit at first.
_GROUP_SIZE = 64

# Up to so many tokens a stable sort is the fastest; beyond, one that numpy does in vectors.
_STABLE_SORT_LENGTH = 1024


def without_nan(logits: Logits) -> tuple[Logits, int]:
    """The row, with what is no number made impossible, and the likeliest token (the lowest of equals).

    Raises DecodeError where no token is possible.
    """
    best = int(logits.argmax())
    if np.isnan(logits[best]):  # numpy finds these before any number
        logits = np.where(np.isnan(logits), np.float32(-np.inf), logits)
        best = int(logits.argmax())
    if logits[best] == -np.inf:
        raise DecodeError("no token has a logit above minus infinity")
    return logits, best


def likeliest(logits: Logits, count: int) -> Tokens:
    """The `count` likeliest tokens, likeliest first, the lower of equals before the higher. Takes no NaN."""
    if count >= len(logits):
        return in_order(logits, np.arange(len(logits)))
    candidates = np.flatnonzero(logits >= _bound(logits, count))
    return in_order(logits, candidates)[:count]


def in_order(logits: Logits, tokens: Tokens) -> Tokens:
    """Some tokens, given in ascending order, likeliest first, the lower of equals before the higher."""
    values = logits[tokens]
    if len(tokens) <= _STABLE_SORT_LENGTH:
        return tokens[np.argsort(-values, kind="stable")]
    # Numbers that sort by the logit and then by the token are all different, so that any sort will do. The bits of
    # floats sort like integers, but for the negative ones, which go the other way (and there is a negative 0).
    bits = (values + np.float32(0)).view(np.int32)
    bits ^= (bits >> 31) & np.int32(0x7FFFFFFF)
    keys: npt.NDArray[np.int64] = -bits.astype(np.int64)
    keys <<= 32
    keys |= tokens
    keys.sort()
    keys &= 0xFFFFFFFF
    return keys.astype(np.intp, copy=False)


def _bound(logits: Logits, count: int) -> float:
    """A logit that `count` tokens reach at least, and not many more."""
    num_groups = len(logits) // _GROUP_SIZE
    if num_groups < max(2 * count, _GROUP_SIZE):
        return float(np.partition(logits, -count)[-count])
    # As many tokens as there are groups whose largest reaches it. Neighbours fall into different groups.
    grouped = num_groups * _GROUP_SIZE
    largest = logits[:grouped].reshape(_GROUP_SIZE, num_groups).max(axis=0)
    rest = logits[grouped:]
    np.maximum(largest[: len(rest)], rest, out=largest[: len(rest)])
    return float(np.partition(largest, -count)[-count])
