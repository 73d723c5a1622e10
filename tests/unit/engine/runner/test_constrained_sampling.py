"""Sampling where not every token may come."""

from __future__ import annotations

import numpy as np
import pytest
from constraints import Choices
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from sampling import GREEDY

from llamawire_server.engine.constraint import ConstraintError
from llamawire_server.engine.decode_errors import DecodeError
from llamawire_server.engine.runner.batch_sampling import BatchSampling
from llamawire_server.engine.runner.sampler import Pick, Sampler
from llamawire_server.engine.sequence import SamplingParameters, Sequence

SIZE = 200


def sequence(constraint: Choices | None, sampling: SamplingParameters = GREEDY, index: int = 0) -> Sequence:
    return Sequence(1, index, [1], 1, 1000, sampling, constraint=constraint)


samplings = st.builds(
    lambda **fields: structs.replace(GREEDY, **fields),
    temperature=st.sampled_from([0.0, 0.7, 1.0, 2.0]),
    top_p=st.sampled_from([0.0, 0.3, 0.95, 1.0]),
    top_k=st.sampled_from([0, 1, 5, 64]),
    min_p=st.sampled_from([0.0, 0.05]),
    seed=st.integers(0, 1000),
    frequency_penalty=st.sampled_from([0.0, 0.5]),
    repeat_penalty=st.sampled_from([1.0, 1.3]),
    logit_bias=st.sampled_from([{}, {3: 5.0, 77: -4.0}]),
)


@given(
    sampling=samplings,
    allowed=st.lists(
        st.one_of(
            st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=5, unique=True),
            st.integers(1, SIZE).map(lambda count: list(range(count))),
        ),
        min_size=1,
        max_size=8,
    ),
    seed=st.integers(0, 1000),
)
def test_it_is_as_if_the_others_were_impossible(
    sampling: SamplingParameters, allowed: list[list[int]], seed: int
) -> None:
    row = np.random.default_rng(seed).normal(0, 2, SIZE).astype(np.float32)
    before = row.copy()
    constraint = Choices(*allowed, size=SIZE)
    masked = Sampler(sequence(constraint, sampling))
    plain = Sampler(sequence(None, sampling))
    for place in allowed:
        narrowed = np.full(SIZE, -np.inf, np.float32)
        narrowed[place] = row[place]
        assert masked.sample(row) == plain.sample(narrowed)
        assert np.array_equal(row, before), "siblings sample from the same row"
    assert constraint.num_tokens == len(allowed)


def test_a_bias_does_not_let_come_what_may_not() -> None:
    sampling = structs.replace(GREEDY, logit_bias={3: 100.0})
    assert Sampler(sequence(Choices([5, 8], size=SIZE), sampling)).sample(np.zeros(SIZE, np.float32)) == 5


def test_a_constraint_that_fails_leaves_everything_as_it_was() -> None:
    row = np.zeros(SIZE, np.float32)
    sampling = structs.replace(GREEDY, presence_penalty=1.0)
    sampler = Sampler(sequence(Choices([5], [6], size=SIZE, fails_at=1), sampling))
    assert sampler.sample(row) == 5
    with pytest.raises(ConstraintError, match="too complex"):
        sampler.sample(row)
    assert sampler.place == 1
    assert not row.any()


@pytest.mark.parametrize("logit", [np.nan, -np.inf])
def test_where_nothing_that_may_come_is_possible_the_constraint_is_at_fault(logit: float) -> None:
    row = np.zeros(SIZE, np.float32)
    row[[5, 6]] = logit
    with pytest.raises(ConstraintError, match="possible"):
        Sampler(sequence(Choices([5, 6], size=SIZE))).sample(row)
    with pytest.raises(ConstraintError, match="no token"):
        Sampler(sequence(Choices(size=SIZE))).sample(row)
    with pytest.raises(DecodeError):
        Sampler(sequence(None)).sample(np.full(SIZE, logit, np.float32))


def test_a_sampler_takes_back_what_came_of_a_step_that_failed() -> None:
    constraint = Choices([5], [6], [7], size=SIZE)
    one = sequence(constraint)
    sampler = Sampler(one)
    row = np.zeros(SIZE, np.float32)
    assert [sampler.sample(row), sampler.sample(row)] == [5, 6]
    one.tokens.append(5)  # the second was never committed
    assert Sampler(one).sample(row) == 6
    assert constraint.rewinds == [0, 1]
    assert constraint.tokens == [5, 6]


@pytest.mark.parametrize("num_threads", [1, 3])
def test_siblings_with_different_constraints_share_a_row(num_threads: int) -> None:
    size = 20_000
    row = np.random.default_rng(1).normal(0, 1, size).astype(np.float32)
    sampling = structs.replace(GREEDY, temperature=1.0, presence_penalty=0.5)
    allowed = [list(range(start, size, 7)) for start in range(7)]
    rows = [row, row.copy()]

    def samplers() -> list[Sampler]:
        return [
            Sampler(sequence(Choices(*[tokens] * 5, size=size), sampling, index))
            for index, tokens in enumerate(allowed)
        ]

    batch = BatchSampling(num_threads)
    together, alone = samplers(), samplers()
    for _ in range(5):
        results = batch.sample([(sampler, rows[number % 2]) for number, sampler in enumerate(together)])
        assert results == [sampler.pick(rows[number % 2]) for number, sampler in enumerate(alone)]
        for result, tokens in zip(results, allowed, strict=True):
            assert isinstance(result, Pick)
            assert result.token in tokens
    batch.close()


@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_constraint_that_fails_is_no_matter_of_the_others(num_threads: int) -> None:
    size = 20_000
    sampling = structs.replace(GREEDY, temperature=1.0)
    rows = np.random.default_rng(1).normal(0, 1, (4, size)).astype(np.float32)
    constraints = [None, Choices([5], size=size, fails_at=0), Choices([5], size=size), None]
    samplers = [Sampler(sequence(each, sampling, index)) for index, each in enumerate(constraints)]
    batch = BatchSampling(num_threads)
    results = batch.sample(list(zip(samplers, rows, strict=True)))
    batch.close()
    assert [isinstance(result, ConstraintError) for result in results] == [False, True, False, False]
    assert results[2] == Pick(5, None)
