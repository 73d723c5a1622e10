"""The line at one model: it has an end, and who is sent away is told how long it takes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pool_fakes import Caller, RunPool, StubResolver, leave_all, num_requests, use
from waiting import refused, until

from llamawire_server.config import ModelSettings
from llamawire_server.errors import Condition
from llamawire_server.pool import pool as pool_module


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
