"""The pool with workers that need no model: who waits for which load, who makes room, and what is left."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace

import pytest
from pool_fakes import (
    CAUSE,
    PATIENCE_SECONDS,
    Caller,
    RunPool,
    StubResolver,
    leave_all,
    path_of,
    refused,
    settle,
    until,
    use,
)

from llamawire_server.config import ModelSettings
from llamawire_server.errors import Condition, engine_fault
from llamawire_server.pool import pool as pool_module
from llamawire_server.pool.pool import MAX_NAMES_KEPT, Pool, State

NUM_CALLERS = 48


def num_requests(pool: Pool, name: str) -> int:
    """How many wait at a model or use it."""
    status = pool.statuses().get(path_of(name))
    return status.num_requests if status is not None else 0


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


async def test_a_dead_worker_is_replaced_at_the_next_request(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        caller = Caller(pool, "a")
        dead = (await caller.leased()).worker
        workers.kill("a")
        assert pool.statuses() == {}
        assert pool.failure(path_of("a")) == "its worker was ended by SIGSEGV"
        fresh = (await use(pool, "a")).worker
        assert fresh is not dead
        assert pool.failure(path_of("a")) is None
        await caller.leave()
        assert (await use(pool, "a")).worker is fresh, (
            "a lease on the dead one takes nothing from the new one"
        )


async def test_a_worker_that_dies_as_it_is_ready_is_never_leased(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        workers.before_ready("a", workers.kill_worker)
        error = await refused(use(pool, "a"))
        assert error.reason == "WORKER_CRASHED"
        assert pool.statuses() == {}
        assert workers.changes[-1] == ("a", State.FAILED)
        await use(pool, "a")


async def test_the_end_of_an_old_worker_is_no_news_of_the_new_one(run_pool: RunPool) -> None:
    async with run_pool("a", "b", max_loaded_models=1) as (pool, workers):
        old = (await use(pool, "a")).worker
        gate = workers.hold_stop("a")
        caller = Caller(pool, "b")
        await until(lambda: pool.statuses().get(path_of("b")))
        workers.kill_worker(old)
        gate.set()
        await caller.leased()
        await caller.leave()
        assert ("a", State.FAILED) not in workers.changes
        assert pool.failure(path_of("a")) is None


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


async def test_changes_are_told_in_order(run_pool: RunPool) -> None:
    async with run_pool("a", "b", max_loaded_models=1) as (pool, workers):
        workers.fail("a", engine_fault("no"))
        await refused(use(pool, "a"))
        await use(pool, "a")
        await use(pool, "b")
        await until(lambda: ("a", State.UNLOADED) in workers.changes)
        of_a = [state for name, state in workers.changes if name == "a"]
        load = [State.LOADING, State.READY]
        assert of_a == [State.LOADING, State.FAILED, *load, State.UNLOADING, State.UNLOADED]
        in_line, started, ready = [status for status in workers.statuses if status.entry.name == "b"]
        assert [in_line.state, started.state, ready.state] == [State.LOADING, *load]
        assert in_line.detail
        assert not started.detail


async def test_a_status_tells_progress_and_who_waits(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        gate = workers.hold("a")
        callers = [Caller(pool, "a") for _ in range(3)]
        await until(lambda: workers.num_starts["a"])
        workers.report_progress("a", 0.5)
        await until(lambda: pool.statuses()[path_of("a")].num_requests == 3)
        status = pool.statuses()[path_of("a")]
        assert (status.state, status.load_progress, status.worker) == (State.LOADING, 0.5, None)
        gate.set()
        for caller in callers:
            await caller.leased()
        status = pool.statuses()[path_of("a")]
        assert (status.state, status.load_progress, status.num_requests) == (State.READY, 1.0, 3)
        await leave_all(callers)
        assert pool.statuses()[path_of("a")].num_requests == 0


@pytest.mark.parametrize("is_loaded", [True, False])
async def test_only_so_many_requests_wait_at_one_model(
    run_pool: RunPool, resolver: StubResolver, is_loaded: bool
) -> None:
    resolver.add("a", settings=ModelSettings(parallel=2))
    async with run_pool("b", max_queued_requests=1) as (pool, workers):
        gate = workers.hold("a")
        if is_loaded:
            gate.set()
        callers = [Caller(pool, "a") for _ in range(3)]
        await until(lambda: num_requests(pool, "a") == 3)
        error = await refused(use(pool, "a"))
        assert (error.condition, error.reason) == (Condition.BUSY, "QUEUE_FULL")
        assert error.retry_after_seconds is not None
        await use(pool, "b")
        await callers.pop().cancel()
        callers.append(Caller(pool, "a"))
        gate.set()
        for caller in callers:
            await caller.leased()
        await leave_all(callers)


async def test_who_is_sent_away_is_told_how_long_the_line_takes(
    run_pool: RunPool, resolver: StubResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(pool_module, "time", SimpleNamespace(monotonic=lambda: now))
    resolver.add("a", settings=ModelSettings(parallel=2))
    async with run_pool(max_queued_requests=4) as (pool, _):
        callers = [Caller(pool, "a") for _ in range(6)]
        for caller in callers:
            await caller.leased()
        assert (await refused(use(pool, "a"))).retry_after_seconds == 1, "nothing is known yet"
        now += 30
        await callers.pop(0).leave()
        callers.append(Caller(pool, "a"))
        await callers[-1].leased()
        # Two of the four that wait have to go, and two are answered in 30 seconds.
        assert (await refused(use(pool, "a"))).retry_after_seconds == 30
        await leave_all(callers)
