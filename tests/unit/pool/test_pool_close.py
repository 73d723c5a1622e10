"""The end of the pool, whatever it is at."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from pool_fakes import CAUSE, PATIENCE_SECONDS, Caller, RunPool, StubResolver, leave_all, path_of, use
from waiting import refused, settle, until

from llamawire_server.errors import Condition, engine_fault
from llamawire_server.pool.pool import State


async def test_closing_leaves_nothing(run_pool: RunPool) -> None:
    async with run_pool("idle", "leased", "loading") as (pool, workers):
        await use(pool, "idle")
        holder = Caller(pool, "leased")
        await holder.leased()
        workers.hold("loading")
        waiting = [Caller(pool, "loading") for _ in range(3)]
        await until(lambda: workers.num_starts["loading"])
        await asyncio.wait_for(pool.close(), PATIENCE_SECONDS)
        assert workers.running == set()
        assert pool.statuses() == {}
        for caller in waiting:
            error = await refused(caller.leased())
            assert (error.condition, error.reason) == (Condition.NOT_READY, "DRAINING")
        assert (await refused(use(pool, "idle"))).reason == "DRAINING"
        await holder.leave()
        await pool.close()


async def test_a_request_that_was_being_resolved_at_the_close_loads_nothing(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    async with run_pool("a") as (pool, workers):
        resolver.hold()
        caller = Caller(pool, "a")
        await until(lambda: resolver.asked)
        await pool.close()
        resolver.go_on()
        assert (await refused(caller.leased())).reason == "DRAINING"
        assert workers.num_starts == Counter()


@pytest.mark.parametrize("num_turns", range(10))
@pytest.mark.parametrize("then", ["lives", "dies", "was never there"])
async def test_a_worker_that_is_ready_as_the_pool_closes_is_ended(
    run_pool: RunPool, then: str, num_turns: int
) -> None:
    async with run_pool("a") as (pool, workers):
        gate = workers.hold("a")
        if then == "dies":
            workers.before_ready("a", lambda worker: worker.observer.note_death(CAUSE, 0.0))
        elif then == "was never there":
            workers.fail("a", engine_fault("no", "BROKEN"))
        caller = Caller(pool, "a")
        await until(lambda: workers.num_starts["a"])
        gate.set()
        for _ in range(num_turns):
            await asyncio.sleep(0)
        had_lease = caller.has_lease
        num_changes = len(workers.changes)
        await pool.close()
        assert workers.running == set()
        assert workers.changes[num_changes:] in ([("a", State.UNLOADING), ("a", State.UNLOADED)], [])
        if had_lease:
            await caller.leave()
        else:
            assert (await refused(caller.leased())).reason in ("DRAINING", "BROKEN")


async def test_the_close_ends_what_runs_waits_loads_and_leaves(run_pool: RunPool) -> None:
    async with run_pool("running", "draining", "loading", "waiting", max_loaded_models=3) as (pool, workers):
        runner, drained = Caller(pool, "running"), Caller(pool, "draining")
        await runner.leased()
        await drained.leased()
        unloading = asyncio.create_task(pool.unload("draining"))
        workers.hold("loading")
        lost = [Caller(pool, "loading")]
        await until(lambda: workers.num_starts["loading"])
        lost.append(Caller(pool, "waiting"))
        await until(lambda: path_of("waiting") in pool.statuses())
        statuses = pool.load("loading")
        await anext(statuses)
        closings = [asyncio.create_task(pool.close()) for _ in range(2)]
        await asyncio.wait_for(asyncio.gather(*closings), PATIENCE_SECONDS)
        assert pool.statuses() == {}
        for caller in lost:
            error = await refused(caller.leased())
            assert (error.condition, error.reason) == (Condition.NOT_READY, "DRAINING")
        assert (await refused(anext(statuses))).reason == "DRAINING"
        assert (await refused(anext(pool.load("running")))).reason == "DRAINING"
        for caller in (runner, drained):
            assert caller.worker.stop_error is not None
            assert caller.worker.stop_error.condition is Condition.ENGINE
            assert caller.worker.stop_error.reason == "SERVER_STOPPED"
        await unloading
        await leave_all([runner, drained])
        pool.renew([])


async def test_a_close_that_is_cancelled_ends_the_workers_still(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        await use(pool, "a")
        gate = workers.hold_stop("a")
        closing = asyncio.create_task(pool.close())
        await settle()
        closing.cancel()
        await asyncio.wait({closing})
        gate.set()
        await until(lambda: workers.alive == set())
