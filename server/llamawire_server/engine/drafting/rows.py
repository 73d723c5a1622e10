"""What a draft model's KV cache has, and for whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from llamawire_server.engine.prefixes.tree import common_length
from llamawire_server.engine.sequence import Sequence
from llamawire_server.engine.step import Limits

# As many tokens at the least must be the same for one row to go on from another.
LEAST_SHARED_TOKENS = 32


class Run(NamedTuple):
    """Tokens of one slot to compute."""

    slot: int
    start: int
    """The first one's place."""
    tokens: list[int]
    is_asked: bool
    """Whether the likeliest token after them is asked for."""


class DraftDecoder(Protocol):
    """What computes: a draft model in llama.cpp, or a fake in tests."""

    @property
    def limits(self) -> Limits:
        """What its context allows."""
        ...

    @property
    def end_token_ids(self) -> frozenset[int]:
        """Tokens after which nothing is to be guessed."""
        ...

    def decode(self, runs: list[Run]) -> list[int]:
        """Compute the runs, at most `limits.batch_tokens` together; gives the likeliest token after each that asks.

        Raises DecodeError.
        """
        ...

    def copy(self, source: int, target: int, num_tokens: int) -> None:
        """Let the slot `target`, which is empty, have the first tokens of `source` too."""
        ...

    def cut(self, slot: int, num_tokens: int) -> bool:
        """Forget all but the slot's first `num_tokens` tokens; False where it can't be cut there."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...


@dataclass(eq=False)
class Row:
    """A slot of the draft model."""

    slot: int
    tokens: list[int] = field(default_factory=list)
    """Those that are in the KV cache."""

    owner: Sequence | None = None
    """Who goes on from it. What ended sequences left stays as long as there is room."""

    num_checked_tokens: int = 0
    """So many are known to be the owner's."""

    used_at: int = 0
    """Later is larger."""


class DraftRows:
    """Gives each sequence a row, and those that were used least recently up."""

    def __init__(self, decoder: DraftDecoder) -> None:
        self._decoder = decoder
        self._rows = [Row(slot) for slot in range(decoder.limits.num_slots)]
        self._owned: dict[Sequence, Row] = {}
        self._now = 0

    def claim(self, sequences: list[Sequence]) -> None:
        """Give each of the sequences a row, and let its row have no other tokens than the sequence has.

        There are at most as many as there are slots.
        """
        self._now += 1
        for sequence in sequences:
            if sequence in self._owned:
                self._owned[sequence].used_at = self._now
        for sequence in sequences:
            is_new = sequence not in self._owned
            row = self._take(sequence) if is_new else self._owned[sequence]
            row.used_at = self._now
            self._follow(row, sequence)
            if is_new:
                self.share(sequence)

    def row(self, sequence: Sequence) -> Row:
        """That of a sequence that has claimed one."""
        return self._owned[sequence]

    def num_pending(self, sequence: Sequence) -> int:
        """Tokens of the sequence, which has a row, that are not in it. At least 1: the last one always is computed
        anew, to go on from there."""
        return len(sequence.tokens) - len(self._owned[sequence].tokens)

    def share(self, sequence: Sequence) -> None:
        """Let the sequence's row begin with what another one has of it, where that is worth while."""
        row = self._owned[sequence]
        num_best = len(row.tokens) + LEAST_SHARED_TOKENS - 1
        best: Row | None = None
        for other in self._rows:
            if other is not row and (num_shared := _num_shared(other, sequence)) > num_best:
                best, num_best = other, num_shared
        if best is not None:
            self._cut(row, 0)
            self._decoder.copy(best.slot, row.slot, num_best)
            row.tokens = best.tokens[:num_best]
            row.num_checked_tokens = num_best

    def make_room(self, needed: dict[Sequence, int]) -> None:
        """Free cells, until each of the sequences has room for so many tokens. A cell that rows share counts for
        each."""
        kept = {self._owned[sequence]: num_tokens for sequence, num_tokens in needed.items()}
        others = sorted((row for row in self._rows if row not in kept), key=lambda row: row.used_at)
        num_tokens = sum(max(len(row.tokens), need) for row, need in kept.items())
        num_tokens += sum(len(row.tokens) for row in others)
        for row in others:
            if num_tokens <= self._decoder.limits.kv_cache_tokens:
                return
            num_tokens -= len(row.tokens)
            self._cut(row, 0)

    def release(self, sequence: Sequence) -> None:
        """The sequence has ended. What it has may be another's beginning."""
        row = self._owned.pop(sequence, None)
        if row is not None:
            row.owner = None

    def clear(self) -> None:
        """Forget everything."""
        self._decoder.clear()
        for row in self._rows:
            row.tokens.clear()
            row.num_checked_tokens = 0

    def _take(self, sequence: Sequence) -> Row:
        """A row for a new sequence: one that it goes on from, or is empty, or was used least recently. Rows of others
        are taken only where there is none else."""
        free = [row for row in self._rows if row.owner is None] or self._rows
        row = max(free, key=lambda row: _num_shared(row, sequence))
        if row.owner is not None or 2 * _num_shared(row, sequence) <= len(row.tokens):
            # What is of use in it can be shared, and the rest stays.
            row = min(free, key=lambda row: (bool(row.tokens) and row.owner is None, row.used_at))
        if row.owner is not None:
            del self._owned[row.owner]
        row.owner, row.num_checked_tokens = sequence, 0
        self._owned[sequence] = row
        return row

    def _follow(self, row: Row, sequence: Sequence) -> None:
        """Drop what was guessed and is not what came."""
        limit = min(len(row.tokens), len(sequence.tokens) - 1)
        at = min(row.num_checked_tokens, limit)
        at += common_length(row.tokens[at:], sequence.tokens, limit - at, at)
        self._cut(row, at)
        row.num_checked_tokens = len(row.tokens)

    def _cut(self, row: Row, num_tokens: int) -> None:
        if num_tokens >= len(row.tokens):
            return
        if not self._decoder.cut(row.slot, num_tokens):
            num_tokens = 0
            self._decoder.cut(row.slot, 0)
        del row.tokens[num_tokens:]
        row.num_checked_tokens = min(row.num_checked_tokens, num_tokens)


def _num_shared(row: Row, sequence: Sequence) -> int:
    """How many tokens the row begins with that are the sequence's; 0 for too few."""
    limit = min(len(row.tokens), len(sequence.tokens) - 1)
    num_shared = common_length(row.tokens, sequence.tokens, limit)
    return num_shared if num_shared >= LEAST_SHARED_TOKENS else 0
