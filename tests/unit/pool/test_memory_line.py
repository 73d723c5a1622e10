"""The line for memory: who waits in which order, for how long, and what is told meanwhile."""

from __future__ import annotations

import pytest
from pool_fakes import Caller, RunPool, is_in_line, leave_all, path_of, use
from waiting import refused, settle, until

from llamawire_server.errors import Condition
from llamawire_server.pool.pool import Patience, State


@pytest.mark.usefixtures("sized")
async def test_one_release_serves_several_in_the_order_in_which_they_came(run_pool: RunPool) -> None:
    async with run_pool(budget_bytes=6) as (pool, workers):
        holder = Caller(pool, "m6")
        await holder.leased()
        waiting = []
        for name in ("m3", "m2", "m5", "m1"):
            waiting += [Caller(pool, name), Caller(pool, name)]
            await until(lambda name=name: is_in_line(pool, name))
        await settle()
        assert workers.running == {"m6"}
        await holder.leave()
        for caller in waiting[:4]:
            await caller.leased()
        await settle()
        assert workers.running == {"m3", "m2"}, "m1 would fit, and does not pass m5"
        await leave_all(waiting[:4])
        for caller in waiting[4:]:
            await caller.leased()
        assert workers.running == {"m5", "m1"}
        assert set(workers.num_starts.values()) == {1}, "who waits for the same model shares a load"
        await leave_all(waiting[4:])


@pytest.mark.usefixtures("sized")
@pytest.mark.parametrize("leaves", ["late", "cancelled"])
async def test_who_leaves_the_line_lets_the_next_one_through(run_pool: RunPool, leaves: str) -> None:
    async with run_pool(budget_bytes=6) as (pool, workers):
        holder = Caller(pool, "m5")
        await holder.leased()
        first = Caller(pool, "m3", timeout_seconds=0.02 if leaves == "late" else None)
        await until(lambda: is_in_line(pool, "m3"))
        second = Caller(pool, "m1")
        if leaves == "late":
            assert (await refused(first.leased())).reason == "MEMORY_BUDGET_FULL"
        else:
            await until(lambda: is_in_line(pool, "m1"))
            await first.cancel()
        await second.leased()
        assert workers.num_starts["m3"] == 0
        assert workers.changes[-3:] == [
            ("m3", State.UNLOADED),
            ("m1", State.LOADING),
            ("m1", State.READY),
        ]
        await leave_all([second, holder])


@pytest.mark.usefixtures("sized")
async def test_a_place_in_line_is_kept_while_anybody_waits_in_it(run_pool: RunPool) -> None:
    async with run_pool(budget_bytes=6) as (pool, _):
        holder = Caller(pool, "m6")
        await holder.leased()
        early, late = Caller(pool, "m3"), Caller(pool, "m3")
        await until(lambda: is_in_line(pool, "m3"))
        other = Caller(pool, "m4")
        await until(lambda: is_in_line(pool, "m4"))
        await early.cancel()
        await holder.leave()
        await late.leased()
        assert not other.has_lease
        await late.leave()
        await other.leased()
        await other.leave()


@pytest.mark.usefixtures("sized")
async def test_who_gets_no_room_in_time_is_told_so_and_may_try_again(run_pool: RunPool) -> None:
    async with run_pool(budget_bytes=6) as (pool, workers):
        holder = Caller(pool, "m5")
        await holder.leased()
        error = await refused(Caller(pool, "m2", timeout_seconds=0.02).leased())
        assert (error.condition, error.reason) == (Condition.BUSY, "MEMORY_BUDGET_FULL")
        assert error.retry_after_seconds is not None
        assert "'m2'" in str(error)
        assert "'m5'" in str(error)
        assert pool.failure(path_of("m2")) is None
        assert path_of("m2") not in pool.statuses()
        await holder.leave()
        await use(pool, "m2")
        assert workers.running == {"m2"}


@pytest.mark.usefixtures("sized")
async def test_without_a_deadline_one_waits_for_room_as_long_as_the_settings_say(run_pool: RunPool) -> None:
    async with run_pool(budget_bytes=6, room_timeout_seconds=0.02) as (pool, _):
        holder = Caller(pool, "m5")
        await holder.leased()
        assert (await refused(use(pool, "m2"))).reason == "MEMORY_BUDGET_FULL"
        await holder.leave()


