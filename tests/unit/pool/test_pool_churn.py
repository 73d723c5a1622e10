"""Many callers who come, leave, are cancelled and fail at random: what must hold holds at every moment."""

from __future__ import annotations

import asyncio
import random

import pytest
from pool_fakes import Caller, FakeWorkers, RunPool, StubResolver, path_of, refused, use

from llamawire_server.config import ModelSettings
from llamawire_server.errors import ServiceError, engine_fault
from llamawire_server.models.pool import Pool, State

NAMES = ("a", "b", "c", "d", "e")
NUM_STEPS = 400
EXPECTED_REASONS = {"ALL_MODELS_BUSY", "BROKEN", "MODEL_NOT_FOUND", "WORKER_CRASHED", "DEADLINE_EXCEEDED"}


class Churn:
    """A crowd at a pool, and what must hold whatever it does."""

    def __init__(self, pool: Pool, workers: FakeWorkers, max_loaded_models: int, seed: int) -> None:
        self._pool = pool
        self._workers = workers
        self._max_loaded_models = max_loaded_models
        self._random = random.Random(seed)
        self._callers: list[Caller] = []
        self._dead: set[object] = set()
        self._gates: list[asyncio.Event] = []
        self.num_leases = 0

    async def step(self) -> None:
        """One thing happens."""
        actions = [self._come] * 6 + [self._leave] * 4
        actions += [self._cancel, self._break, self._kill, self._slow_down, self._speed_up, self._speed_up]
        await self._random.choice(actions)()
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        if self._random.random() < 0.1:
            await asyncio.sleep(0.001)  # the resolver's threads get on
        self._forget_who_is_gone()
        self._check()

    async def end(self) -> None:
        """All who are left get what they wait for, and leave."""
        while self._gates:
            await self._speed_up()
        while self._callers:
            await self._callers[0].heard_back()
            self._forget_who_is_gone()
            await self._leave()
            self._check()

    async def _come(self) -> None:
        name = self._random.choice((*NAMES, "A", "b:tag", "nobody"))
        timeout_seconds = 0.002 if self._random.random() < 0.1 else None
        self._callers.append(Caller(self._pool, name, timeout_seconds))

    async def _leave(self) -> None:
        if holders := [caller for caller in self._callers if caller.has_lease]:
            caller = self._random.choice(holders)
            await caller.leave()
            self._callers.remove(caller)

    async def _cancel(self) -> None:
        if self._callers:
            caller = self._random.choice(self._callers)
            await caller.cancel()
            self._callers.remove(caller)

    async def _break(self) -> None:
        self._workers.fail(self._random.choice(NAMES), engine_fault("broken", "BROKEN"))

    async def _kill(self) -> None:
        if alive := sorted(self._workers.alive, key=lambda worker: worker.name):
            worker = self._random.choice(alive)
            self._workers.kill_worker(worker)
            self._dead.add(worker)

    async def _slow_down(self) -> None:
        name = self._random.choice(NAMES)
        hold = self._random.choice((self._workers.hold, self._workers.hold_stop))
        self._gates.append(hold(name))

    async def _speed_up(self) -> None:
        if self._gates:
            self._gates.pop(self._random.randrange(len(self._gates))).set()

    def _forget_who_is_gone(self) -> None:
        for caller in [caller for caller in self._callers if caller.task.done()]:
            error = caller.task.exception()
            assert isinstance(error, ServiceError)
            assert error.reason in EXPECTED_REASONS
            self._callers.remove(caller)

    def _check(self) -> None:
        workers = self._workers
        num_workers = len(workers.alive) + workers.starting.total()
        assert num_workers <= self._max_loaded_models
        leased = {caller.worker for caller in self._callers if caller.has_lease}
        self.num_leases = max(self.num_leases, len(leased))
        for worker in leased - self._dead:
            assert worker in workers.alive, "a leased model has been unloaded"
            assert not worker.is_stopping
        for path, status in self._pool.statuses().items():
            assert status.state in (State.LOADING, State.READY)
            holders = [c for c in self._callers if c.has_lease and c.worker is status.worker]
            assert status.num_requests >= len(holders)
            if status.state is State.READY:
                assert status.worker in workers.alive
                assert self._pool.failure(path) is None


@pytest.mark.parametrize("max_loaded_models", [1, 2, 4])
@pytest.mark.parametrize("seed", range(12))
async def test_what_must_hold_holds_in_any_crowd(
    run_pool: RunPool, resolver: StubResolver, max_loaded_models: int, seed: int
) -> None:
    for number, name in enumerate(NAMES):
        # The last one is not kept: it unloads itself in between.
        keep_alive = 0 if number == len(NAMES) - 1 else None
        resolver.add(name, settings=ModelSettings(keep_alive=keep_alive))
    async with run_pool(max_loaded_models=max_loaded_models) as (pool, workers):
        churn = Churn(pool, workers, max_loaded_models, seed)
        for _ in range(NUM_STEPS):
            await churn.step()
        await churn.end()
        assert churn.num_leases > 0
        assert all(status.num_requests == 0 for status in pool.statuses().values())
        workers.be_good()
        for name in NAMES:
            lease = await use(pool, name)
            assert lease.entry.path == path_of(name)
        assert (await refused(use(pool, "nobody"))).reason == "MODEL_NOT_FOUND"
