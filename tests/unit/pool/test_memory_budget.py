"""The pool within its memory budget: who goes, and who can't be let in."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from pool_fakes import Caller, RunPool, StubResolver, is_in_line, path_of, size, use
from waiting import refused, settle, until

from llamawire_server.errors import Condition, engine_fault
from llamawire_server.pool.pool import State


@pytest.mark.usefixtures("sized")
async def test_the_least_recently_used_make_room_by_their_size(run_pool: RunPool) -> None:
    async with run_pool(budget_bytes=6) as (pool, workers):
        for name in ("m1", "m2", "m3"):
            await use(pool, name)
        assert workers.running == {"m1", "m2", "m3"}
        await use(pool, "m1")
        await use(pool, "m4")
        assert workers.running == {"m1", "m4"}
        await use(pool, "m6")
        assert workers.running == {"m6"}


@pytest.mark.usefixtures("sized")
async def test_a_load_waits_until_those_have_ended_that_make_room(run_pool: RunPool) -> None:
    async with run_pool(budget_bytes=6) as (pool, workers):
        await use(pool, "m5")
        gate = workers.hold_stop("m5")
        caller = Caller(pool, "m2")
        await until(lambda: is_in_line(pool, "m2"))
        await settle()
        assert workers.num_starts["m2"] == 0
        assert pool.statuses()[path_of("m2")].detail.endswith("'m5' is being unloaded")
        assert pool.statuses()[path_of("m5")].state is State.UNLOADING
        gate.set()
        await caller.leased()
        await caller.leave()


@pytest.mark.usefixtures("sized")
async def test_what_can_never_fit_fails_at_once_and_disturbs_nobody(run_pool: RunPool) -> None:
    async with run_pool(budget_bytes=5) as (pool, workers):
        await use(pool, "m5")
        num_changes = len(workers.changes)
        error = await refused(use(pool, "m6"))
        assert (error.condition, error.reason) == (Condition.UNSUPPORTED, "MODEL_TOO_LARGE")
        assert workers.running == {"m5"}
        assert len(workers.changes) == num_changes
        assert pool.failure(path_of("m6")) is None


@pytest.mark.usefixtures("sized")
async def test_a_pinned_model_makes_no_room(run_pool: RunPool, resolver: StubResolver) -> None:
    resolver.add("pinned", settings=size(2, pinned=True, keep_alive=0))
    async with run_pool(budget_bytes=6) as (pool, workers):
        await use(pool, "pinned")
        await use(pool, "m4")
        await use(pool, "m3")
        assert workers.running == {"pinned", "m3"}
        error = await refused(use(pool, "m5"))
        assert (error.condition, error.reason) == (Condition.UNSUPPORTED, "MODEL_TOO_LARGE")
        assert "kept by pinned models: 'pinned'" in str(error)
        assert workers.running == {"pinned", "m3"}
        await pool.unload("pinned")
        await use(pool, "m5")
        assert workers.running == {"m5"}


@pytest.mark.usefixtures("sized")
async def test_who_waits_beside_a_model_that_turns_out_to_stay_is_told(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    resolver.add("pinned", settings=size(2, pinned=True))
    async with run_pool(budget_bytes=6) as (pool, workers):
        gate = workers.hold("pinned")
        holder = Caller(pool, "pinned")
        await until(lambda: workers.num_starts["pinned"])
        caller = Caller(pool, "m5")
        await until(lambda: is_in_line(pool, "m5"))
        gate.set()
        assert (await refused(caller.leased())).reason == "MODEL_TOO_LARGE"
        await holder.leave()


async def test_what_a_load_really_took_counts(
    run_pool: RunPool, resolver: StubResolver, caplog: pytest.LogCaptureFixture
) -> None:
    resolver.add("grows", settings=size(3))
    resolver.add("shrinks", settings=size(3))
    resolver.add("other", settings=size(2))
    async with run_pool(budget_bytes=6, is_honest=False) as (pool, workers):
        workers.measured.update(grows=5, shrinks=1)
        entry = resolver.resolve("grows")
        assert pool.memory_bytes(entry) == 3
        await use(pool, "other")
        holder = Caller(pool, "grows")
        await holder.leased()
        await until(lambda: workers.running == {"grows"})
        assert "more than the" in caplog.text
        assert pool.memory_bytes(entry) == 5
        waiting = Caller(pool, "other")
        await until(lambda: is_in_line(pool, "other"))
        await holder.leave()
        await waiting.leased()
        await waiting.leave()
        await use(pool, "shrinks")
        await use(pool, "other")
        assert workers.running == {"other", "shrinks"}
        await use(pool, "grows")
        assert workers.running == {"shrinks", "grows"}, "it is expected to take five now"
        assert workers.used_bytes == 6


async def test_a_load_that_took_too_much_ends_no_model_in_use(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    resolver.add("used", settings=size(2))
    resolver.add("idle", settings=size(1))
    resolver.add("grows", settings=size(3))
    async with run_pool(budget_bytes=6, is_honest=False) as (pool, workers):
        workers.measured["grows"] = 20
        holder = Caller(pool, "used")
        await holder.leased()
        await use(pool, "idle")
        grown = Caller(pool, "grows")
        await grown.leased()
        await until(lambda: workers.running == {"used", "grows"})
        await holder.leave()
        await until(lambda: workers.running == {"grows"})
        await grown.leave()
        await until(lambda: workers.running == set())
        assert (await refused(use(pool, "grows"))).reason == "MODEL_TOO_LARGE"


@pytest.mark.usefixtures("sized")
async def test_a_load_that_fails_leaves_its_room_to_the_next(run_pool: RunPool) -> None:
    async with run_pool(budget_bytes=6) as (pool, workers):
        gate = workers.hold("m4")
        workers.fail("m4", engine_fault("broken", "BROKEN"))
        failing = Caller(pool, "m4")
        await until(lambda: workers.num_starts["m4"])
        waiting = Caller(pool, "m3")
        await until(lambda: is_in_line(pool, "m3"))
        gate.set()
        assert (await refused(failing.leased())).reason == "BROKEN"
        await waiting.leased()
        await waiting.leave()


@pytest.mark.usefixtures("sized")
async def test_a_model_whose_worker_is_started_again_for_nobody_makes_room(run_pool: RunPool) -> None:
    async with run_pool(budget_bytes=6) as (pool, workers):
        await use(pool, "m6")
        workers.worker("m6").observer.note_death("was ended by SIGKILL", 30.0)
        await use(pool, "m1")
        assert workers.running == {"m1"}
        assert pool.failure(path_of("m6")) is None
        await asyncio.sleep(0)
        assert ("m6", State.UNLOADED) in workers.changes


@pytest.mark.usefixtures("sized")
async def test_a_worker_that_grows_beyond_the_budget_makes_idle_models_go(run_pool: RunPool) -> None:
    async with run_pool(budget_bytes=11, is_honest=False) as (pool, workers):
        await use(pool, "m5")
        holder = Caller(pool, "m6")
        entry = (await holder.leased()).entry
        worker = workers.worker("m6")
        worker.facts = msgspec.structs.replace(worker.facts, memory_bytes=7)
        worker.observer.note_memory(7)
        await until(lambda: workers.running == {"m6"})
        assert pool.memory_bytes(entry) == 7
        assert holder.has_lease
        await holder.leave()
