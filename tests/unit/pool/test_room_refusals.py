"""Room in memory: what can never be had, and what those are told who wait for it."""

from __future__ import annotations

import pytest
from room_floor import Floor

from llamawire_server.errors import Condition
from llamawire_server.pool.room import MAX_NAMED
from llamawire_server.pool.slot import Stage

GIB = 2**30


def test_what_can_never_fit_is_refused_with_its_need_and_the_budget() -> None:
    floor = Floor(2 * GIB)
    assert floor.refused("a", 2 * GIB) is None
    error = floor.refused("a", 3 * GIB)
    assert error is not None
    assert (error.condition, error.reason) == (Condition.UNSUPPORTED, "MODEL_TOO_LARGE")
    assert "'a' needs 3.00 GiB" in str(error)
    assert "2.00 GiB" in str(error)
    assert [violation.field for violation in error.violations] == ["model"]


def test_what_does_not_fit_beside_pinned_models_is_refused() -> None:
    floor = Floor(4 * GIB)
    pinned = floor.put("p", 2 * GIB, is_pinned=True)
    assert floor.refused("a", 2 * GIB) is None
    error = floor.refused("a", 3 * GIB)
    assert error is not None
    assert error.reason == "MODEL_TOO_LARGE"
    assert "2.00 GiB are kept by pinned models: 'p'" in str(error)
    pinned.stage = Stage.STARTING
    assert floor.refused("a", 3 * GIB) is None, "its load may fail"


def test_pinned_models_may_leave_no_place() -> None:
    floor = Floor(10, max_models=2)
    floor.put("p", 1, is_pinned=True)
    assert floor.refused("a", 1) is None
    floor.put("q", 1, is_pinned=True)
    error = floor.refused("a", 1)
    assert error is not None
    assert (error.condition, error.reason) == (Condition.UNSUPPORTED, "ALL_MODELS_PINNED")
    assert "'p' and 'q'" in str(error)


def test_who_is_in_line_is_refused_as_soon_as_it_is_hopeless() -> None:
    floor = Floor(10)
    pinned = floor.put("p", 6, is_pinned=True, stage=Stage.STARTING)
    large, small = floor.ask("a", 5), floor.ask("b", 4)
    assert floor.room.plan(0).hopeless == []
    pinned.stage = Stage.READY
    plan = floor.room.plan(0)
    assert [slot for slot, _ in plan.hopeless] == [large]
    assert plan.admitted == [small]


def test_who_waited_in_vain_is_told_what_was_in_the_way() -> None:
    floor = Floor(4 * GIB, max_models=3)
    floor.put("a", 1 * GIB, num_leases=1)
    floor.put("b", 2 * GIB, num_leases=1)
    slot = floor.ask("c", 2 * GIB)
    error = floor.room.no_room(slot)
    assert (error.condition, error.reason) == (Condition.BUSY, "MEMORY_BUDGET_FULL")
    assert error.retry_after_seconds is not None
    for part in ("'c'", "needs 2.00 GiB", "of the budget of 4.00 GiB", "3.00 GiB are in use", "'a' and 'b'"):
        assert part in str(error)
    assert floor.room.describe_wait(slot) == "waits for 2.00 GiB; 'a' and 'b' are in use"
    floor.room.step_out(slot)
    floor.put("d", 0, stage=Stage.ENDING)
    slot = floor.ask("c", 1)
    error = floor.room.no_room(slot)
    assert (error.condition, error.reason) == (Condition.BUSY, "ALL_MODELS_BUSY")
    assert "3 models are loaded" in str(error)
    assert floor.room.describe_wait(slot) == "waits for a place; 'a' and 'b' are in use"


def test_who_only_stands_behind_others_is_told_so() -> None:
    floor = Floor(10)
    floor.put("a", 6, num_leases=1)
    floor.ask("b", 5)
    error = floor.room.no_room(floor.ask("c", 1))
    assert error.reason == "MEMORY_BUDGET_FULL"
    assert str(error).endswith("; 1 other model waited longer")


def test_a_wait_for_the_end_of_others_is_described() -> None:
    floor = Floor(10)
    floor.put("a", 10, stage=Stage.ENDING)
    assert floor.room.describe_wait(floor.ask("b", 1)).endswith("; 'a' is being unloaded")


def test_a_message_names_only_so_many() -> None:
    floor = Floor(100)
    for number in range(2 * MAX_NAMED):
        floor.put(f"m{number}", 10, num_leases=1)
    message = floor.room.describe_wait(floor.ask("a", 10))
    assert f"'m{MAX_NAMED - 2}' and {MAX_NAMED + 1} others are in use" in message
    assert f"'m{MAX_NAMED}'" not in message


@pytest.mark.parametrize("names", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_names_are_listed_as_a_sentence_has_them(names: list[str]) -> None:
    floor = Floor(10)
    for name in names:
        floor.put(name, 0, num_leases=1)
    listed = {1: "'a' is", 2: "'a' and 'b' are", 3: "'a', 'b' and 'c' are"}[len(names)]
    assert f"; {listed} in use" in floor.room.describe_wait(floor.ask("d", 11))