def test_who_has_a_deadline_hears_of_full_memory_before_it() -> None:
    for timeout_seconds, margin in ((100.0, 0.25), (1.0, 0.1), (0.0, 0.0)):
        patience = Patience.of(timeout_seconds, 1000.0)
        assert patience.deadline is not None
        assert patience.deadline - patience.room_deadline == pytest.approx(margin)
    assert Patience.of(None, 60).left() is None
    patience = Patience.of(100.0, 60)
    assert patience.deadline is not None
    assert patience.deadline - patience.room_deadline == pytest.approx(40)


@pytest.mark.usefixtures("sized")
async def test_the_line_has_an_end(run_pool: RunPool) -> None:
    async with run_pool(budget_bytes=6, max_queued_requests=3) as (pool, _):
        holder = Caller(pool, "m6")
        await holder.leased()
        waiting = [Caller(pool, name) for name in ("m1", "m1", "m2")]
        await until(lambda: is_in_line(pool, "m2") and pool.statuses()[path_of("m1")].num_requests == 2)
        for name in ("m1", "m3"):
            error = await refused(use(pool, name))
            assert (error.condition, error.reason) == (Condition.BUSY, "QUEUE_FULL")
            assert (await refused(anext(pool.load(name)))).reason == "QUEUE_FULL"
        assert path_of("m3") not in pool.statuses()
        await use(pool, "m6")  # which is loaded, and has no line
        await waiting.pop().cancel()
        waiting.append(Caller(pool, "m3"))
        await until(lambda: is_in_line(pool, "m3"))
        await holder.leave()
        for caller in waiting:
            await caller.leased()
        await leave_all(waiting)


@pytest.mark.usefixtures("sized")
async def test_new_callers_of_a_loaded_model_pass_who_waits(run_pool: RunPool) -> None:
    async with run_pool(budget_bytes=6) as (pool, _):
        holder = Caller(pool, "m6")
        await holder.leased()
        waiting = Caller(pool, "m3")
        await until(lambda: is_in_line(pool, "m3"))
        passing = Caller(pool, "m6")
        await passing.leased()
        await holder.leave()
        await settle()
        assert not waiting.has_lease
        await passing.leave()
        await waiting.leased()
        await waiting.leave()


@pytest.mark.usefixtures("sized")
async def test_models_in_constant_use_take_turns(run_pool: RunPool) -> None:
    async with run_pool(budget_bytes=6, passing_seconds=0) as (pool, workers):
        workers.has_successors = True
        here, there = "m6", "m5"
        holder = Caller(pool, here)
        lease = await holder.leased()
        for _ in range(6):
            waiting = Caller(pool, there)
            await until(lambda: is_in_line(pool, there))
            assert pool.statuses()[path_of(here)].state is State.UNLOADING
            following = Caller(pool, here)
            await until(lambda: is_in_line(pool, here))
            await settle()
            assert workers.alive == {lease.worker}, "who holds a lease is let finish"
            assert not following.has_lease
            await holder.leave()
            lease = await waiting.leased()
            await settle()
            assert not following.has_lease
            await waiting.leave()
            lease = await following.leased()
            holder = following
        await holder.leave()


@pytest.mark.usefixtures("sized")
async def test_a_turn_comes_by_itself(run_pool: RunPool) -> None:
    async with run_pool(budget_bytes=6, passing_seconds=0.02) as (pool, workers):
        holder = Caller(pool, "m6")
        await holder.leased()
        waiting = Caller(pool, "m3")
        await until(lambda: ("m6", State.UNLOADING) in workers.changes)
        await holder.leave()
        await waiting.leased()
        await waiting.leave()


@pytest.mark.usefixtures("sized")
async def test_what_a_load_waits_for_is_told_as_it_changes(run_pool: RunPool) -> None:
    async with run_pool(budget_bytes=6) as (pool, workers):
        first, second = Caller(pool, "m1"), Caller(pool, "m5")
        await first.leased()
        await second.leased()
        waiting = Caller(pool, "m6")
        await until(lambda: is_in_line(pool, "m6"))
        await first.leave()
        await second.leave()
        await waiting.leased()
        details = [status.detail for status in workers.statuses if status.entry.name == "m6"]
        assert [detail.partition("; ")[2] for detail in details] == [
            "'m1' and 'm5' are in use",
            "'m5' is in use",
            "'m1' and 'm5' are being unloaded",
            "'m5' is being unloaded",
            "",
            "",
        ]
        await waiting.leave()
