"""From the vectors of an input's tokens to the one of the input."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llamawire_server.config import POOLINGS
from llamawire_server.engine.decode_errors import DecodeError

Rows = npt.NDArray[np.float32]
"""A row of float32 a token, in whoever's memory."""

# llama.h's enum llama_pooling_type.
_NONE, _RANK = "0", "4"
_FILE_POOLINGS = {"1": "mean", "2": "cls", "3": "last"}


class PoolingError(Exception):
    """A model gives no vector for a whole text; the text says why."""


def find_pooling(in_file: str | None, setting: str | None) -> str:
    """How a model's vectors are pooled: "mean", "cls" or "last".

    in_file: the value of `{architecture}.pooling_type` in its GGUF, in digits; None where it has none, as of models
    that were trained to generate and nothing else: of those the mean is taken. setting: what models.yaml says in its
    place. Raises PoolingError.
    """
    if setting is not None:
        assert setting in POOLINGS
        return setting
    if in_file is None:
        return "mean"
    if in_file == _RANK:
        raise PoolingError("the model ranks texts, and gives no vectors of them")
    if in_file not in _FILE_POOLINGS:
        why = "has a vector for each token and none for a text"
        if in_file != _NONE:
            why = "makes vectors of texts in an unknown way"
        raise PoolingError(f"the model {why}; `pooling` in models.yaml says how to make one")
    return _FILE_POOLINGS[in_file]


class Pool:
    """The vector of one input, from those of its tokens as they come."""

    def __init__(self, pooling: str) -> None:
        """pooling: "mean", "cls" (the first token's) or "last"."""
        self._pooling = pooling
        self._sum: npt.NDArray[np.float64] | None = None

    def add(self, rows: Rows) -> None:
        """Take in the vectors of the tokens that follow, one at least. They are not held on to."""
        if self._pooling == "mean":
            # How many they are is lost when the vector gets its length.
            part = rows.sum(axis=0, dtype=np.float64)
            self._sum = part if self._sum is None else self._sum + part
        elif self._pooling == "last":
            self._sum = rows[-1].astype(np.float64)
        elif self._sum is None:
            self._sum = rows[0].astype(np.float64)

    def vector(self, dimensions: int | None = None) -> bytes:
        """The first `dimensions` numbers, scaled to length 1, as packed little-endian float32.

        Raises DecodeError where there is nonsense in it.
        """
        assert self._sum is not None
        values = self._sum[:dimensions]
        length = float(np.sqrt(values @ values))
        if not np.isfinite(length):
            raise DecodeError("the model's vector is no number")
        if length:
            values = values / length
        return values.astype("<f4").tobytes()
