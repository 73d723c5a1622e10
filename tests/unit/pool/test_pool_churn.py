"""Many callers who come, leave, are cancelled and fail at random: what must hold holds at every moment."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable, Coroutine

import pytest
from pool_fakes import (
    CAUSE,
    NEVER_SECONDS,
    PATIENCE_SECONDS,
    Caller,
    FakeWorker,
    FakeWorkers,
    RunPool,
    StubResolver,
    path_of,
    size,
    use,
)
from waiting import refused

from llamawire_server.errors import ServiceError, engine_fault
from llamawire_server.pool.pool import Pool, State
from llamawire_server.pool.slot import Slot, Stage

NAMES = ("a", "b", "c", "d", "e")
SIZES = (3, 4, 5, 6, 8)
BUDGET_BYTES = 10
NUM_STEPS = 400
EXPECTED_REASONS = {
    "ALL_MODELS_BUSY",
    "BROKEN",
    "DEADLINE_EXCEEDED",
    "MEMORY_BUDGET_FULL",
    "MODEL_LOADING",
    "MODEL_NOT_FOUND",
    "MODEL_UNLOADED",
    "WORKER_CRASHED",
}


class Churn:
    """A crowd at a pool, and what must hold whatever it does."""

    def __init__(
        self,
        pool: Pool,
        workers: FakeWorkers,
        resolver: StubResolver,
        max_loaded_models: int | None,
        seed: int,
    ) -> None:
        self._pool = pool
        self._workers = workers
        self._resolver = resolver
        self._max_loaded_models = max_loaded_models
        self._random = random.Random(seed)
        self._callers: list[Caller] = []
        self._others: list[asyncio.Task[None]] = []
        """Who loads, unloads, or does not wait."""
        self._down: list[FakeWorker] = []
        self._excused: set[object] = set()
        """Workers that died, or that somebody wanted to be ended whoever uses them."""
        self._gates: list[asyncio.Event] = []
        self._line: tuple[Slot, ...] = ()
        self.num_leases = 0
        self.longest_line = 0

    async def step(self) -> None:
        """One thing happens."""
        actions = [self._come] * 8 + [self._leave] * 6 + [self._speed_up] * 3
        actions += [self._cancel, self._break, self._kill, self._die, self._come_back, self._slow_down]
        actions += [self._load, self._look_in, self._unload, self._change, self._leave_load]
        await self._random.choice(actions)()
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
            self._check_line()
        if self._random.random() < 0.1:
            await asyncio.sleep(0.001)  # timers get on
        self._forget_who_is_gone()
        self._check()

    async def end(self) -> None:
        """All who are left get what they wait for, and leave."""
        while self._gates:
            await self._speed_up()
        while self._down:
            await self._come_back()
        self._put_back_what_is_missing()
        while self._callers or self._others:
            if not any(caller.has_lease for caller in self._callers):
                heard = [asyncio.ensure_future(caller.heard_back()) for caller in self._callers]
                waits = {*heard, *self._others}
                done, left = await asyncio.wait(
                    waits, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                assert done, "nobody gets on"
                for wait in left & set(heard):
                    wait.cancel()
                await asyncio.gather(*heard, return_exceptions=True)
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
        if (worker := self._any_worker()) is not None:
            self._excused.add(worker)
            self._workers.kill_worker(worker)

    async def _die(self) -> None:
        if (worker := self._any_worker()) is not None and worker not in self._down:
            self._down.append(worker)
            worker.observer.note_death(CAUSE, 0.0)

    async def _come_back(self) -> None:
        if self._down:
            worker = self._down.pop(self._random.randrange(len(self._down)))
            if worker in self._workers.alive:
                worker.observer.note_ready()

    def _any_worker(self) -> FakeWorker | None:
        alive = sorted(self._workers.alive, key=lambda worker: (worker.name, worker.facts.memory_bytes))
        return self._random.choice(alive) if alive else None

    async def _slow_down(self) -> None:
        name = self._random.choice(NAMES)
        hold = self._random.choice((self._workers.hold, self._workers.hold_stop))
        self._gates.append(hold(name))

    async def _speed_up(self) -> None:
        if self._gates:
            self._gates.pop(self._random.randrange(len(self._gates))).set()

    async def _load(self) -> None:
        async def watch(name: str) -> None:
            async with contextlib.aclosing(self._pool.load(name)) as statuses:
                last = None
                async for status in statuses:
                    last = status.state
                assert last is State.READY

        self._do(watch(self._random.choice(NAMES)))

    async def _leave_load(self) -> None:
        if loads := [task for task in self._others if task.get_coro().__name__ == "watch"]:  # type: ignore[union-attr]
            task = self._random.choice(loads)
            task.cancel()
            await asyncio.wait({task})
            self._others.remove(task)

    async def _look_in(self) -> None:
        async def use_at_once(name: str) -> None:
            async with self._pool.lease(name, wait=False):
                pass

        self._do(use_at_once(self._random.choice(NAMES)))

    async def _unload(self) -> None:
        async def unload(name: str, cancel_running: bool) -> None:
            if cancel_running:
                self._excused.update(worker for worker in self._workers.alive if worker.name == name)
            await self._pool.unload(name, cancel_running=cancel_running)

        self._do(unload(self._random.choice(NAMES), self._random.random() < 0.3))

    async def _change(self) -> None:
        name = self._random.choice(NAMES)
        kind = self._random.randrange(4)
        known = {entry.name for entry in self._resolver.entries()}
        if kind == 0:
            self._resolver.remove(path_of(name))
        elif kind == 1:
            keep_alive = self._random.choice((None, 0.0, 0.001))
            self._resolver.add(name, settings=size(self._random.choice(SIZES), keep_alive=keep_alive))
        elif kind == 2 and name in known:
            self._resolver.touch(name)
        else:
            self._put_back_what_is_missing()
        self._pool.renew(self._resolver.entries())

    def _put_back_what_is_missing(self) -> None:
        known = {entry.name for entry in self._resolver.entries()}
        for name in set(NAMES) - known:
            self._resolver.add(name, settings=size(4))

    def _do(self, what: Coroutine[object, object, None]) -> None:
        self._others.append(asyncio.create_task(what))

    def _forget_who_is_gone(self) -> None:
        for caller in [caller for caller in self._callers if caller.task.done()]:
            self._check_error(caller.task)
            self._callers.remove(caller)
        for task in [task for task in self._others if task.done()]:
            self._check_error(task)
            self._others.remove(task)

    def _check_error(self, task: asyncio.Task[None]) -> None:
        error = task.exception()
        if error is not None:
            assert isinstance(error, ServiceError), repr(error)
            assert error.reason in EXPECTED_REASONS

    def _check_line(self) -> None:
        """Nobody is let in while somebody waits who came before."""
        line = self._pool._slots.room.line
        still_there = [slot for slot in self._line if slot in line]
        assert [slot for slot in line if slot in self._line] == still_there, "nobody changes places"
        has_waiting = False
        for slot in self._line:
            has_waiting = has_waiting or slot.stage is Stage.IN_LINE
            if slot.stage in (Stage.STARTING, Stage.READY):
                assert not has_waiting, "somebody was passed"
        self._line = tuple(line)
        self.longest_line = max(self.longest_line, len(line))

    def _check(self) -> None:
        self._check_line()
        workers = self._workers
        assert workers.used_bytes <= BUDGET_BYTES
        if self._max_loaded_models is not None:
            assert len(workers.alive) + workers.starting.total() <= self._max_loaded_models
        leased = {caller.worker for caller in self._callers if caller.has_lease}
        self.num_leases = max(self.num_leases, len(leased))
        for worker in leased - self._excused:
            assert worker in workers.alive, "a leased model has been unloaded"
            assert not worker.is_stopping
        for path, status in self._pool.statuses().items():
            assert status.state in (State.LOADING, State.READY, State.UNLOADING)
            holders = [c for c in self._callers if c.has_lease and c.worker is status.worker]
            assert status.num_requests >= len(holders)
            if status.state is State.READY:
                assert status.worker in workers.alive
                assert self._pool.failure(path) is None


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve names after a few turns of the event loop instead of in a thread: chance is to have a seed."""
    num_turns = itertools.cycle((1, 3, 2, 5))

    async def resolve(function: Callable[[str], object], name: str) -> object:
        for _ in range(next(num_turns)):
            await asyncio.sleep(0)
        return function(name)

    monkeypatch.setattr(asyncio, "to_thread", resolve)


