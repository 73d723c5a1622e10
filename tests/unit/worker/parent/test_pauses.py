"""Pauses that grow, and that shrink again."""

from __future__ import annotations

from llamawire_server.config import WorkerSettings
from llamawire_server.worker.parent.pauses import Pauses


def pauses_of(lives: list[tuple[float, bool]], policy: WorkerSettings) -> list[float]:
    """The pauses after lives of so many seconds, which brought something or not."""
    pauses = Pauses(policy)
    found = []
    for seconds, has_progressed in lives:
        if has_progressed:
            pauses.note_progress()
        pauses.note_life(seconds)
        found.append(pauses.next_seconds())
    return found


def test_pauses_grow_unless_something_was_done_in_between() -> None:
    policy = WorkerSettings(first_pause_seconds=0.5, longest_pause_seconds=4)
    assert pauses_of([(3, False)] * 7, policy) == [0, 0.5, 1, 2, 4, 4, 4]
    assert pauses_of([(1, True)] * 2000, policy)[:4] == [0, 0.5, 0.5, 0.5]
    assert pauses_of([(6, True)] * 3, policy) == [0, 0, 0]
    assert pauses_of([(3, False), (3, False), (1, True), (3, False)], policy) == [0, 0.5, 0.5, 1]
    assert pauses_of([(3, False), (3, False), (9, False), (3, False)], policy) == [0, 0.5, 0, 0.5]


def test_there_is_no_end_to_deaths_with_progress_and_one_to_those_without() -> None:
    policy = WorkerSettings(max_restarts=3)
    for has_progressed, num_deaths in ((True, 5000), (False, 4)):
        pauses = Pauses(policy)
        for number in range(num_deaths):
            if has_progressed:
                pauses.note_progress()
            pauses.note_life(1)
            pauses.next_seconds()
            assert pauses.are_used_up == (not has_progressed and number == 3)
