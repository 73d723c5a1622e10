"""Rows of logits of which only some tokens may come."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from llamawire_server.engine.constraint import Mask
from llamawire_server.engine.runner.logits import Logits, Tokens

# Where fewer than one in so many tokens may come, these are picked out; otherwise the others are made impossible.
_SPARSENESS = 8

# By a byte of a mask, what its eight tokens' logits can be at most. Looked up byte by byte, a row is masked in 12 µs
# (49,152 tokens), however the bits lie; numpy's own selections take up to 170 µs.
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1, bitorder="little")
_HIGHEST = np.where(_BITS, np.float32(np.inf), np.float32(-np.inf))


class MaskedRow:
    """A row's tokens that may come, in their order."""

    def __init__(self, logits: Logits, tokens: Tokens | None) -> None:
        """tokens: which ones the logits are of; None: all, and those that may not come are at minus infinity, or no
        number if they were none."""
        self.logits = logits
        self._tokens = tokens

    def token(self, place: int) -> int:
        """The token that has this place in the logits."""
        return place if self._tokens is None else int(self._tokens[place])


class Masking(threading.local):
    """Memory to work in, of each thread its own: made anew for every row, it would cost more than the work."""

    def __init__(self) -> None:
        self._highest: npt.NDArray[np.float32] = np.empty((0, 8), np.float32)
        self._row: Logits = np.empty(0, np.float32)

    def apply(self, logits: Logits, mask: Mask) -> MaskedRow:
        """The tokens of the row that may come; there may be none. Holds until the thread's next call.

        logits: float32, (vocabulary size,), not changed. mask: may be of more tokens, and of fewer only by those that
        may not come.
        """
        size = len(logits)
        bits = mask.view(np.uint8)[: (size + 7) // 8]
        allowed = np.unpackbits(bits, count=min(size, 8 * len(bits)), bitorder="little").view(np.bool_)
        if np.count_nonzero(allowed) * _SPARSENESS < size:
            tokens = np.flatnonzero(allowed)
            return MaskedRow(logits[tokens], tokens)
        if len(self._row) != size or len(self._highest) != len(bits):
            self._row = np.full(size, -np.inf, np.float32)
            self._highest = np.empty((len(bits), 8), np.float32)
        np.take(
            _HIGHEST, bits, axis=0, out=self._highest, mode="clip"
        )  # without the mode, it would be copied
        highest = self._highest.reshape(-1)[:size]
        np.minimum(logits[: len(highest)], highest, out=self._row[: len(highest)])
        return MaskedRow(self._row, None)
