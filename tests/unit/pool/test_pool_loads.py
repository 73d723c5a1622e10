"""Loads with workers that need no model: who waits for which, and what a failed one leaves."""

from __future__ import annotations

from collections import Counter

import pytest
from pool_fakes import (
    Caller,
    RunPool,
    StubResolver,
    leave_all,
    num_requests,
    path_of,
    use,
)
from waiting import refused, until

from llamawire_server.errors import Condition, engine_fault
from llamawire_server.pool.pool import MAX_NAMES_KEPT

NUM_CALLERS = 48


async def test_a_cold_model_is_loaded_once_for_all_who_ask_at_once(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        gate = workers.hold("a")
        callers = [Caller(pool, "a") for _ in range(NUM_CALLERS)]
        await until(
            lambda: pool.statuses() and next(iter(pool.statuses().values())).num_requests == NUM_CALLERS
        )
        gate.set()
        leases = [await caller.leased() for caller in callers]
        assert workers.num_starts == Counter(a=1)
        assert len({id(lease.worker) for lease in leases}) == 1
        assert all(lease.waited_seconds > 0 for lease in leases)
        warm = await use(pool, "a")
        assert (warm.worker, warm.waited_seconds) == (leases[0].worker, 0)
        await leave_all(callers)


async def test_names_of_one_file_share_its_load(run_pool: RunPool, resolver: StubResolver) -> None:
    resolver.add("a", aliases=("b", "c"))
    async with run_pool() as (pool, workers):
        gate = workers.hold("a")
        callers = [Caller(pool, name) for name in ("a", "B ", "c", "a:latest") * 8]
        await until(lambda: num_requests(pool, "a") == 32)
        gate.set()
        leases = [await caller.leased() for caller in callers]
        assert workers.num_starts == Counter(a=1)
        assert len({id(lease.worker) for lease in leases}) == 1
        assert {lease.entry.name for lease in leases} == {"a"}
        await leave_all(callers)


async def test_a_loaded_name_needs_no_resolver(run_pool: RunPool, resolver: StubResolver) -> None:
    resolver.add("a", aliases=("b",))
    async with run_pool() as (pool, workers):
        await use(pool, "a:tag")
        asked = len(resolver.asked)
        for name in ("a", " A", "b", "a:TAG"):
            await use(pool, name)
        assert len(resolver.asked) == asked
        for number in range(2 * MAX_NAMES_KEPT):
            await use(pool, f"a:{number}")
        assert len(next(iter(pool._register.current.values())).names) <= MAX_NAMES_KEPT, (
            "made-up names take no memory"
        )
        assert workers.num_starts == Counter(a=1)


async def test_a_slow_load_holds_nobody_else_up(run_pool: RunPool) -> None:
    async with run_pool("slow", "warm", "cold") as (pool, workers):
        await use(pool, "warm")
        gate = workers.hold("slow")
        waiting = Caller(pool, "slow")
        await until(lambda: workers.num_starts["slow"])
        await use(pool, "warm")
        await use(pool, "cold")
        assert not waiting.has_lease
        gate.set()
        await waiting.leased()
        await waiting.leave()


async def test_a_failed_load_is_told_to_all_who_waited_and_can_be_tried_again(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        gate = workers.hold("a")
        workers.fail("a", engine_fault("no tensors", "MODEL_LOAD_FAILED"))
        callers = [Caller(pool, "a") for _ in range(NUM_CALLERS)]
        await until(
            lambda: pool.statuses() and next(iter(pool.statuses().values())).num_requests == NUM_CALLERS
        )
        gate.set()
        errors = [await refused(caller.leased()) for caller in callers]
        assert {(error.reason, str(error)) for error in errors} == {("MODEL_LOAD_FAILED", "no tensors")}
        assert len({id(error) for error in errors}) == NUM_CALLERS, "each has a traceback of its own"
        assert workers.num_starts == Counter(a=1)
        assert pool.failure(path_of("a")) == "no tensors"
        assert pool.statuses() == {}
        await use(pool, "a")
        assert workers.num_starts == Counter(a=2)
        assert pool.failure(path_of("a")) is None


async def test_a_fault_of_ours_while_loading_tells_no_secrets(
    run_pool: RunPool, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_pool("a") as (pool, workers):
        workers.fail("a", RuntimeError("/secret/path"))
        error = await refused(use(pool, "a"))
        assert (error.condition, error.reason) == (Condition.ENGINE, "MODEL_LOAD_FAILED")
        assert "secret" not in str(error)
        assert "/secret/path" in caplog.text
        await use(pool, "a")


async def test_an_unknown_name_fails_alone(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        gate = workers.hold("a")
        caller = Caller(pool, "a")
        assert (await refused(use(pool, "b"))).reason == "MODEL_NOT_FOUND"
        gate.set()
        await caller.leased()
        await caller.leave()


async def test_a_load_that_takes_too_long_is_given_up(run_pool: RunPool) -> None:
    async with run_pool("a", load_timeout_seconds=0.05) as (pool, workers):
        gate = workers.hold("a")
        error = await refused(use(pool, "a"))
        assert error.reason == "MODEL_LOAD_TIMEOUT"
        assert workers.num_cancelled == 1
        gate.set()
        await use(pool, "a")


async def test_callers_who_leave_or_run_out_of_time_do_not_end_a_load(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        gate = workers.hold("a")
        first, *others = callers = [Caller(pool, "a") for _ in range(4)]
        late = Caller(pool, "a", timeout_seconds=0.05)
        error = await refused(late.leased())
        assert error.condition is Condition.DEADLINE
        for caller in (first, others[0]):
            await caller.cancel()
        gate.set()
        for caller in callers[2:]:
            await caller.leased()
        assert workers.num_starts == Counter(a=1)
        await leave_all(callers[2:])


async def test_a_load_that_nobody_waits_for_any_more_is_used_by_the_next(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        gate = workers.hold("a")
        caller = Caller(pool, "a")
        await until(lambda: workers.num_starts["a"])
        await caller.cancel()
        gate.set()
        await use(pool, "a")
        assert workers.num_starts == Counter(a=1)


async def test_a_load_that_fails_when_all_have_left_is_no_accident(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        gate = workers.hold("a")
        workers.fail("a", engine_fault("no"))
        caller = Caller(pool, "a")
        await until(lambda: workers.num_starts["a"])
        await caller.cancel()
        gate.set()
        await until(lambda: pool.failure(path_of("a")))
        await use(pool, "a")
