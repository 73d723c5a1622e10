"""How long steps take, as was seen."""

from __future__ import annotations

import pytest

from llamawire_server.engine.drafting.step_times import StepTimes


def test_step_times_are_learnt_and_never_fall_with_more_tokens() -> None:
    times = StepTimes(1.0)
    assert times.seconds(9) == pytest.approx(5.0), "before anything is known"
    for _ in range(50):
        times.observe(1, 2.0)
        times.observe(8, 3.0)
    assert times.seconds(1) == pytest.approx(2.0, rel=0.01)
    assert times.seconds(8) == pytest.approx(3.0, rel=0.01)
    for _ in range(50):
        times.observe(4, 9.0)
    assert times.seconds(8) >= times.seconds(4)
    times.observe(500, 100.0)
    assert times.seconds(63) < 100


def test_what_was_slow_once_is_tried_again() -> None:
    times = StepTimes(1.0)
    times.observe(32, 1000.0)
    for _ in range(300):
        times.observe(1, 1.0)
        assert times.seconds(32) >= times.seconds(16)
    assert times.seconds(32) < 20


def test_what_was_slow_for_long_is_tried_again_and_believed_at_once() -> None:
    """Beside others, or on a busier machine."""
    times = StepTimes(1.0)
    for _ in range(1000):
        times.observe(4, 10.0)
    for _ in range(10):
        times.observe(1, 1.0)
    assert times.seconds(4) > 5, "that was just now"
    for _ in range(120):
        times.observe(1, 1.0)
    assert times.seconds(4) < 3
    times.observe(4, 2.0)
    assert times.seconds(4) < 2.5
    times.observe(1, 1.0)
    times.observe(4, 10.0)
    assert times.seconds(4) < 4.5, "it may be that step alone"


def test_a_step_that_was_held_up_does_not_make_larger_ones_seem_cheap() -> None:
    times = StepTimes(1.0)
    for _ in range(50):
        times.observe(8, 4.0)
        times.observe(16, 8.0)
    times.observe(8, 40.0)
    assert times.seconds(16) - times.seconds(8) > 3.0


def test_a_machine_that_grows_slow_makes_all_sizes_slow() -> None:
    times = StepTimes(1.0)
    for _ in range(50):
        times.observe(8, 4.0)
        times.observe(16, 8.0)
    for _ in range(50):
        times.observe(8, 6.0)
    assert times.seconds(8) == pytest.approx(6.0, rel=0.01)
    assert 8 * 1.5**0.5 < times.seconds(16) < 8 * 1.5
