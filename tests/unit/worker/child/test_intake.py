"""Requests that wait to be looked at: in order, and so many at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampling import GREEDY

from llamawire_server.worker.child.intake import ROUND_SECONDS, Intake
from llamawire_server.worker.child.rank import PRIORITY_SECONDS
from llamawire_server.worker.messages import Generate, RawPrompt, Tokenize


def question(number: int) -> Tokenize:
    return Tokenize(number, "", add_special=False, parse_special=False)


def generate(number: int, arrived: float, priority: int) -> Generate:
    prompt = RawPrompt("prompt", "Hello")
    return Generate(number, arrived, 0.0, prompt, GREEDY, 9, False, 1, [], [], priority=priority)


class Taker:
    """Takes requests in, each of which takes its time by a clock that nothing else moves."""

    def __init__(self, costs: dict[int, float]) -> None:
        self.now = 0.0
        self.costs = costs
        self.is_busy = True
        self.intake = Intake(lambda: self.now)

    def add(self, *numbers: int) -> None:
        for number in numbers:
            self.intake.add(question(number))

    def round(self) -> list[tuple[int, bool]]:
        taken = []
        for request, was_held in self.intake.round(lambda: self.is_busy):
            taken.append((request.request_id, was_held))
            self.now += self.costs.get(request.request_id, 0.0)
        return taken


def test_a_round_ends_when_its_time_is_up_and_the_next_goes_on() -> None:
    taker = Taker(dict.fromkeys(range(10), 0.4 * ROUND_SECONDS))
    taker.add(*range(5))
    assert taker.round() == [(0, False), (1, False), (2, False)]
    assert taker.intake.hold() == [3, 4]
    taker.add(5)
    assert taker.intake.hold() == [5], "those that are known to be held are told of once"
    assert taker.round() == [(3, True), (4, True), (5, True)]
    assert (taker.round(), taker.intake.hold()) == ([], [])


def test_who_is_urgent_goes_first_and_who_waits_grows_older() -> None:
    taker = Taker(dict.fromkeys(range(10), 2 * ROUND_SECONDS))
    for number, arrived, priority in ((0, 0.0, 0), (1, 1.0, 1), (2, 2.0, 0), (3, 3.0, -1), (4, 4.0, -1)):
        taker.intake.add(generate(number, arrived, priority))
    taker.add(5)
    assert [number for _ in range(6) for number, _ in taker.round()] == [3, 4, 0, 2, 5, 1]
    taker.intake.add(generate(6, 5.0, 1))
    taker.intake.add(generate(7, 5.0 + 2 * PRIORITY_SECONDS, -1))
    taker.intake.add(generate(8, 5.1 + 2 * PRIORITY_SECONDS, 0))
    assert [number for _ in range(3) for number, _ in taker.round()] == [6, 7, 8]


def test_a_request_that_takes_longer_than_a_round_is_taken_all_the_same() -> None:
    taker = Taker(dict.fromkeys(range(3), 50 * ROUND_SECONDS))
    taker.add(0, 1, 2)
    assert [taker.round() for _ in range(3)] == [[(0, False)], [(1, False)], [(2, False)]]


def test_without_anybody_to_hold_up_all_are_taken() -> None:
    taker = Taker(dict.fromkeys(range(9), ROUND_SECONDS))
    taker.is_busy = False
    taker.add(*range(9))
    assert len(taker.round()) == 9


@pytest.mark.parametrize("is_held", [True, False])
def test_who_is_cancelled_is_never_taken(is_held: bool) -> None:
    taker = Taker({0: ROUND_SECONDS})
    taker.add(0, 1, 2)
    taker.round()
    if is_held:
        assert taker.intake.hold() == [1, 2]
    assert taker.intake.cancel(1)
    assert not taker.intake.cancel(0), "it was taken before"
    assert [number for number, _ in taker.round()] == [2]
    assert len(taker.intake) == 0


@given(st.lists(st.floats(0, 2 * ROUND_SECONDS), max_size=30), st.sets(st.integers(0, 29)))
def test_all_are_taken_once_and_in_order(costs: list[float], cancelled: set[int]) -> None:
    taker = Taker(dict(enumerate(costs)))
    taker.add(*range(len(costs)))
    taken: list[int] = []
    for number in cancelled:
        taker.intake.cancel(number)
    while taker.intake:
        before = taker.now
        numbers = [number for number, _ in taker.round()]
        assert numbers
        assert taker.now - before - costs[numbers[-1]] < ROUND_SECONDS, "it ends with who used the time up"
        taken += numbers
    assert taken == [number for number in range(len(costs)) if number not in cancelled]
