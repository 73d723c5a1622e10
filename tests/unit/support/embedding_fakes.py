"""Vectors without a model: what is computed is checked, and each is of a text that can be told from it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from llamawire_server.engine.decode_errors import DecodeError
from llamawire_server.engine.embedding.job import EmbeddingLimits, Job, Piece

LIMITS = EmbeddingLimits(context_length=100, batch_tokens=32, batch_inputs=4, takes_parts=True)
WHOLE = EmbeddingLimits(context_length=100, batch_tokens=32, batch_inputs=4, takes_parts=False)

# A token that can't be computed.
BAD = 666


def vector_of(tokens: Sequence[int]) -> bytes:
    """The vector of an input in these tests."""
    return struct.pack("<2f", len(tokens), sum(tokens))


class FakeEmbedder:
    """Keeps at most one input that is not done, as the real one does."""

    def __init__(self, limits: EmbeddingLimits = LIMITS) -> None:
        self.limits = limits
        self.batches: list[list[Piece]] = []
        self.num_forgotten = 0
        self.fails_in_company = False
        self.has_context = False
        self._kept: list[int] = []
        self._kept_of: tuple[Job, int] | None = None

    def embed(self, batch: list[Piece]) -> list[bytes | None]:
        self.batches.append(batch)
        self.has_context = True
        assert batch
        assert len(batch) <= self.limits.batch_inputs
        num_tokens = sum(piece.num_tokens for piece in batch)
        assert num_tokens <= self.limits.batch_tokens or (len(batch) == 1 and not self.limits.takes_parts)
        if any(BAD in piece.tokens for piece in batch) or (self.fails_in_company and len(batch) > 1):
            self._kept, self._kept_of = [], None
            raise DecodeError("bad token")
        return [self._take(piece) for piece in batch]

    def _take(self, piece: Piece) -> bytes | None:
        if piece.is_whole:
            return vector_of(piece.tokens)
        assert self.limits.takes_parts
        if piece.start == 0:
            assert self._kept_of is None, "one input at a time is computed in parts"
            self._kept_of = (piece.job, piece.index)
        assert self._kept_of == (piece.job, piece.index)
        assert piece.start == len(self._kept)
        self._kept += piece.tokens
        if not piece.is_last:
            return None
        vector = vector_of(self._kept)
        self._kept, self._kept_of = [], None
        return vector

    def close_context(self) -> None:
        assert self._kept_of is None, "it would be lost"
        self.has_context = False

    def forget(self, job: Job) -> None:
        self.num_forgotten += 1
        if self._kept_of is not None and self._kept_of[0] is job:
            self._kept, self._kept_of = [], None
