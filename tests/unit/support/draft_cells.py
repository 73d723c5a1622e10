"""A draft model that computes nothing, and believes nothing either: it knows which token is in each of its cells."""

from __future__ import annotations

from collections.abc import Callable

from llamawire_server.engine.drafting.rows import Run
from llamawire_server.engine.step import Limits


class DraftCells:
    """A `DraftDecoder` that guesses by a rule. Each of its batches takes as long as it is told, by its own clock."""

    end_token_ids: frozenset[int] = frozenset({0})

    def __init__(
        self,
        limits: Limits,
        guess: Callable[[list[int]], int],
        token_seconds: float = 0.0,
        *,
        can_cut: bool = True,
    ) -> None:
        """guess: what comes after so many tokens. token_seconds: what a batch takes for each of its tokens."""
        self.limits = limits
        self.held: dict[int, list[int]] = {slot: [] for slot in range(limits.num_slots)}
        self.batches: list[list[Run]] = []
        self.num_copied_tokens = 0
        self.token_seconds = token_seconds
        self.now = 0.0
        self.failure: Exception | None = None
        """What the next batch fails with."""
        self._guess = guess
        self._can_cut = can_cut

    @property
    def num_computed_tokens(self) -> int:
        return sum(len(run.tokens) for batch in self.batches for run in batch)

    def clock(self) -> float:
        return self.now

    def decode(self, runs: list[Run]) -> list[int]:
        num_tokens = sum(len(run.tokens) for run in runs)
        assert 0 < num_tokens <= self.limits.batch_tokens
        assert len({run.slot for run in runs}) == len(runs)
        self.batches.append(runs)
        self.now += self.token_seconds * num_tokens
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        for run in runs:
            assert run.tokens, "a run without tokens has no logits"
            assert run.start == len(self.held[run.slot]), "a slot has every place once"
            self.held[run.slot] += run.tokens
            assert len(self.held[run.slot]) <= self.limits.context_length
        # Shared cells count for each, as for who decides what there is room for.
        assert sum(map(len, self.held.values())) <= self.limits.kv_cache_tokens, "there are no more cells"
        return [self._guess(self.held[run.slot]) for run in runs if run.is_asked]

    def copy(self, source: int, target: int, num_tokens: int) -> None:
        assert not self.held[target], "only what is empty can get what another one has"
        assert len(self.held[source]) >= num_tokens > 0
        self.num_copied_tokens += num_tokens
        self.held[target] = self.held[source][:num_tokens]

    def cut(self, slot: int, num_tokens: int) -> bool:
        if not self._can_cut and num_tokens:
            return False
        del self.held[slot][num_tokens:]
        return True

    def clear(self) -> None:
        for held in self.held.values():
            held.clear()
