"""Which inputs a batch embeds."""

from __future__ import annotations

import pytest
from embedding_fakes import LIMITS, WHOLE
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.engine.embedding.job import EmbeddingLimits, Job, Piece
from llamawire_server.engine.embedding.scheduler import EmbeddingScheduler


def job(number: int, *lengths: int, rank: float | None = None, num_done: int = 0) -> Job:
    return Job(
        number,
        [[number] * length for length in lengths],
        float(number) if rank is None else rank,
        num_done=num_done,
    )


def scheduler(*jobs: Job, limits: EmbeddingLimits = LIMITS) -> EmbeddingScheduler:
    made = EmbeddingScheduler(limits)
    for one in jobs:
        made.add(one)
    return made


def described(batch: list[Piece]) -> list[tuple[int, int, int, int]]:
    return sorted((piece.job.request_id, piece.index, piece.start, piece.stop) for piece in batch)


def step(made: EmbeddingScheduler, budget: int = 32) -> list[tuple[int, int, int, int]]:
    batch = made.schedule(budget)
    made.commit(batch)
    return described(batch)


def test_inputs_of_several_jobs_share_a_batch() -> None:
    made = scheduler(job(1, 5), job(2, 6), job(3, 7))
    assert made.num_tokens_left == 18
    assert step(made) == [(1, 0, 0, 5), (2, 0, 0, 6), (3, 0, 0, 7)]
    assert not made.has_work
    assert step(made) == []


def test_a_library_leaves_room_for_a_question() -> None:
    library = job(1, *[16] * 10)
    made = scheduler(library, job(2, 30))
    assert step(made) == [(1, 0, 0, 16), (1, 1, 0, 16)]
    assert step(made) == [(2, 0, 0, 30)]
    assert step(made) == [(1, 2, 0, 16), (1, 3, 0, 16)]
    assert library.num_done == 4


def test_the_first_in_line_gets_every_other_batch_whatever_comes() -> None:
    made = scheduler(job(1, *[30] * 3), *(job(number, 8) for number in range(2, 20)))
    seen = [step(made) for _ in range(5)]
    assert [[piece[0] for piece in batch] for batch in seen[::2]] == [[1]] * 3
    assert [[piece[0] for piece in batch] for batch in seen[1::2]] == [[2, 3, 4, 5], [6, 7, 8, 9]]


def test_what_one_leaves_of_a_batch_is_for_the_others() -> None:
    made = scheduler(job(1, 20), job(2, 30), job(3, 10))
    assert step(made) == [(1, 0, 0, 20), (3, 0, 0, 10)]
    assert step(made) == [(2, 0, 0, 30)]


def test_those_that_need_least_come_before_the_others() -> None:
    made = scheduler(job(1, *[16] * 9), job(2, 8, 8, 8), job(3, 8))
    step(made)
    assert step(made, budget=16) == [(2, 0, 0, 8), (3, 0, 0, 8)]


def test_a_lower_rank_is_further_in_front() -> None:
    made = scheduler(job(1, *[30] * 3), job(2, *[30] * 3, rank=-5.0))
    assert step(made) == [(2, 0, 0, 30)]


def test_a_long_input_is_computed_in_parts_beside_others() -> None:
    made = scheduler(job(1, 80), job(2, 10), job(3, 20))
    assert step(made) == [(1, 0, 0, 32)], "where it is begun, all of the batch is its own"
    assert step(made) == [(1, 0, 32, 34), (2, 0, 0, 10), (3, 0, 0, 20)]
    assert step(made) == [(1, 0, 34, 66)]
    assert step(made) == [(1, 0, 66, 80)]


def test_no_second_long_input_is_begun_beside_one() -> None:
    made = scheduler(job(1, 80), job(2, 80))
    step(made)
    made.add(job(3, 90, rank=-9.0))
    assert [step(made) for _ in range(2)] == [[(1, 0, 32, 64)], [(1, 0, 64, 80)]]
    assert step(made) == [(2, 0, 0, 32)]
    assert step(made) == [(2, 0, 32, 64)]


