"""How many tokens are guessed, by what steps take."""

from __future__ import annotations

import pytest
from sampling import GREEDY

from llamawire_server.engine.sequence import Sequence
from llamawire_server.engine.speculation import Speculation, StepTimes


class Sure:
    """Always has something to guess."""

    def __init__(self, acceptance: float, num_known_tokens: int = 100) -> None:
        self._acceptance = acceptance
        self._num_known_tokens = num_known_tokens

    def acceptance(self, num_tokens: int) -> float:
        return self._acceptance

    def draft(self, tokens: list[int], most: int) -> list[int]:
        return [7] * min(most, self._num_known_tokens)

    def follow(self, tokens: list[int], num_new_tokens: int) -> None:
        raise AssertionError

    def note(self, num_drafted: int, num_accepted: int, num_tokens: int) -> None:
        raise AssertionError


def sequence(drafter: Sure | None) -> Sequence:
    return Sequence(1, 0, [1, 2, 3], 3, 100, GREEDY, drafter=drafter)


def speculation(further_token_seconds: float) -> Speculation:
    made = Speculation(1.0)
    for _ in range(60):
        for size in (1, 2, 4, 8, 16, 32, 63):
            made.times.observe(size, 1 + further_token_seconds * (size - 1))
    return made


def num_drafted(made: Speculation, acceptance: float, most: int = 50, num_step_tokens: int = 1) -> int:
    return len(made.draft(sequence(Sure(acceptance)), most, num_step_tokens))


def test_where_further_tokens_cost_little_much_is_guessed() -> None:
    assert num_drafted(speculation(0.01), 0.95) == 32
    assert num_drafted(speculation(0.01), 0.95, most=5) == 5
    assert 2 <= num_drafted(speculation(0.01), 0.5) <= 8


def test_where_each_token_costs_as_much_as_the_first_nothing_is_guessed() -> None:
    assert num_drafted(speculation(1.0), 1.0) == 0
    assert num_drafted(speculation(0.5), 0.5) == 0
    assert num_drafted(speculation(0.5), 0.98) > 0


def test_guesses_that_hold_up_many_others_do_not_pay() -> None:
    made = speculation(0.4)
    assert num_drafted(made, 0.9) > 0
    assert num_drafted(made, 0.9, num_step_tokens=20) == 0


def test_who_guesses_nothing_and_who_pauses_gets_no_draft() -> None:
    made = speculation(0.01)
    assert made.draft(sequence(None), 50, 1) == ()
    assert made.draft(sequence(Sure(0.0)), 50, 1) == ()
    assert made.draft(sequence(Sure(0.9, num_known_tokens=0)), 50, 1) == ()


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
    for _ in range(400):
        times.observe(1, 1.0)
    assert times.seconds(32) == pytest.approx(1000.0)
    for _ in range(200):
        times.observe(1, 1.0)
    assert times.seconds(32) < 20
