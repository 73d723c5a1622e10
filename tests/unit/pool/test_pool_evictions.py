"""Which models stay loaded: who makes room for whom, who never does, and who goes by itself."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from pool_fakes import Caller, RunPool, StubResolver, num_requests, path_of, use
from waiting import refused, settle, until

from llamawire_server.config import ModelSettings
from llamawire_server.errors import Condition
from llamawire_server.pool.pool import State


async def test_the_least_recently_used_idle_model_makes_room(run_pool: RunPool) -> None:
    async with run_pool("a", "b", "c", "d", max_loaded_models=3) as (pool, workers):
        for name in ("a", "b", "c"):
            await use(pool, name)
        await use(pool, "a")
        held = Caller(pool, "b")
        await held.leased()
        await use(pool, "d")
        assert workers.running == {"a", "b", "d"}
        await use(pool, "c")
        assert workers.running == {"b", "c", "d"}
        await held.leave()


async def test_a_leased_model_is_never_unloaded(run_pool: RunPool) -> None:
    async with run_pool("a", "b", max_loaded_models=1) as (pool, workers):
        callers = [Caller(pool, "a") for _ in range(3)]
        for caller in callers:
            await caller.leased()
        for caller in callers:
            error = await refused(Caller(pool, "b", timeout_seconds=0.02).leased())
            assert (error.condition, error.reason) == (Condition.BUSY, "ALL_MODELS_BUSY")
            assert error.retry_after_seconds is not None
            assert workers.running == {"a"}
            await caller.leave()
        await use(pool, "b")
        assert workers.running == {"b"}
        assert workers.num_starts == Counter(a=1, b=1)


async def test_a_model_on_its_way_in_is_leased_already(run_pool: RunPool) -> None:
    async with run_pool("a", "b", max_loaded_models=1) as (pool, workers):
        gate = workers.hold("a")
        caller = Caller(pool, "a")
        await until(lambda: workers.num_starts["a"])
        other = Caller(pool, "b")
        await until(lambda: num_requests(pool, "b"))
        gate.set()
        await caller.leased()
        await settle()
        assert workers.running == {"a"}
        assert not other.has_lease
        await caller.leave()
        await other.leased()
        assert workers.running == {"b"}
        await other.leave()


async def test_a_model_is_loaded_when_the_one_that_makes_room_has_left_memory(run_pool: RunPool) -> None:
    async with run_pool("a", "b", "c", max_loaded_models=2) as (pool, workers):
        await use(pool, "a")
        await use(pool, "b")
        gate = workers.hold_stop("a")
        caller = Caller(pool, "c")
        await until(lambda: pool.statuses().get(path_of("c")))
        await settle()
        assert workers.num_starts["c"] == 0
        await use(pool, "b")  # which is loaded, and waits for nothing
        gate.set()
        await caller.leased()
        await caller.leave()
        assert workers.most_running == 2


async def test_a_model_that_is_leaving_is_loaded_anew(run_pool: RunPool) -> None:
    async with run_pool("a", "b", max_loaded_models=1) as (pool, workers):
        gone = (await use(pool, "a")).worker
        gate = workers.hold_stop("a")
        other = Caller(pool, "b")
        await until(lambda: pool.statuses().get(path_of("b")))
        gate.set()
        await other.leased()
        await other.leave()
        assert (await use(pool, "a")).worker is not gone
        assert pool.statuses()[path_of("a")].state is State.READY


@pytest.mark.parametrize(("keep_alive", "stays"), [(None, True), (-1, True), (0, False), (0.01, False)])
async def test_keep_alive(
    run_pool: RunPool, resolver: StubResolver, keep_alive: float | None, stays: bool
) -> None:
    resolver.add("a", settings=ModelSettings(keep_alive=keep_alive))
    async with run_pool() as (pool, workers):
        first, second = Caller(pool, "a"), Caller(pool, "a")
        await first.leased()
        await second.leased()
        await first.leave()
        await asyncio.sleep(0.03)
        assert workers.running == {"a"}, "it is leased"
        await second.leave()
        if stays:
            await asyncio.sleep(0.03)
            assert workers.running == {"a"}
        else:
            await until(lambda: workers.running == set())
            await until(lambda: workers.changes[-1] == ("a", State.UNLOADED))


async def test_keep_alive_counts_for_a_model_that_nobody_waited_for(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    resolver.add("a", settings=ModelSettings(keep_alive=0))
    async with run_pool() as (pool, workers):
        gate = workers.hold("a")
        caller = Caller(pool, "a")
        await until(lambda: workers.num_starts["a"])
        await caller.cancel()
        gate.set()
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADED))
        assert workers.running == set()
