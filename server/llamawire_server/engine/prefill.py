"""A prompt that is being computed, and how a step is shared out among several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from llamawire_server.engine.sequence import TILE_TOKENS, Sequence


@dataclass(frozen=True)
class Awaited:
    """The first `num_tokens` tokens of a sequence, which is computing them."""

    sequence: Sequence
    num_tokens: int


@dataclass(eq=False)
class Prefill:
    """A prompt to compute, for the sequences that will go on from it.

    The first sequence computes; when its prompt is done, the others fork from it: they share its cells and each
    samples its own first token from the same logits.
    """

    sequences: list[Sequence] = field(default_factory=list)

    awaits: Awaited | None = None
    """What another prompt is computing that this one can share then."""

    goes_alone: bool = False
    """Whether it was in a batch that failed: by itself it shows whether it was its fault."""

    needs_all: bool = False
    """Whether it gets slots only while nobody else has any: beside others there was no room for it, though there
    should have been."""

    stops: set[int] = field(default_factory=set)
    """Lengths at which others want to go on from what this one has computed, to be met exactly."""

    @property
    def leader(self) -> Sequence:
        return self.sequences[0]

    @property
    def followers(self) -> list[Sequence]:
        return self.sequences[1:]


def shares(prefilling: list[Prefill], budget: int) -> Iterator[tuple[Prefill, int]]:
    """How many of a step's `budget` tokens each prompt gets; the oldest is the first of them.

    Those that need least come first, so that a short prompt does not wait for a long one; but half of the step
    is the oldest one's, so that it ends however many come after it.
    """
    reserved = min(prefilling[0].leader.num_pending_tokens, (budget + 1) // 2) if prefilling else 0
    for prefill in sorted(prefilling, key=lambda entry: entry.leader.num_pending_tokens):
        if prefill is prefilling[0]:
            reserved = 0
        length = _cut(prefill, min(prefill.leader.num_pending_tokens, budget - reserved))
        if length > 0:
            yield prefill, length
            budget -= length


def _cut(prefill: Prefill, length: int) -> int:
    """As many of the next `length` tokens as are computed together: all of them wide or all narrow, and no further
    than to where somebody else wants to go on from."""
    sequence = prefill.leader
    at = sequence.num_computed_tokens
    length = min([length, *(stop - at for stop in prefill.stops if stop > at)])
    num_wide = min(length, sequence.num_wide_tokens - at)
    if num_wide <= 0:
        return length
    return num_wide - num_wide % TILE_TOKENS or num_wide
