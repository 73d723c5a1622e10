"""The number of threads follows the cores that are there."""

from __future__ import annotations

from llamawire_server.engine.runner.threads import ThreadCount

STEP_SECONDS = 0.05


class Machine:
    """So many cores, some of which others use up."""

    def __init__(self, cores: int, most: int | None = None) -> None:
        self.cores = cores
        self.taken = 0.0
        self.changes: list[int] = []
        self.threads = ThreadCount(most or cores, self.changes.append)

    def run(self, seconds: float) -> int:
        for _ in range(round(seconds / STEP_SECONDS)):
            cores = min(self.threads.count, self.cores - self.taken)
            self.threads.observe(cores * STEP_SECONDS, STEP_SECONDS)
        return self.threads.count


def test_nothing_changes_where_nobody_else_works() -> None:
    machine = Machine(4)
    assert machine.run(100) == 4
    assert machine.changes == []


def test_what_the_server_itself_takes_is_tolerated() -> None:
    machine = Machine(2)
    machine.taken = 0.2
    assert machine.run(100) == 2


def test_a_thread_leaves_a_core_that_somebody_else_uses() -> None:
    machine = Machine(2)
    machine.taken = 0.7
    assert machine.run(0.5) == 1


def test_several_leave_at_once() -> None:
    machine = Machine(16)
    machine.taken = 5
    assert machine.run(0.5) == 11


def test_one_always_stays() -> None:
    machine = Machine(2)
    machine.taken = 1.9
    assert machine.run(100) == 1


def test_they_come_back_with_the_cores() -> None:
    machine = Machine(4)
    machine.taken = 2
    assert machine.run(1) == 2
    machine.taken = 0
    assert machine.run(10) == 4


def test_trials_become_rare_where_they_fail() -> None:
    machine = Machine(2)
    machine.taken = 0.7
    machine.run(600)
    trials = machine.changes.count(2)
    assert 5 < trials < 20
    machine.taken = 0
    assert machine.run(120) == 2


def test_a_limit_below_the_cores_is_kept() -> None:
    machine = Machine(8, most=3)
    machine.taken = 6.5
    machine.run(1)
    machine.taken = 0
    assert machine.run(60) == 3
