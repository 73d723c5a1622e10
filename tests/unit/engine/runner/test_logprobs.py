"""How likely tokens were, against a full softmax."""

from __future__ import annotations

import math

import numpy as np
import pytest
from constraints import Choices
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack, structs
from sampling import GREEDY

from llamawire_server.engine.decode_errors import DecodeError
from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.engine.runner.distribution import token_logprobs
from llamawire_server.engine.runner.sampler import Sampler
from llamawire_server.engine.sequence import Sequence


@st.composite
def rows(draw: st.DrawFn) -> list[float]:
    size = draw(st.sampled_from([1, 2, 5, 19, 20, 21, 64, 1000, 5000, 49_152]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    row = generator.normal(
        draw(st.sampled_from([-80.0, 0.0, 30.0])), draw(st.sampled_from([0.0, 3.0, 40.0])), size
    )
    # Rounded ones have ties.
    return [float(value) for value in np.round(row, draw(st.sampled_from([0, 1, 9]))).astype(np.float32)]


def softmax(row: np.ndarray) -> np.ndarray:
    weights = np.exp(row.astype(np.float64) - row.astype(np.float64).max())
    return weights / math.fsum(weights)


@given(row=rows(), num_top=st.integers(0, 20), at=st.floats(0, 1, exclude_max=True))
def test_they_are_the_logarithms_of_a_full_softmax(row: list[float], num_top: int, at: float) -> None:
    memory = np.array(row, np.float32)
    before = memory.copy()
    token = int(at * len(row))
    found = token_logprobs(memory, token, num_top)
    logits = memory.astype(np.float64)
    total = math.log(math.fsum(np.exp(logits - logits.max()))) + logits.max()
    expected = sorted(range(len(row)), key=lambda token: (-row[token], token))[:num_top]
    assert found.token == token
    assert found.logprob == pytest.approx(row[token] - total, abs=1e-9)
    assert [token for token, _ in found.top] == expected, "the lower of equals first"
    for token, logprob in found.top:
        assert logprob == pytest.approx(row[token] - total, abs=1e-9)
    assert np.array_equal(memory, before)


def test_probabilities_of_everything_add_up_to_one() -> None:
    row = np.random.default_rng(5).normal(0, 4, 20).astype(np.float32)
    found = token_logprobs(row, 3, 20)
    assert math.fsum(math.exp(logprob) for _, logprob in found.top) == pytest.approx(1, abs=1e-12)
    assert dict(found.top)[3] == found.logprob
    for token, logprob in found.top:
        assert math.exp(logprob) == pytest.approx(softmax(row)[token], rel=1e-12)


def test_what_can_not_be_is_minus_infinity() -> None:
    row = np.array([math.nan, 1, -math.inf, 1], np.float32)
    found = token_logprobs(row, 2, 4)
    assert found.logprob == -math.inf
    assert found.top[:2] == [(1, pytest.approx(-math.log(2))), (3, pytest.approx(-math.log(2)))]
    assert {logprob for _, logprob in found.top[2:]} == {-math.inf}


def test_what_is_infinite_shares_everything() -> None:
    row = np.array([0, math.inf, 5, math.inf], np.float32)
    found = token_logprobs(row, 1, 3)
    assert found.logprob == pytest.approx(-math.log(2))
    assert found.top[2] == (2, -math.inf)


def test_a_row_without_a_possible_token_is_an_error() -> None:
    with pytest.raises(DecodeError):
        token_logprobs(np.full(5, math.nan, np.float32), 1, 2)


def test_they_cross_between_processes() -> None:
    told = TokenLogprobs(3, -math.inf, [(1, -0.5), (2, -math.inf)])
    assert msgpack.decode(msgpack.encode(told), type=TokenLogprobs) == told


def test_they_are_of_the_row_as_it_was_computed() -> None:
    """Whatever a bias, penalties, a constraint and the temperature make of it."""
    row = np.random.default_rng(2).normal(0, 2, 50).astype(np.float32)
    sampling = structs.replace(
        GREEDY, temperature=0.3, presence_penalty=2.0, repeat_penalty=1.4, logit_bias={4: 50.0}
    )
    constraint = Choices([7, 9, 30], size=50)
    sequence = Sequence(
        1, 0, [4, 7], 1, 10, sampling, constraint=Choices([7], [7, 9, 30], size=50), num_top_logprobs=5
    )
    assert sequence.constraint is not None
    sequence.constraint.accept(7)
    pick = Sampler(sequence).pick(row)
    assert pick.token in constraint.places[0]
    assert pick.logprobs == token_logprobs(row, pick.token, 5)


@pytest.mark.parametrize("num_top", [0, 1, 20])
def test_as_many_are_told_as_are_wanted(num_top: int) -> None:
    sequence = Sequence(1, 0, [4], 1, 10, GREEDY, num_top_logprobs=num_top)
    logprobs = Sampler(sequence).pick(np.arange(50, dtype=np.float32)).logprobs
    assert logprobs is not None
    assert len(logprobs.top) == num_top


def test_who_wants_none_has_none() -> None:
    assert Sampler(Sequence(1, 0, [4], 1, 10, GREEDY)).pick(np.arange(5, dtype=np.float32)).logprobs is None
