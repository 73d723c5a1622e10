"""What left the KV cache for want of room, and can be put back without computing it again.

The shelf is main memory: putting a token's cells back takes microseconds where computing them takes milliseconds.
This is the bookkeeping; the runner has the bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llamawire_server.engine.prefixes.tree import common_length

# Fewer tokens are as well computed again, unless what is there goes on from them: it could not be put back without.
LEAST_SHELVED_TOKENS = 32


@dataclass(frozen=True)
class Run:
    """The tokens in [start, end) of a sequence, as the shelf has them under `key`, all of it or a part."""

    key: int
    start: int
    end: int


@dataclass(eq=False)
class _Entry:
    tokens: list[int]
    """All of the sequence up to the run's end: what is computed of a token depends on all that come before it."""
    start: int
    used_at: float

    @property
    def num_tokens(self) -> int:
        return len(self.tokens) - self.start


class Shelf:
    """Runs of tokens, the least recently used of which go when there is no more room."""

    def __init__(self, max_tokens: int, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: in seconds."""
        self.num_tokens = 0
        self._max_tokens = max_tokens
        self._entries: dict[int, _Entry] = {}
        self._next_key = 0
        self._clock = clock

    def has(self, key: int) -> bool:
        return key in self._entries

    def length(self, key: int) -> int:
        """How many tokens there are under the key."""
        return self._entries[key].num_tokens

    def has_room(self, num_tokens: int, unused_since: float) -> bool:
        """Whether so many tokens can be taken without dropping what was used later than `unused_since`."""
        used = sum(entry.num_tokens for entry in self._entries.values() if entry.used_at > unused_since)
        return used + num_tokens <= self._max_tokens

    def put(
        self, tokens: list[int], start: int, used_at: float | None = None
    ) -> tuple[int | None, list[int]]:
        """Take the run of `tokens` from `start` on, which was last used at a time by the clock; None: just now.

        Gives its key, or None where it is not to be stored: it is there already, or not worth it, or there is no room
        but that of what was used later. And the keys of what had to go.
        """
        num_tokens = len(tokens) - start
        if not 0 < num_tokens <= self._max_tokens:
            return None, []
        if num_tokens < LEAST_SHELVED_TOKENS and not self._goes_on_from(tokens):
            return None, []
        runs = self.find(tokens, start, len(tokens))
        if runs and runs[-1].end == len(tokens):
            return None, []
        used_at = self._clock() if used_at is None else used_at
        if not self.has_room(num_tokens, used_at):
            return None, []
        gone = []
        while self.num_tokens + num_tokens > self._max_tokens:
            oldest = min(self._entries, key=lambda key: self._entries[key].used_at)
            self.num_tokens -= self._entries.pop(oldest).num_tokens
            gone.append(oldest)
        key = self._next_key
        self._next_key += 1
        self._entries[key] = _Entry(tokens, start, used_at)
        self.num_tokens += num_tokens
        return key, gone

    def clear(self) -> None:
        """Let go of everything."""
        self._entries.clear()
        self.num_tokens = 0

    def find(self, tokens: Sequence[int], start: int, limit: int) -> list[Run]:
        """Runs that follow each other from `start` on, as far as the shelf has what `tokens` are, up to `limit`.

        What is found counts as used.
        """
        reaches = []
        for key, entry in self._entries.items():
            most = min(len(entry.tokens), limit)
            if most > start and entry.tokens[: start + 1] == tokens[: start + 1]:
                reaches.append((key, entry, common_length(entry.tokens, tokens, most)))
        runs: list[Run] = []
        at = start
        while nexts := [reach for reach in reaches if reach[1].start <= at < reach[2]]:
            key, entry, end = max(nexts, key=lambda reach: reach[2])
            entry.used_at = self._clock()
            runs.append(Run(key, at, end))
            at = end
        return runs

    def _goes_on_from(self, tokens: list[int]) -> bool:
        """Whether there is a run that can be put back after `tokens`, and not without their last one."""
        length = len(tokens)
        return any(
            entry.start == length and entry.tokens[:length] == tokens for entry in self._entries.values()
        )
