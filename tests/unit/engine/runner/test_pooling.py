"""From the vectors of tokens to the one of a text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.engine.decode_errors import DecodeError
from llamawire_server.engine.runner.pooling import Pool, PoolingError, find_pooling

ROWS = np.array([[3, 4, 0], [0, 0, 8], [0, 5, 0]], np.float32)


def pooled(pooling: str, *parts: object, dimensions: int | None = None) -> list[float]:
    pool = Pool(pooling)
    for part in parts:
        pool.add(np.array(part, np.float32))
    return np.frombuffer(pool.vector(dimensions), "<f4").tolist()


def test_the_mean_has_length_one() -> None:
    expected = np.array([3, 9, 8]) / np.sqrt(9 + 81 + 64)
    assert pooled("mean", ROWS) == pytest.approx(expected, rel=1e-6)


def test_the_first_and_the_last_stand_for_all() -> None:
    assert pooled("cls", ROWS) == pytest.approx([0.6, 0.8, 0])
    assert pooled("last", ROWS) == [0, 1, 0]


@given(st.sampled_from(["mean", "cls", "last"]), st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_parts_come_to_the_same_as_the_whole(pooling: str, sizes: list[int]) -> None:
    rows = np.random.default_rng(sum(sizes)).standard_normal((sum(sizes), 5), np.float32)
    parts = np.split(rows, np.cumsum(sizes)[:-1])
    assert pooled(pooling, *parts) == pytest.approx(pooled(pooling, rows), rel=1e-6)


def test_fewer_dimensions_are_scaled_again() -> None:
    assert pooled("cls", [[3, 4, 12]], dimensions=2) == pytest.approx([0.6, 0.8])
    assert pooled("cls", [[3, 4, 12]], dimensions=3) == pytest.approx([3 / 13, 4 / 13, 12 / 13])


def test_the_rows_are_not_held_on_to() -> None:
    rows = ROWS.copy()
    pool = Pool("last")
    pool.add(rows)
    rows[:] = 0
    assert np.frombuffer(pool.vector(), "<f4").tolist() == [0, 1, 0]


def test_nothing_stays_nothing_and_nonsense_is_told() -> None:
    assert pooled("mean", [[0, 0]]) == [0, 0]
    for bad in (np.nan, np.inf):
        with pytest.raises(DecodeError):
            pooled("mean", [[bad, 0]])


@pytest.mark.parametrize(
    ("in_file", "setting", "expected"),
    [
        ("1", None, "mean"),
        ("2", None, "cls"),
        ("3", None, "last"),
        (None, None, "mean"),
        ("2", "last", "last"),
        ("0", "cls", "cls"),
        ("4", "mean", "mean"),
    ],
)
def test_how_a_model_pools(in_file: str | None, setting: str | None, expected: str) -> None:
    assert find_pooling(in_file, setting) == expected


@pytest.mark.parametrize(
    ("in_file", "why"), [("0", "a vector for each token"), ("4", "ranks texts"), ("9", "unknown")]
)
def test_a_model_that_gives_no_vector_for_a_text(in_file: str, why: str) -> None:
    with pytest.raises(PoolingError, match=why):
        find_pooling(in_file, None)