def test_what_can_not_be_divided_goes_alone() -> None:
    made = scheduler(job(1, 80, 5), job(2, 10), limits=WHOLE)
    assert step(made) == [(1, 0, 0, 80)]
    assert step(made) == [(1, 1, 0, 5), (2, 0, 0, 10)]


def test_a_batch_has_no_more_inputs_than_it_may() -> None:
    made = scheduler(job(1, *[1] * 9))
    assert [len(step(made)) for _ in range(3)] == [4, 4, 1]
    made = scheduler(job(1, 1, 1, 1, 1), *(job(number, 1) for number in range(2, 9)))
    assert len(step(made)) == 4


def test_a_small_budget_is_kept_to() -> None:
    made = scheduler(job(1, 30, 4))
    assert step(made, budget=8) == [(1, 0, 0, 8)]
    assert step(made, budget=8) == [(1, 0, 8, 16)]
    assert step(made, budget=20) == [(1, 0, 16, 30), (1, 1, 0, 4)]


def test_what_was_lost_is_computed_again() -> None:
    long = job(1, 80)
    made = scheduler(long)
    step(made)
    made.restart()
    assert long.num_tokens_left == 80
    assert step(made) == [(1, 0, 0, 32)]


def test_a_job_goes_on_where_another_worker_stood() -> None:
    made = scheduler(job(1, 5, 6, 7, num_done=2))
    assert made.num_tokens_left == 7
    assert step(made) == [(1, 2, 0, 7)]


def test_who_goes_alone_shares_no_batch() -> None:
    alone = job(1, 5, 50)
    alone.goes_alone = True
    made = scheduler(alone, job(2, 5))
    assert step(made) == [(1, 0, 0, 5)]
    assert step(made) == [(2, 0, 0, 5)]
    assert step(made) == [(1, 1, 0, 32)]
    assert step(made) == [(1, 1, 32, 50)]


def test_a_job_that_is_dropped_leaves_nothing() -> None:
    long = job(1, 80)
    made = scheduler(long, job(2, 90))
    step(made)
    made.remove(long)
    made.remove(long)
    assert step(made) == [(2, 0, 0, 32)]


@pytest.mark.parametrize("lengths", [(), (0,), (101,)])
def test_what_could_never_run_is_refused(lengths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a context of 100"):
        scheduler(job(1, *lengths))


@given(
    jobs=st.lists(st.lists(st.integers(1, 100), min_size=1, max_size=6), min_size=1, max_size=8),
    budgets=st.lists(st.integers(1, 64), min_size=1, max_size=4),
    is_whole=st.booleans(),
)
def test_every_token_is_computed_once_and_in_its_order(
    jobs: list[list[int]], budgets: list[int], is_whole: bool
) -> None:
    limits = WHOLE if is_whole else LIMITS
    made = scheduler(*(job(number, *lengths) for number, lengths in enumerate(jobs)), limits=limits)
    computed: dict[tuple[int, int], int] = {}
    num_steps = 0
    while made.has_work:
        budget = budgets[num_steps % len(budgets)]
        batch = made.schedule(budget)
        num_steps += 1
        assert batch
        assert len(batch) <= limits.batch_inputs
        num_tokens = sum(piece.num_tokens for piece in batch)
        assert num_tokens <= min(budget, limits.batch_tokens) or (is_whole and len(batch) == 1)
        for number, index, start, stop in described(batch):
            assert start == computed.get((number, index), 0)
            computed[number, index] = stop
        begun = [key for key, stop in computed.items() if stop < jobs[key[0]][key[1]]]
        assert len(begun) <= (0 if is_whole else 1)
        made.commit(batch)
    assert computed == {
        (number, index): length for number, lengths in enumerate(jobs) for index, length in enumerate(lengths)
    }
    assert made.num_tokens_left == 0
