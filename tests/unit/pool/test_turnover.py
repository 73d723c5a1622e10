"""How fast a line moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.pool.turnover import LONGEST_WAIT, SHORTEST_WAIT, Turnover


def test_nothing_is_said_before_anything_is_known() -> None:
    assert Turnover().seconds_until(5, 8) is None


@pytest.mark.parametrize(("num_leaving", "expected"), [(1, 1.0), (8, 3.0), (40, 15.0), (1000, 60.0)], ids=str)
def test_it_takes_as_long_as_the_requests_before_it(num_leaving: int, expected: float) -> None:
    turnover = Turnover()
    # 8 at once for 3 seconds each: the eighth and the fortieth who came.
    turnover.note(3.0, 8, 8)
    turnover.note(15.0, 40, 8)
    assert turnover.seconds_until(num_leaving, 8) == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 100)), min_size=1, max_size=30), st.integers(1, 8))
def test_the_average_lies_between_what_it_is_of(held: list[tuple[float, int]], parallel: int) -> None:
    turnover = Turnover()
    for seconds, place in held:
        turnover.note(seconds, place, parallel)
    services = [seconds * min(1, parallel / place) for seconds, place in held]
    assert turnover.service_seconds is not None
    assert min(services) <= turnover.service_seconds * (1 + 1e-9)
    assert turnover.service_seconds <= max(services) * (1 + 1e-9)
    wait = turnover.seconds_until(100, parallel)
    assert wait is not None
    assert SHORTEST_WAIT <= wait <= LONGEST_WAIT


def test_the_average_follows_what_changes() -> None:
    turnover = Turnover()
    turnover.note(1.0, 1, 1)
    for _ in range(50):
        turnover.note(20.0, 1, 1)
    assert turnover.seconds_until(1, 1) == pytest.approx(20, rel=0.02)
