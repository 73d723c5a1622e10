"""Room in memory: who gets it, who has to go, and who waits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from room_floor import PASSING_SECONDS, Floor

from llamawire_server.pool.slot import Stage


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
