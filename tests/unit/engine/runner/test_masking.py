"""Which tokens of a row are left by a mask, whatever their number."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from constraints import mask_of
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.engine.runner.masking import Masking

SIZES = st.sampled_from([1, 7, 31, 32, 33, 64, 100, 1000, 4097])


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, list[int]]:
    size = draw(SIZES)
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    share = draw(st.sampled_from([0.0, 0.001, 0.05, 0.12, 0.13, 0.5, 0.99, 1.0]))
    return size, np.flatnonzero(generator.random(size) < share).tolist()


@given(case=cases(), num_more_words=st.integers(0, 2))
def test_what_may_come_keeps_its_logit_and_its_place_and_nothing_else_can(
    case: tuple[int, list[int]], num_more_words: int
) -> None:
    size, allowed = case
    logits = np.random.default_rng(1).normal(0, 3, size).astype(np.float32)
    before = logits.copy()
    mask = np.concatenate([mask_of(allowed, size), np.full(num_more_words, 2**32 - 1, np.uint32)])
    row = Masking().apply(logits, mask)
    left = {row.token(place): value for place, value in enumerate(row.logits.tolist()) if value > -np.inf}
    assert left == {token: float(before[token]) for token in allowed}
    assert list(left) == allowed, "in their order"
    assert np.array_equal(logits, before)


def test_tokens_that_a_mask_does_not_reach_may_not_come() -> None:
    row = Masking().apply(np.zeros(100, np.float32), np.full(2, 2**32 - 1, np.uint32))
    assert [place for place, value in enumerate(row.logits) if value == 0] == list(range(64))


def test_bits_beyond_the_vocabulary_are_nothing() -> None:
    row = Masking().apply(np.zeros(33, np.float32), np.array([0, 2**32 - 2], np.uint32))
    assert len(row.logits) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stays_what_it_is_or_is_gone(value: float) -> None:
    logits = np.full(64, value, np.float32)
    for allowed in ([3], list(range(60))):
        row = Masking().apply(logits, mask_of(allowed, 64))
        kept = [place for place in range(len(row.logits)) if row.token(place) in allowed]
        assert np.array_equal(row.logits[kept], logits[kept], equal_nan=True)
        assert not np.any(np.delete(row.logits, kept) > -np.inf)


def test_each_thread_has_memory_of_its_own() -> None:
    masking = Masking()
    logits = np.zeros(64, np.float32)
    first = masking.apply(logits, mask_of(range(60), 64))
    others = []
    thread = threading.Thread(target=lambda: others.append(masking.apply(logits, mask_of(range(30), 64))))
    thread.start()
    thread.join()
    assert np.count_nonzero(first.logits == 0) == 60
    assert np.count_nonzero(others[0].logits == 0) == 30
