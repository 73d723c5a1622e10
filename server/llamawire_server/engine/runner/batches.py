"""Which of a step's tokens go into which of llama.cpp's batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from llamawire_server.engine.sequence import TILE_TOKENS
from llamawire_server.engine.step import Slice

# From a tile's tokens on, llama.cpp takes its wide path.
NARROW_TOKENS = TILE_TOKENS - 1


class Piece(NamedTuple):
    """Part of a slice: its sequence's tokens in [start, stop), those of its draft included."""

    whole: Slice
    start: int
    stop: int

    @property
    def scored_places(self) -> range:
        """Its places of which it is wanted how likely the prompt's next token was."""
        places = self.whole.scored_places
        begin = min(max(self.start, places.start), self.stop)
        return range(begin, max(begin, min(self.stop, places.stop)))


def batches(slices: list[Slice]) -> Iterator[list[Piece]]:
    """The slices in narrow batches, as few as there can be, and then in a wide one."""
    wide: list[Piece] = []
    narrow: list[Piece] = []
    room = NARROW_TOKENS
    for whole in slices:
        start, end = whole.start, whole.start + whole.num_tokens
        if whole.is_wide:
            wide.append(Piece(whole, start, end))
            continue
        if whole.draft and narrow and whole.num_tokens > room:
            # All of a draft is sampled from in one go.
            yield narrow
            narrow, room = [], NARROW_TOKENS
        while start < end:
            stop = min(end, start + room)
            narrow.append(Piece(whole, start, stop))
            room -= stop - start
            start = stop
            if not room:
                yield narrow
                narrow, room = [], NARROW_TOKENS
    if narrow:
        yield narrow
    if wide:
        yield wide
