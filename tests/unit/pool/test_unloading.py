"""Models that are unloaded on request."""

from __future__ import annotations

import asyncio

import pytest
from pool_fakes import (
    PATIENCE_SECONDS,
    Caller,
    RunPool,
    StubResolver,
    leave_all,
    path_of,
    size,
    use,
)
from waiting import refused, settle, until

from llamawire_server.config import ModelSettings
from llamawire_server.errors import Condition
from llamawire_server.pool.pool import Pool, State


async def unload(pool: Pool, name: str, *, cancel_running: bool = False) -> str:
    """Unload a model; gives the name that answers carry."""
    entry = await asyncio.wait_for(pool.unload(name, cancel_running=cancel_running), PATIENCE_SECONDS)
    return entry.name


async def test_an_idle_model_is_unloaded_when_its_worker_has_ended(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        await use(pool, "a")
        gate = workers.hold_stop("a")
        unloading = asyncio.create_task(unload(pool, " A:tag"))
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADING))
        await settle()
        assert not unloading.done()
        gate.set()
        assert await unloading == "a"
        assert workers.running == set()
        assert pool.statuses() == {}
        await use(pool, "a")


async def test_an_unload_waits_for_requests_and_new_ones_load_anew(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        workers.has_successors = True
        callers = [Caller(pool, "a") for _ in range(2)]
        old = (await callers[0].leased()).worker
        await callers[1].leased()
        unloading = asyncio.create_task(unload(pool, "a"))
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADING))
        status = pool.statuses()[path_of("a")]
        assert (status.state, status.num_requests) == (State.UNLOADING, 2)
        fresh = await use(pool, "a")
        assert fresh.worker is not old
        assert pool.statuses()[path_of("a")].state is State.READY
        await callers[0].leave()
        await settle()
        assert not unloading.done()
        assert old in workers.alive
        await callers[1].leave()
        await unloading
        assert workers.alive == {fresh.worker}
        assert workers.changes[-1] == ("a", State.READY), "the end of the old one is no news of the new one"


async def test_an_unload_may_cancel_requests(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        caller = Caller(pool, "a")
        worker = (await caller.leased()).worker
        await unload(pool, "a", cancel_running=True)
        assert workers.alive == set()
        error = caller.worker.stop_error
        assert error is not None
        assert (error.condition, error.reason) == (Condition.CANCELLED, "MODEL_UNLOADED")
        await caller.leave()
        assert (await use(pool, "a")).worker is not worker


async def test_an_unload_that_waits_may_be_hurried(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        caller = Caller(pool, "a")
        await caller.leased()
        patient = asyncio.create_task(unload(pool, "a"))
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADING))
        await unload(pool, "a", cancel_running=True)
        await patient
        assert workers.alive == set()
        await caller.leave()


async def test_two_unloads_at_once_both_finish(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        caller = Caller(pool, "a")
        await caller.leased()
        both = [asyncio.create_task(unload(pool, "a")) for _ in range(2)]
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADING))
        await settle()
        await caller.leave()
        assert await asyncio.gather(*both) == ["a", "a"]


@pytest.mark.parametrize("stage", ["in line", "starting"])
@pytest.mark.parametrize("cancel_running", [False, True])
async def test_an_unload_cancels_a_load(run_pool: RunPool, stage: str, cancel_running: bool) -> None:
    async with run_pool("a", "b", max_loaded_models=1) as (pool, workers):
        workers.hold("a")
        holders = []
        if stage == "in line":
            holders = [Caller(pool, "b")]
            await holders[0].leased()
        callers = [Caller(pool, "a") for _ in range(2)]
        await until(
            lambda: path_of("a") in pool.statuses() and pool.statuses()[path_of("a")].num_requests == 2
        )
        await until(lambda: stage == "in line" or workers.num_starts["a"])
        await unload(pool, "a", cancel_running=cancel_running)
        for caller in callers:
            error = await refused(caller.leased())
            assert (error.condition, error.reason) == (Condition.NOT_READY, "MODEL_UNLOADED")
        assert workers.changes[-1] == ("a", State.UNLOADED)
        assert workers.num_cancelled == (stage == "starting")
        await leave_all(holders)


async def test_to_unload_what_is_not_loaded_changes_nothing(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        assert await unload(pool, "a:tag") == "a"
        assert workers.changes == []
        assert (await refused(unload(pool, "nobody"))).reason == "MODEL_NOT_FOUND"


async def test_an_unload_that_takes_too_long_goes_on(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        caller = Caller(pool, "a")
        await caller.leased()
        error = await refused(pool.unload("a", timeout_seconds=0.02))
        assert error.condition is Condition.DEADLINE
        await caller.leave()
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADED))


async def test_who_is_taken_out_of_the_line_lets_the_next_one_through(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    for name, num_bytes in (("a", 4), ("b", 3), ("c", 2)):
        resolver.add(name, settings=size(num_bytes))
    async with run_pool(budget_bytes=6) as (pool, _):
        holder = Caller(pool, "a")
        await holder.leased()
        assert (await refused(pool.lease("b", wait=False).__aenter__())).reason == "MODEL_LOADING"
        waiting = Caller(pool, "c")
        await until(lambda: len(pool.statuses()) == 3)
        await unload(pool, "b")
        await waiting.leased()
        await leave_all([holder, waiting])


async def test_an_unload_lets_in_who_waits_for_room(run_pool: RunPool, resolver: StubResolver) -> None:
    resolver.add("p", settings=ModelSettings(pinned=True))
    async with run_pool("a", max_loaded_models=1) as (pool, workers):
        gate = workers.hold("p")
        holder = Caller(pool, "p")
        await until(lambda: workers.num_starts["p"])
        caller = Caller(pool, "a")
        await until(lambda: path_of("a") in pool.statuses())
        await unload(pool, "p")
        assert (await refused(holder.leased())).reason == "MODEL_UNLOADED"
        await caller.leased()
        gate.set()
        await caller.leave()


async def test_a_model_that_is_unloaded_while_it_is_started_again_has_not_failed(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        await use(pool, "a")
        workers.worker("a").observer.note_death("was ended by SIGKILL", 4.0)
        waiting = Caller(pool, "a")
        await until(lambda: pool.statuses()[path_of("a")].num_requests)
        await unload(pool, "a", cancel_running=True)
        assert (await refused(waiting.leased())).reason == "MODEL_UNLOADED"
        ending, ended = workers.statuses[-2:]
        assert [ending.state, ended.state] == [State.UNLOADING, State.UNLOADED]
        assert ending.detail == ended.detail == ""
        assert pool.failure(path_of("a")) is None
