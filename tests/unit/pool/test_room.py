"""Room in memory: who gets it, who has to go, and who waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pool_fakes import METADATA, path_of

from llamawire_server.config import ModelSettings
from llamawire_server.errors import Condition, ServiceError
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.room import MAX_NAMED, Room
from llamawire_server.pool.slot import Slot, Stage

PASSING_SECONDS = 5.0
GIB = 2**30


def make_slot(name: str, need_bytes: int, *, is_pinned: bool = False) -> Slot:
    entry = ModelEntry(name, (), path_of(name), ModelSettings(pinned=is_pinned), METADATA)
    return Slot(entry, need_bytes)


class Floor:
    """A room, and what stands in it."""

    def __init__(self, budget_bytes: int, max_models: int | None = None) -> None:
        self.room = Room(budget_bytes, max_models, PASSING_SECONDS)
        self._num_uses = 0

    def put(
        self,
        name: str,
        num_bytes: int,
        *,
        stage: Stage = Stage.READY,
        num_leases: int = 0,
        is_pinned: bool = False,
        is_outgoing: bool = False,
        ready_at: float = 0.0,
    ) -> Slot:
        """A model that takes up room; it was used later than those before it."""
        slot = make_slot(name, num_bytes, is_pinned=is_pinned)
        self.room.line_up(slot)
        self.room.take(slot)
        self._num_uses += 1
        slot.stage, slot.num_leases, slot.is_outgoing = stage, num_leases, is_outgoing
        slot.last_use, slot.ready_at = self._num_uses, ready_at
        return slot

    def ask(self, name: str, num_bytes: int, *, is_pinned: bool = False) -> Slot:
        """A model that waits for room."""
        slot = make_slot(name, num_bytes, is_pinned=is_pinned)
        self.room.line_up(slot)
        return slot

    def refused(self, name: str, num_bytes: int) -> ServiceError | None:
        return self.room.refusal(make_slot(name, num_bytes))


def test_who_fits_is_let_in() -> None:
    floor = Floor(10)
    floor.put("a", 4)
    first, second = floor.ask("b", 3), floor.ask("c", 3)
    plan = floor.room.plan(0)
    assert (plan.admitted, plan.leaving, plan.next_look) == ([first, second], [], None)


def test_nobody_passes_who_waits() -> None:
    floor = Floor(10)
    floor.put("a", 6, num_leases=1)
    big, small = floor.ask("b", 5), floor.ask("c", 1)
    plan = floor.room.plan(0)
    assert (plan.admitted, plan.leaving) == ([], [])
    floor.room.step_out(big)
    assert floor.room.plan(0).admitted == [small]


def test_the_least_recently_used_go_and_no_more_than_needed() -> None:
    floor = Floor(10)
    first, second, third = floor.put("a", 3), floor.put("b", 3), floor.put("c", 4)
    floor.ask("d", 3)
    assert floor.room.plan(0).leaving == [first]
    floor.ask("e", 3)
    assert floor.room.plan(0).leaving == [first, second], "one look serves several"
    floor.ask("f", 4)
    assert floor.room.plan(0).leaving == [first, second, third]


def test_a_small_one_stays_where_a_larger_one_has_to_go_anyway() -> None:
    floor = Floor(10)
    floor.put("a", 1)
    large = floor.put("b", 9)
    floor.ask("c", 9)
    assert floor.room.plan(0).leaving == [large]


def test_one_that_goes_serves_several() -> None:
    floor = Floor(10)
    large = floor.put("a", 9)
    floor.put("b", 1)
    for name in ("c", "d", "e"):
        floor.ask(name, 3)
    assert floor.room.plan(0).leaving == [large]
    large.stage = Stage.ENDING
    plan = floor.room.plan(0)
    assert (plan.admitted, plan.leaving) == ([], []), "what is about to end is waited for"
    floor.room.vacate(large)
    assert len(floor.room.plan(0).admitted) == 3


def test_who_is_busy_pinned_loading_or_leaving_stays() -> None:
    floor = Floor(10)
    floor.put("busy", 2, num_leases=1)
    floor.put("pinned", 2, is_pinned=True)
    floor.put("loading", 2, stage=Stage.STARTING)
    floor.put("leaving", 2, num_leases=1, is_outgoing=True)
    floor.put("waited for", 2).num_loaders = 1
    floor.ask("a", 2)
    assert floor.room.plan(0).leaving == []


def test_one_that_is_started_again_for_nobody_makes_room() -> None:
    floor = Floor(10)
    dead = floor.put("a", 10, stage=Stage.RESTARTING)
    floor.ask("b", 1)
    assert floor.room.plan(0).leaving == [dead]


def test_idle_ones_stay_while_they_are_not_enough() -> None:
    floor = Floor(10)
    floor.put("idle", 4)
    floor.put("busy", 6, num_leases=1)
    floor.ask("a", 5)
    assert floor.room.plan(0).leaving == []


def test_a_limit_of_models_counts_beside_the_budget() -> None:
    floor = Floor(10, max_models=2)
    first = floor.put("a", 1)
    floor.put("b", 1)
    floor.ask("c", 1)
    assert floor.room.plan(0).leaving == [first]


def test_after_a_while_the_least_recently_used_busy_one_goes_too() -> None:
    floor = Floor(10)
    first = floor.put("a", 5, num_leases=1)
    floor.put("b", 5, num_leases=1)
    floor.ask("c", 5)
    plan = floor.room.plan(100)
    assert (plan.leaving, plan.next_look) == ([], 100 + PASSING_SECONDS)
    plan = floor.room.plan(101)
    assert (plan.leaving, plan.next_look) == ([], 100 + PASSING_SECONDS), "it counts from the first time"
    plan = floor.room.plan(100 + PASSING_SECONDS)
    assert (plan.leaving, plan.next_look) == ([first], None)
    first.is_outgoing = True
    plan = floor.room.plan(200)
    assert (plan.leaving, plan.next_look) == ([], None), "that one is enough"


def test_the_next_in_line_lets_others_pass_for_as_long() -> None:
    floor = Floor(10)
    floor.put("a", 10, num_leases=1)
    head = floor.ask("b", 5)
    following = floor.ask("c", 10)
    floor.room.plan(0)
    floor.room.step_out(head)
    assert floor.room.plan(100).next_look == 100 + PASSING_SECONDS
    assert floor.room.line == (following,)


def test_one_that_was_loaded_a_moment_ago_keeps_its_turn() -> None:
    floor = Floor(10)
    young = floor.put("a", 10, num_leases=1, ready_at=103)
    floor.ask("b", 5)
    floor.room.plan(100)
    plan = floor.room.plan(106)
    assert (plan.leaving, plan.next_look) == ([], 103 + PASSING_SECONDS)
    assert floor.room.plan(103 + PASSING_SECONDS).leaving == [young]


def test_busy_ones_go_together_with_idle_ones() -> None:
    floor = Floor(10)
    idle = floor.put("a", 4)
    busy = floor.put("b", 4, num_leases=1)
    floor.put("c", 2, is_pinned=True)
    floor.ask("d", 8)
    floor.room.plan(0)
    assert floor.room.plan(PASSING_SECONDS).leaving == [idle, busy]


def test_where_more_is_taken_than_may_be_idle_ones_go() -> None:
    floor = Floor(10)
    first, second = floor.put("a", 4), floor.put("b", 4)
    grown = floor.put("c", 2, num_leases=1)
    floor.room.correct(grown, 5)
    assert not floor.room.is_calm
    assert floor.room.plan(0).leaving == [first]
    floor.room.correct(grown, 12)
    assert floor.room.plan(0).leaving == [first, second], "though that is not enough"
    grown.num_leases = 0
    assert floor.room.plan(0).leaving == [grown]


def test_nobody_is_let_in_while_too_much_is_taken() -> None:
    floor = Floor(10)
    floor.room.correct(floor.put("a", 5, num_leases=1), 11)
    floor.ask("b", 0)
    assert floor.room.plan(0).admitted == []


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


HELD = st.tuples(
    st.integers(0, 8),
    st.sampled_from([Stage.STARTING, Stage.READY, Stage.READY, Stage.RESTARTING, Stage.ENDING]),
    st.integers(0, 1),
    st.booleans(),
    st.booleans(),
)


@given(
    budget=st.integers(1, 24),
    max_models=st.none() | st.integers(1, 6),
    held=st.lists(HELD, max_size=6),
    needs=st.lists(st.integers(0, 12), max_size=6),
    is_late=st.booleans(),
)
def test_whatever_stands_in_a_room_its_plan_is_sound(
    budget: int,
    max_models: int | None,
    held: list[tuple[int, Stage, int, bool, bool]],
    needs: list[int],
    is_late: bool,
) -> None:
    floor = Floor(budget, max_models)
    room = floor.room
    slots = []
    for number, (num_bytes, stage, num_leases, is_pinned, is_outgoing) in enumerate(held):
        # Who is idle and outgoing is about to end.
        is_draining = is_outgoing and num_leases > 0
        slots.append(
            floor.put(
                f"m{number}",
                num_bytes,
                stage=stage,
                num_leases=num_leases,
                is_pinned=is_pinned,
                is_outgoing=is_draining,
            )
        )
    waiting = [floor.ask(f"w{number}", need) for number, need in enumerate(needs)]
    plan = room.plan(0)
    if is_late:
        plan = room.plan(PASSING_SECONDS)

    hopeless = [slot for slot, _ in plan.hopeless]
    hopeful = [slot for slot in waiting if slot not in hopeless]
    assert plan.admitted == hopeful[: len(plan.admitted)], "first come, first served"
    used = sum(slot.need_bytes for slot in [*slots, *plan.admitted])
    if plan.admitted:
        assert used <= budget
        assert max_models is None or len(slots) + len(plan.admitted) <= max_models
    assert len(set(plan.leaving)) == len(plan.leaving)
    for slot in plan.leaving:
        assert slot.is_loaded
        assert not slot.is_pinned
        assert not slot.is_outgoing
        assert slot.is_idle or is_late
    left = hopeful[len(plan.admitted) :]
    is_too_full = used > budget or (max_models is not None and len(slots) > max_models)
    assert left or is_too_full or not plan.leaving, "nobody goes for nobody"

    for slot in hopeless:
        room.step_out(slot)
    for slot in plan.admitted:
        room.take(slot)
        slot.stage = Stage.STARTING
    for slot in plan.leaving:
        slot.is_outgoing = True
        slot.stage = Stage.ENDING if slot.is_idle else slot.stage
    again = room.plan(PASSING_SECONDS if is_late else 0)
    assert (again.hopeless, again.admitted, again.leaving) == ([], [], []), "one plan is all there is to do"

    # Once all who are busy are done, and all who were loading have left, everybody gets in.
    for slot in slots:
        if slot.stage is Stage.ENDING or slot.is_outgoing:
            room.vacate(slot)
        else:
            slot.stage, slot.num_leases = Stage.READY, 0
    for slot in plan.admitted:
        room.vacate(slot)
    while room.line:
        plan = room.plan(0)
        assert plan.hopeless or plan.admitted or plan.leaving, "somebody waits for ever"
        for slot, _ in plan.hopeless:
            room.step_out(slot)
        for slot in [*plan.admitted, *plan.leaving]:
            if slot in plan.admitted:
                room.take(slot)
            room.vacate(slot)


@pytest.mark.parametrize("names", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_names_are_listed_as_a_sentence_has_them(names: list[str]) -> None:
    floor = Floor(10)
    for name in names:
        floor.put(name, 0, num_leases=1)
    listed = {1: "'a' is", 2: "'a' and 'b' are", 3: "'a', 'b' and 'c' are"}[len(names)]
    assert f"; {listed} in use" in floor.room.describe_wait(floor.ask("d", 11))
