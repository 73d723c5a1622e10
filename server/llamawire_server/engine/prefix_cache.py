"""The KV cache's slots and cells: who has them, what is kept of ended sequences, and what goes when room is needed.

Pure bookkeeping. What it decides becomes moves, which the runner carries out before the next batch, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence as Tokens

from llamawire_server.engine.prefix_tree import Match, PrefixTree
from llamawire_server.engine.step import Copy, Cut, Limits, Move

# Shorter beginnings are as well computed again: every template has some tokens that all prompts begin with, and a
# slot kept for them is one less for what is worth it.
LEAST_KEPT_TOKENS = 16

# Cells that go at once when room is needed, so that not every step has to look for the next one.
LEAST_FREED_TOKENS = 64


class PrefixCache:
    """Slots in use, pinned in the tree, and slots that are kept for what they hold."""

    def __init__(self, limits: Limits, *, keeps_prefixes: bool = True) -> None:
        """keeps_prefixes: whether anything is ever shared between requests."""
        self._limits = limits
        self.keeps_prefixes = keeps_prefixes
        self._tree = PrefixTree()
        self._free_slots = list(range(limits.num_all_slots - 1, -1, -1))
        self._kept: set[int] = set()
        self._moves: list[Move] = []

    @property
    def num_tokens(self) -> int:
        """Cells in use."""
        return self._tree.num_tokens

    @property
    def num_pinned_tokens(self) -> int:
        """Cells that running sequences have; the others may go."""
        return self._tree.num_pinned_tokens

    @property
    def has_moves(self) -> bool:
        return bool(self._moves)

    def take_moves(self) -> list[Move]:
        """What is to be done to the cache before the next batch."""
        moves, self._moves = self._moves, []
        return moves

    def find(self, tokens: Tokens[int]) -> Match:
        """What is there of a prompt. Its last token is always left to compute: it says what comes next."""
        if not self.keeps_prefixes:
            return Match()
        match = self._tree.find(tokens, len(tokens) - 1, whole_slots=not self._limits.can_cut)
        return match if match.num_tokens >= LEAST_KEPT_TOKENS else Match()

    def claim(self, match: Match = Match()) -> int:  # noqa: B008 (it is immutable)
        """A slot that holds what was found, or nothing. There must be one that no running sequence has."""
        source = match.slot
        if source is not None:
            self._tree.touch(source)
            is_whole = self._tree.length(source) == match.num_tokens
            is_last = not self._free_slots and self._kept == {source}
            if source in self._kept and (is_whole or is_last):
                return self._take_over(source, match.num_tokens)
        if not self._free_slots:
            self._free_a_slot(source)
        slot = self._free_slots.pop()
        self._tree.pin(slot)
        if source is not None:
            self.copy(source, slot, match.num_tokens)
        return slot

    def copy(self, source: int, target: int, num_tokens: int) -> None:
        """Let `target`, which is empty, have the first `num_tokens` tokens of `source`."""
        self._tree.share(source, target, num_tokens)
        self._moves.append(Copy(source, target, num_tokens))

    def extend(self, slot: int, tokens: Tokens[int], num_dropped_tokens: int = 0) -> None:
        """Tokens of the slot were computed, and after them some that turned out to be of no use."""
        self._tree.extend(slot, tokens)
        if num_dropped_tokens:
            self._moves.append(Cut(slot, self._tree.length(slot)))

    def keep(self, slot: int) -> None:
        """The slot's sequence has ended, or makes room for others: what it holds stays as long as there is room."""
        if not self.keeps_prefixes or self._tree.length(slot) < LEAST_KEPT_TOKENS or self._is_known(slot):
            self.drop(slot)
            return
        self._tree.unpin(slot)
        self._tree.touch(slot)
        self._kept.add(slot)

    def drop(self, slot: int) -> None:
        """What the slot holds is of no use any more."""
        self._tree.unpin(slot)
        self._release(slot)

    def make_room(self, num_tokens: int) -> None:
        """See to it that so many cells are free, as far as what is kept can go."""
        while (missing := self._tree.num_tokens + num_tokens - self._limits.kv_cache_tokens) > 0:
            slot = min(self._kept, key=self._tree.last_used, default=None)
            if slot is None:
                return
            self._shorten(slot, max(missing, LEAST_FREED_TOKENS))

    def _shorten(self, slot: int, num_tokens: int) -> None:
        """Let go of the slot's last tokens: `num_tokens` of them, or fewer where others were used later."""
        length = self._tree.length(slot)
        left = max(self._tree.end_start(slot), length - num_tokens)
        if not self._limits.can_cut or left < LEAST_KEPT_TOKENS or self._tree.is_covered(slot):
            self._release(slot)
            return
        self._tree.cut(slot, left)
        self._moves.append(Cut(slot, left))
        if self._tree.is_covered(slot):
            self._release(slot)

    def _take_over(self, slot: int, num_tokens: int) -> int:
        self._kept.discard(slot)
        self._tree.pin(slot)
        if self._tree.length(slot) > num_tokens:
            self._tree.cut(slot, num_tokens)
            self._moves.append(Cut(slot, num_tokens))
        return slot

    def _free_a_slot(self, needed: int | None) -> None:
        """Let go of the slot that matters least; not of `needed`."""
        self._release(min(self._kept - {needed}, key=self._tree.own_last_used))

    def _is_known(self, slot: int) -> bool:
        """Whether another slot has all that this one has, in the same cells or in its own."""
        if not self._limits.can_cut:
            # Another one that goes on from there can't be cut to it.
            return False
        if self._tree.is_covered(slot):
            return True
        length = self._tree.length(slot)
        return self._tree.find(self._tree.tokens(slot), length, without=slot).num_tokens == length

    def _release(self, slot: int) -> None:
        self._kept.discard(slot)
        if self._tree.length(slot):
            self._tree.cut(slot, 0)
        # Cells of a batch that failed may be there without the tree's knowing.
        self._moves.append(Cut(slot, 0))
        self._free_slots.append(slot)
