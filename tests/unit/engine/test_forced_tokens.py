"""Tokens that come whatever is likely, and how far anybody may guess before somebody looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs
from sampling import GREEDY

from llamawire_server.engine.runner.sampler import Logits, Sampler
from llamawire_server.engine.scheduler import Scheduler
from llamawire_server.engine.sequence import Sequence
from llamawire_server.engine.step import Draft, Limits, Sampled

LIMITS = Limits(num_slots=2, kv_cache_tokens=200, context_length=100, batch_tokens=64)
UNLIKELY, LIKELY = 3, 6


def row() -> Logits:
    logits = np.zeros(8, np.float32)
    logits[LIKELY] = 9
    return logits


def sequence(**fields: object) -> Sequence:
    return replace(Sequence(1, 0, [1, 2], 2, 50, GREEDY), **fields)  # type: ignore[arg-type]


def test_what_is_forced_comes_in_place_of_what_is_likely() -> None:
    made = sequence(forced_tokens=[UNLIKELY, 5])
    sampler = Sampler(made)
    assert [sampler.sample(row()) for _ in range(3)] == [UNLIKELY, 5, LIKELY], "several places of one step"
    assert sampler.place == 3


def test_what_is_forced_later_begins_at_the_sequence_s_end() -> None:
    made = sequence()
    sampler = Sampler(made)
    made.tokens.append(sampler.sample(row()))
    made.forced_tokens.append(UNLIKELY)
    assert sampler.sample(row()) == UNLIKELY


def test_what_is_forced_counts_as_generated() -> None:
    made = sequence(
        forced_tokens=[LIKELY], sampling=structs.replace(GREEDY, presence_penalty=2.0, logit_bias={5: 8.0})
    )
    sampler = Sampler(made)
    assert [sampler.sample(row()) for _ in range(2)] == [LIKELY, 5]


class Eager:
    """Guesses as much as there is use for."""

    def drafts(self, decoding: list[tuple[Sequence, int]], room: int) -> list[Draft]:
        return [Draft(tuple([7] * most)) for _, most in decoding]


def decoding(**fields: object) -> tuple[Scheduler, Sequence]:
    """A scheduler with one sequence that has its first token."""
    scheduler, made = Scheduler(LIMITS), sequence(**fields)
    scheduler.add([made])
    scheduler.commit(scheduler.schedule(64), {made: Sampled([9])}, frozenset())
    return scheduler, made


def test_the_scheduler_takes_away_what_has_come() -> None:
    _, made = decoding(forced_tokens=[9, 8, 7])
    assert made.forced_tokens == [8, 7]


@pytest.mark.parametrize(("num_free", "num_drafted"), [(None, 48), (1, 0), (2, 1), (10, 9), (1000, 48)])
def test_no_more_is_guessed_than_may_come_unseen(num_free: int | None, num_drafted: int) -> None:
    scheduler, made = decoding(num_free_tokens=num_free)
    (piece,) = scheduler.schedule(64, Eager()).slices
    assert len(piece.draft) == num_drafted
    assert piece.sequence is made
