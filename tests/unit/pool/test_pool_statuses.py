"""What the pool tells of its models, and in which order."""

from __future__ import annotations

from pool_fakes import Caller, RunPool, leave_all, path_of, use
from waiting import refused, until

from llamawire_server.errors import engine_fault
from llamawire_server.pool.pool import State


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
