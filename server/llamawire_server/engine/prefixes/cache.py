"""The KV cache's slots and cells: who has them, what is kept of ended sequences, and what goes when room is needed.

Pure bookkeeping. What it decides becomes moves, which the runner carries out before the next batch, in their order.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

from llamawire_server.engine.prefixes.shelf import LEAST_SHELVED_TOKENS, Run, Shelf
from llamawire_server.engine.prefixes.tree import Match, PrefixTree
from llamawire_server.engine.step import Copy, Cut, Discard, Limits, Load, Move, Store

# Shorter beginnings are as well computed again: every template has some tokens that all prompts begin with, and a
# slot kept for them is one less for what is worth it.
LEAST_KEPT_TOKENS = 16

# Cells that go at once when room is needed, so that not every step has to look for the next ones.
LEAST_FREED_TOKENS = 64

# Cells that go in one step for the sake of those that run, and at a time. What goes to the shelf is bytes to be
# copied, a millisecond's worth at a time with a small model; but as long as the cells are there, each token of a long
# prompt passes them by, and eight thousand of them nearly double what it takes.
MOST_CLEARED_TOKENS = 8192
_RUN_TOKENS = 512

# What was not used for so long may go for the sake of those that run, where there is no room for it on the shelf. In
# about that time idle cells have cost those that run as much as computing them again would (a 135M model, measured).
COLD_SECONDS = 60.0

# Where prompts don't begin like earlier ones, what they leave behind is not worth that much. Beginnings of so few
# tokens don't count: they are the template's.
_TEMPLATE_TOKENS = 64
_LEAST_WORTH = 0.02
_WORTH_SMOOTHING = 0.1


@dataclass(frozen=True)
class Found:
    """What there is of a prompt: first in the KV cache, then on the shelf."""

    match: Match = field(default_factory=Match)
    runs: list[Run] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        return self.runs[-1].end if self.runs else self.match.num_tokens


class PrefixCache:
    """Slots in use, pinned in the tree, and slots that are kept for what they hold."""

    def __init__(
        self, limits: Limits, *, keeps_prefixes: bool = True, clock: Callable[[], float] | None = None
    ) -> None:
        """keeps_prefixes: whether anything is ever shared between requests.
        clock: in seconds; None: time.monotonic."""
        clock = clock or time.monotonic
        self._limits = limits
        self.keeps_prefixes = keeps_prefixes
        self._tree = PrefixTree()
        self._free_slots = list(range(limits.num_all_slots - 1, -1, -1))
        self._kept: dict[int, float] = {}
        """Slots of ended sequences, with when they ended."""
        self._shelf = Shelf(limits.shelf_tokens if limits.can_cut else 0, clock)
        self._clock = clock
        self._worth = 0.5
        """Which share of prompts was found in what was kept, of late."""
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

    def find(self, tokens: Tokens[int], most: int | None = None) -> Found:
        """What is there of a prompt. Its last token is always left to compute: it says what comes next.

        most: how many tokens are of use at most; None: all.
        """
        if not self.keeps_prefixes:
            return Found()
        limit = len(tokens) - 1 if most is None else min(most, len(tokens) - 1)
        match = self._tree.find(tokens, limit, whole_slots=not self._limits.can_cut)
        if match.num_tokens < LEAST_KEPT_TOKENS:
            match = Match()
        runs = self._shelf.find(tokens, match.num_tokens, limit)
        is_worth_it = runs and runs[-1].end - match.num_tokens >= LEAST_SHELVED_TOKENS
        return Found(match, runs if is_worth_it else [])

    def claim(self, tokens: Tokens[int] = (), found: Found | None = None) -> tuple[int, int]:
        """A slot that holds what was found of `tokens`, or nothing, and how many tokens that are.

        There must be a slot that no running sequence has.
        """
        found = found or Found()
        if tokens:
            self._learn_worth(tokens, found)
        slot = self._claim_slot(found.match)
        num_tokens = found.match.num_tokens
        for run in found.runs:
            if not self._shelf.has(run.key):
                break
            length = self._shelf.length(run.key)
            self.make_room(length)
            if not self._shelf.has(run.key) or self._num_free_tokens < length:
                break
            self._moves.append(Load(run.key, slot, run.start, run.end))
            self._tree.extend(slot, tokens[run.start : run.end])
            num_tokens = run.end
        return slot, num_tokens

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
        self._kept[slot] = self._clock()

    def drop(self, slot: int) -> None:
        """What the slot holds is of no use any more."""
        self._tree.unpin(slot)
        self._release(slot)

    def make_room(self, num_tokens: int) -> None:
        """See to it that so many cells are free, as far as what is kept can go."""
        while (missing := num_tokens - self._num_free_tokens) > 0:
            if not self._shorten_oldest(max(missing, LEAST_FREED_TOKENS)):
                return

    def clear_away(self) -> None:
        """Let go of some of what is kept, where it is so much that it holds up those that run: to the shelf, or
        altogether if it is cold."""
        cold = self._clock() - COLD_SECONDS * max(_LEAST_WORTH, min(1.0, 2 * self._worth))
        most = MOST_CLEARED_TOKENS
        while most > 0 and (excess := self._num_idle_tokens - self._limits.idle_tokens) > 0:
            slot = min(self._kept, key=self._tree.last_used)
            num_own_tokens = self._tree.length(slot) - self._tree.own_start(slot)
            num_tokens = min(max(excess, LEAST_FREED_TOKENS), num_own_tokens, _RUN_TOKENS)
            if self._kept[slot] > cold and not self._shelf.has_room(num_tokens, cold):
                return
            self._shorten(slot, num_tokens)
            most -= num_tokens

    def _learn_worth(self, tokens: Tokens[int], found: Found) -> None:
        num_kept = found.match.num_unpinned_tokens + found.num_tokens - found.match.num_tokens
        # Who sends less than this goes on with nothing, and may be the first of many such.
        num_said = max(1, len(tokens) - _TEMPLATE_TOKENS)
        share = max(0, num_kept - _TEMPLATE_TOKENS) / num_said
        self._worth += _WORTH_SMOOTHING * (min(1.0, share) - self._worth)

    def forget_all(self) -> None:
        """Nothing is in the cache or on the shelf any more, and nobody has a slot."""
        for slot in self._kept:
            self._tree.cut(slot, 0)
            self._free_slots.append(slot)
        self._kept.clear()
        self._shelf.clear()
        self._moves = []

    @property
    def _num_idle_tokens(self) -> int:
        return self._tree.num_tokens - self._tree.num_pinned_tokens

    @property
    def _num_free_tokens(self) -> int:
        return self._limits.kv_cache_tokens - self._tree.num_tokens

    def _claim_slot(self, match: Match) -> int:
        source = match.slot
        if source is not None:
            self._tree.touch(source)
            is_whole = self._tree.length(source) == match.num_tokens
            is_last = not self._free_slots and self._kept.keys() == {source}
            if source in self._kept and (is_whole or is_last):
                return self._take_over(source, match.num_tokens)
        if not self._free_slots:
            self._release(min(self._kept.keys() - {source}, key=self._tree.own_last_used))
        slot = self._free_slots.pop()
        self._tree.pin(slot)
        if source is not None:
            self.copy(source, slot, match.num_tokens)
        return slot

    def _shorten_oldest(self, num_tokens: int) -> bool:
        """Let go of the last tokens of the slot whose end was not used for longest: `num_tokens` of them, or fewer
        where those before were used later. False where nothing is kept."""
        slot = min(self._kept, key=self._tree.last_used, default=None)
        if slot is None:
            return False
        self._shorten(slot, num_tokens)
        return True

    def _shorten(self, slot: int, num_tokens: int) -> None:
        length = self._tree.length(slot)
        left = max(self._tree.end_start(slot), length - num_tokens)
        if not self._limits.can_cut or left < LEAST_KEPT_TOKENS or self._tree.is_covered(slot):
            self._release(slot)
            return
        self._put_on_shelf(slot, left)
        self._tree.cut(slot, left)
        self._moves.append(Cut(slot, left))
        if self._tree.is_covered(slot):
            self._release(slot)

    def _take_over(self, slot: int, num_tokens: int) -> int:
        del self._kept[slot]
        self._tree.pin(slot)
        if self._tree.length(slot) > num_tokens:
            self._tree.cut(slot, num_tokens)
            self._moves.append(Cut(slot, num_tokens))
        return slot

    def _put_on_shelf(self, slot: int, start: int) -> None:
        """Store the slot's tokens from `start` on, if there is a shelf for them. The slot is kept."""
        if not self._limits.shelf_tokens or not self._limits.can_cut:
            return
        length = self._tree.length(slot)
        key, gone = self._shelf.put(self._tree.tokens(slot), start, self._kept[slot])
        self._moves += [Discard(old) for old in gone]
        if key is not None:
            self._moves.append(Store(slot, key, start, length))

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
        if slot in self._kept:
            self._put_on_shelf(slot, self._tree.own_start(slot))
            del self._kept[slot]
        if self._tree.length(slot):
            self._tree.cut(slot, 0)
        # Cells of a batch that failed may be there without the tree's knowing.
        self._moves.append(Cut(slot, 0))
        self._free_slots.append(slot)
