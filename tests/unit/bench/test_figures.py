"""What times say."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import (
    crowded_intervals,
    decode_rate,
    gaps,
    gaps_touching,
    median_ratio,
    percentile,
)

FINITE = st.floats(-1e6, 1e6)


@given(st.lists(FINITE, min_size=1), st.floats(0, 100))
def test_percentiles_are_those_of_numpy(values: list[float], percent: float) -> None:
    assert percentile(values, percent) == pytest.approx(numpy.percentile(values, percent), abs=1e-6)


def test_a_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


def test_gaps_lie_between_neighbours() -> None:
    assert gaps([1.0, 1.5, 3.5]) == [0.5, 2.0]
    assert gaps([1.0]) == []


def test_a_gap_that_outlasts_the_interval_counts_whole() -> None:
    times = [0.0, 1.0, 9.0, 10.0]
    assert gaps_touching(times, (3.0, 4.0)) == [8.0]
    assert gaps_touching(times, (0.5, 9.5)) == [1.0, 8.0, 1.0]


def test_a_gap_that_ends_where_the_interval_begins_does_not_count() -> None:
    assert gaps_touching([0.0, 1.0, 2.0], (1.0, 1.5)) == [1.0]
    assert gaps_touching([0.0, 1.0, 2.0], (0.5, 1.0)) == [1.0]


def test_one_stream_is_crowded_from_its_first_to_its_last_chunk() -> None:
    assert crowded_intervals([[1.0, 2.0, 5.0]], 1) == [(1.0, 5.0)]


def test_streams_in_a_line_are_crowded_one_after_the_other() -> None:
    assert crowded_intervals([[1.0, 2.0], [3.0, 4.0]], 1) == [(1.0, 2.0), (3.0, 4.0)]
    assert crowded_intervals([[1.0, 2.0], [3.0, 4.0]], 2) == []


def test_the_crowd_begins_with_the_last_to_come_and_ends_with_the_first_to_go() -> None:
    assert crowded_intervals([[0.0, 10.0], [1.0, 8.0], [2.0, 9.0]], 3) == [(2.0, 8.0)]
    assert crowded_intervals([[0.0, 10.0], [1.0, 8.0], [2.0, 9.0]], 2) == [(1.0, 9.0)]


def test_a_stream_that_takes_the_place_of_another_keeps_the_crowd_together() -> None:
    intervals = crowded_intervals([[0.0, 4.0], [0.0, 2.0], [2.0, 4.0]], 2)
    assert intervals == [(0.0, 2.0), (2.0, 4.0)]


def test_the_rate_of_one_stream_leaves_out_its_first_token() -> None:
    assert decode_rate([[5.0, 5.5, 6.0, 6.5]], 1) == pytest.approx(2.0)


def test_only_the_time_in_which_all_generate_counts() -> None:
    fast = [float(second) / 2 for second in range(21)]  # 2 a second until 10
    slow = [float(second) for second in range(5, 21)]  # 1 a second from 5
    assert decode_rate([fast, slow], 2) == pytest.approx(3.0)


def test_a_gap_counts_for_the_part_that_lies_in_that_time() -> None:
    # The long one's gap of 4 s is half a token in the 2 s of the other.
    assert decode_rate([[0.0, 4.0], [1.0, 2.0, 3.0]], 2) == pytest.approx((2 + 0.5) / 2)


def test_chunks_of_several_tokens_count_for_as_many() -> None:
    assert decode_rate([[0.0, 1.0, 2.0]], 1, tokens_per_chunk=3.0) == pytest.approx(3.0)


def test_chunks_that_come_at_once_count() -> None:
    assert decode_rate([[0.0, 1.0, 1.0, 2.0]], 1) == pytest.approx(1.5)


def test_streams_that_never_ran_together_have_no_rate() -> None:
    with pytest.raises(ValueError, match="no 2 streams"):
        decode_rate([[0.0, 1.0], [2.0, 3.0]], 2)


@given(
    st.lists(st.lists(st.floats(0.01, 10), min_size=2, max_size=9), min_size=1, max_size=5),
    st.floats(0.1, 10),
)
def test_a_machine_twice_as_slow_has_half_the_rate(steps: list[list[float]], slowness: float) -> None:
    streams = [list(numpy.cumsum(times)) for times in steps]
    slower = [[time * slowness for time in times] for times in streams]
    assert decode_rate(slower, 1) == pytest.approx(decode_rate(streams, 1) / slowness)


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    # The second round was a bad one for both.
    assert median_ratio([4.0, 1.0, 4.0], [2.0, 0.5, 1.0]) == 2.0


def test_there_is_no_ratio_to_nothing() -> None:
    assert median_ratio([], [1.0]) is None
    assert median_ratio([1.0], []) is None
    assert median_ratio([1.0], [0.0]) is None