@pytest.mark.usefixtures("no_threads")
@pytest.mark.parametrize("passing_seconds", [0.0, NEVER_SECONDS])
@pytest.mark.parametrize("max_loaded_models", [1, 3, None])
@pytest.mark.parametrize("seed", range(8))
async def test_what_must_hold_holds_in_any_crowd(
    run_pool: RunPool,
    resolver: StubResolver,
    max_loaded_models: int | None,
    passing_seconds: float,
    seed: int,
) -> None:
    for name, num_bytes in zip(NAMES, SIZES, strict=True):
        # The last one is not kept: it unloads itself in between.
        resolver.add(name, settings=size(num_bytes, keep_alive=0 if name == NAMES[-1] else None))
    async with run_pool(
        budget_bytes=BUDGET_BYTES,
        max_loaded_models=max_loaded_models,
        passing_seconds=passing_seconds,
        room_timeout_seconds=NEVER_SECONDS,
        abandoned_load_seconds=0.002,
        max_queued_requests=10_000,
    ) as (pool, workers):
        workers.has_successors = True
        churn = Churn(pool, workers, resolver, max_loaded_models, seed)
        for _ in range(NUM_STEPS):
            await churn.step()
        await churn.end()
        assert churn.num_leases > 0
        assert churn.longest_line > 0
        assert all(status.num_requests == 0 for status in pool.statuses().values())
        workers.be_good()
        pool.renew(resolver.entries())
        for name in NAMES:
            lease = await use(pool, name)
            assert lease.entry.path == path_of(name)
        assert (await refused(use(pool, "nobody"))).reason == "MODEL_NOT_FOUND"


async def test_everybody_gets_a_turn_where_every_model_is_in_constant_use(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    """Callers of three models, of which two fit, who ask again before they let go."""
    for name in NAMES[:3]:
        resolver.add(name, settings=size(5))
    async with run_pool(budget_bytes=BUDGET_BYTES, passing_seconds=0) as (pool, workers):
        workers.has_successors = True
        num_turns = dict.fromkeys(NAMES[:3], 0)

        async def use_for_ever(name: str) -> None:
            current = Caller(pool, name)
            while min(num_turns.values()) < 20:
                await current.leased()
                num_turns[name] += 1
                following = Caller(pool, name)
                await asyncio.sleep(0.001)
                await current.leave()
                current = following
            await current.leased()
            await current.leave()

        crowd = [use_for_ever(name) for name in NAMES[:3]]
        await asyncio.wait_for(asyncio.gather(*crowd), PATIENCE_SECONDS)
