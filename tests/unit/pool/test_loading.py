"""Loads that callers watch, are told of and come back for, or leave alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest
from pool_fakes import (
    NEVER_SECONDS,
    PATIENCE_SECONDS,
    Caller,
    RunPool,
    StubResolver,
    path_of,
    size,
    use,
)
from waiting import refused, settle, until

from llamawire_server.config import ModelSettings
from llamawire_server.errors import Condition, ServiceError, engine_fault
from llamawire_server.pool.pool import ModelStatus, Pool, State


class Loader:
    """Somebody who watches a load to its end, or until told to leave."""

    def __init__(self, pool: Pool, name: str, timeout_seconds: float | None = None) -> None:
        self.statuses: list[ModelStatus] = []
        self.task = asyncio.create_task(self._watch(pool.load(name, timeout_seconds)))

    async def _watch(self, statuses: AsyncGenerator[ModelStatus, None]) -> None:
        async with contextlib.aclosing(statuses):
            async for status in statuses:
                self.statuses.append(status)

    async def done(self) -> ModelStatus:
        """The last status. Raises what the load raises."""
        await asyncio.wait_for(asyncio.shield(self.task), PATIENCE_SECONDS)
        return self.statuses[-1]

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


async def sent_away(pool: Pool, name: str) -> ServiceError:
    """What somebody is told who does not wait."""
    return await refused(pool.lease(name, wait=False).__aenter__())


async def use_at_once(pool: Pool, name: str) -> None:
    async with pool.lease(name, wait=False):
        pass


async def test_a_load_is_watched_to_its_end(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        gate = workers.hold("a")
        loader = Loader(pool, "a")
        await until(lambda: workers.num_starts["a"])
        for share in (0.25, 0.251, 0.5):
            workers.report_progress("a", share)
            await settle()
        gate.set()
        last = await loader.done()
        states = [(status.state, status.load_progress) for status in loader.statuses]
        loading = State.LOADING
        assert states == [(loading, 0.0), (loading, 0.25), (loading, 0.5), (State.READY, 1.0)]
        assert last.worker is workers.worker("a")
        told = [status.load_progress for status in workers.statuses]
        assert told == [0.0, 0.25, 0.5, 1.0], "a thousandth is no news"
        assert pool.statuses()[path_of("a")].num_requests == 0


async def test_to_load_what_is_there_says_so_at_once(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        await use(pool, "a")
        loader = Loader(pool, "a")
        await loader.done()
        assert [status.state for status in loader.statuses] == [State.READY]
        assert workers.num_starts["a"] == 1


async def test_a_slow_watcher_gets_the_latest(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        gate = workers.hold("a")
        statuses = pool.load("a")
        assert (await anext(statuses)).state is State.LOADING
        await until(lambda: workers.num_starts["a"])
        for percent in range(100):
            workers.report_progress("a", percent / 100)
        assert (await anext(statuses)).load_progress == 0.99
        gate.set()
        await until(lambda: pool.statuses()[path_of("a")].state is State.READY)
        assert [status.state async for status in statuses] == [State.READY]


@pytest.mark.parametrize("keep_alive", [None, 0.0])
async def test_a_watched_load_is_kept_as_after_a_request(
    run_pool: RunPool, resolver: StubResolver, keep_alive: float | None
) -> None:
    resolver.add("a", settings=ModelSettings(keep_alive=keep_alive))
    async with run_pool() as (pool, workers):
        assert (await Loader(pool, "a").done()).state is State.READY
        if keep_alive is None:
            await settle()
            assert workers.running == {"a"}
        else:
            await until(lambda: workers.changes[-1] == ("a", State.UNLOADED))


async def test_a_watched_load_fails_as_a_request_does(run_pool: RunPool, resolver: StubResolver) -> None:
    resolver.add("large", settings=size(2000))
    resolver.add("held", settings=size(900))
    async with run_pool("a", budget_bytes=1000, load_timeout_seconds=NEVER_SECONDS) as (pool, workers):
        assert (await refused(Loader(pool, "nobody").done())).reason == "MODEL_NOT_FOUND"
        assert (await refused(Loader(pool, "large").done())).reason == "MODEL_TOO_LARGE"
        workers.fail("a", engine_fault("broken", "BROKEN"))
        assert (await refused(Loader(pool, "a").done())).reason == "BROKEN"
        workers.hold("held")
        slow = Loader(pool, "held", timeout_seconds=0.02)
        assert (await refused(slow.done())).condition is Condition.DEADLINE
        holder = Caller(pool, "held")
        in_line = Loader(pool, "a", timeout_seconds=0.02)
        assert (await refused(in_line.done())).reason == "MEMORY_BUDGET_FULL"
        assert in_line.statuses[-1].state is State.LOADING
        assert in_line.statuses[-1].detail.startswith("waits for")
        await holder.cancel()


async def test_who_watches_a_load_holds_the_model(run_pool: RunPool) -> None:
    async with run_pool("a", "b", max_loaded_models=1) as (pool, workers):
        statuses = pool.load("a")
        assert (await anext(statuses)).state is State.LOADING
        await until(lambda: workers.running == {"a"})
        other = Caller(pool, "b")
        await until(lambda: path_of("b") in pool.statuses())
        assert (await anext(statuses)).state is State.READY
        await statuses.aclose()
        await other.leased()
        await other.leave()


@pytest.mark.parametrize("stage", ["in line", "starting"])
async def test_to_leave_a_load_that_nobody_else_waits_for_cancels_it(run_pool: RunPool, stage: str) -> None:
    async with run_pool("a", "b", max_loaded_models=1) as (pool, workers):
        workers.hold("a")
        holder = None
        if stage == "in line":
            holder = Caller(pool, "b")
            await holder.leased()
        loader = Loader(pool, "a")
        await until(lambda: loader.statuses and (stage == "in line" or workers.num_starts["a"]))
        await loader.leave()
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADED))
        assert workers.num_cancelled == workers.num_starts["a"] == (stage == "starting")
        assert path_of("a") not in pool.statuses()
        assert pool.failure(path_of("a")) is None
        if holder is not None:
            await holder.leave()


async def test_to_leave_a_load_that_others_wait_for_does_not_disturb_them(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        gate = workers.hold("a")
        loader, other, caller = Loader(pool, "a"), Loader(pool, "a"), Caller(pool, "a")
        await until(lambda: loader.statuses and other.statuses and workers.num_starts["a"])
        await loader.leave()
        await caller.cancel()
        await settle()
        gate.set()
        assert (await other.done()).state is State.READY
        assert workers.num_cancelled == 0


async def test_to_leave_a_load_ends_it_not_for_who_may_come_back(run_pool: RunPool) -> None:
    async with run_pool("a", abandoned_load_seconds=NEVER_SECONDS) as (pool, workers):
        gate = workers.hold("a")
        loader, caller = Loader(pool, "a"), Caller(pool, "a")
        await until(lambda: loader.statuses and workers.num_starts["a"])
        await until(lambda: pool.statuses()[path_of("a")].num_requests)
        await caller.cancel()
        await loader.leave()
        gate.set()
        await use(pool, "a")
        assert (workers.num_cancelled, workers.num_starts["a"]) == (0, 1)


async def test_every_wait_is_told(run_pool: RunPool) -> None:
    async with run_pool("a", "b", max_loaded_models=1) as (pool, workers):
        holder = Caller(pool, "b")
        await holder.leased()
        for _ in range(2):
            caller = Caller(pool, "a")
            await until(lambda: path_of("a") in pool.statuses())
            await caller.cancel()
        of_a = [state for name, state in workers.changes if name == "a"]
        assert of_a == [State.LOADING, State.UNLOADED] * 2
        await holder.leave()


async def test_a_load_that_was_left_alone_is_cancelled_after_a_while(run_pool: RunPool) -> None:
    async with run_pool("a", abandoned_load_seconds=0.02) as (pool, workers):
        workers.hold("a")
        caller = Caller(pool, "a", timeout_seconds=0.02)
        assert (await refused(caller.leased())).condition is Condition.DEADLINE
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADED))
        assert workers.num_cancelled == 1
        assert pool.failure(path_of("a")) is None


async def test_who_comes_back_to_a_load_keeps_it(run_pool: RunPool) -> None:
    async with run_pool("a", abandoned_load_seconds=0.02) as (pool, workers):
        gate = workers.hold("a")
        caller = Caller(pool, "a")
        await until(lambda: workers.num_starts["a"])
        await caller.cancel()
        back = Caller(pool, "a")
        slot = pool._register.current[path_of("a")]
        await until(lambda: slot.timer is None)
        await settle()
        gate.set()
        await back.leased()
        await back.leave()
        assert workers.num_cancelled == 0


async def test_who_does_not_wait_is_told_that_the_model_is_being_loaded(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        gate = workers.hold("a")
        for _ in range(3):
            error = await sent_away(pool, "a")
            assert (error.condition, error.reason) == (Condition.NOT_READY, "MODEL_LOADING")
            assert error.retry_after_seconds is not None
        gate.set()
        await until(lambda: pool.statuses()[path_of("a")].state is State.READY)
        await use_at_once(pool, "a")
        assert workers.num_starts["a"] == 1


async def test_who_does_not_wait_is_told_what_went_wrong_the_last_time(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        workers.fail("a", engine_fault("no tensors", "MODEL_LOAD_FAILED"))
        await sent_away(pool, "a")
        await until(lambda: pool.failure(path_of("a")))
        workers.hold("a")
        assert "no tensors" in str(await sent_away(pool, "a"))


async def test_who_does_not_wait_is_told_of_what_can_never_be(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    resolver.add("large", settings=size(2000))
    async with run_pool(budget_bytes=1000) as (pool, _):
        assert (await sent_away(pool, "large")).reason == "MODEL_TOO_LARGE"
        assert (await sent_away(pool, "nobody")).reason == "MODEL_NOT_FOUND"


async def test_a_load_for_who_was_sent_away_is_given_up_after_a_while(run_pool: RunPool) -> None:
    async with run_pool("a", "b", max_loaded_models=1, abandoned_load_seconds=0.02) as (pool, workers):
        workers.hold("a")
        await sent_away(pool, "a")
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADED))
        assert workers.num_cancelled == 1
        holder = Caller(pool, "b")
        await holder.leased()
        await sent_away(pool, "a")
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADED))
        assert workers.num_starts["a"] == 1, "its place in the line is given up too"
        await holder.leave()


async def test_who_was_sent_away_finds_the_model_though_it_is_not_kept(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    resolver.add("a", settings=ModelSettings(keep_alive=0))
    async with run_pool(abandoned_load_seconds=NEVER_SECONDS) as (pool, workers):
        await sent_away(pool, "a")
        await until(lambda: pool.statuses()[path_of("a")].state is State.READY)
        await settle()
        await use_at_once(pool, "a")
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADED))


async def test_who_was_sent_away_finds_no_model_that_it_never_came_back_for(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    resolver.add("a", settings=ModelSettings(keep_alive=0))
    async with run_pool(abandoned_load_seconds=0.02) as (pool, workers):
        await sent_away(pool, "a")
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADED))
        assert ("a", State.READY) in workers.changes


async def test_to_be_sent_away_is_a_use(run_pool: RunPool) -> None:
    async with run_pool("a", "b", "c", max_loaded_models=2) as (pool, workers):
        await use(pool, "b")
        await sent_away(pool, "a")
        await until(lambda: workers.running == {"a", "b"})
        await use(pool, "c")
        assert workers.running == {"a", "c"}


async def test_who_does_not_wait_has_a_place_in_the_line(run_pool: RunPool) -> None:
    async with run_pool("a", "b", max_loaded_models=1) as (pool, workers):
        holder = Caller(pool, "b")
        await holder.leased()
        await sent_away(pool, "a")
        await holder.leave()
        await until(lambda: workers.running == {"a"})
        await until(lambda: pool.statuses()[path_of("a")].state is State.READY)
        await use_at_once(pool, "a")
