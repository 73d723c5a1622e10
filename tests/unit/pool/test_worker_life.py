"""What the pool makes of workers that die, come back, and don't."""

from __future__ import annotations

import pytest
from pool_fakes import (
    CAUSE,
    Caller,
    FakeWorker,
    RunPool,
    StubResolver,
    path_of,
    use,
)
from waiting import refused, settle, until

from llamawire_server.config import ModelSettings
from llamawire_server.errors import Condition
from llamawire_server.pool.pool import Pool, State


async def restarting(pool: Pool, worker: object, pause_seconds: float = 0.0) -> FakeWorker:
    """A worker that has just died."""
    assert isinstance(worker, FakeWorker)
    worker.observer.note_death(CAUSE, pause_seconds)
    return worker


async def test_a_lease_holds_on_while_its_worker_is_started_again(run_pool: RunPool) -> None:
    async with run_pool("a", "b", max_loaded_models=1) as (pool, workers):
        caller = Caller(pool, "a")
        worker = await restarting(pool, (await caller.leased()).worker)
        status = pool.statuses()[path_of("a")]
        assert (status.state, status.load_progress, status.worker) == (State.LOADING, 0.0, worker)
        assert status.detail == f"its worker {CAUSE}; it is started again"
        assert status.failure == pool.failure(path_of("a")) == f"its worker {CAUSE}"
        waiting, other = Caller(pool, "a"), Caller(pool, "b")
        await until(lambda: pool.statuses()[path_of("a")].num_requests == 2 and len(pool.statuses()) == 2)
        worker.observer.note_progress(0.5)
        await settle()
        assert not waiting.has_lease
        assert workers.statuses[-1].load_progress == 0.5
        worker.observer.note_ready()
        lease = await waiting.leased()
        assert lease.worker is worker
        assert lease.waited_seconds > 0
        status = pool.statuses()[path_of("a")]
        assert (status.state, status.detail, status.failure) == (State.READY, "", "")
        assert pool.failure(path_of("a")) is None
        await waiting.leave()
        await settle()
        assert not other.has_lease, "the first lease was kept"
        await caller.leave()
        await other.leased()
        await other.leave()
        assert workers.num_starts["a"] == 1


async def test_a_pause_before_a_restart_is_told(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        worker = await restarting(pool, (await use(pool, "a")).worker, pause_seconds=0.5)
        worker.observer.note_death("could not be started", 1.0)
        details = [status.detail for status in workers.statuses[-2:]]
        assert details == [
            f"its worker {CAUSE}; it is started again in 0.5 s",
            "its worker could not be started; it is started again in 1 s",
        ]


async def test_who_does_not_wait_is_not_led_to_a_worker_that_is_started_again(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        worker = await restarting(pool, (await use(pool, "a")).worker)
        error = await refused(pool.lease("a", wait=False).__aenter__())
        assert (error.condition, error.reason) == (Condition.NOT_READY, "MODEL_LOADING")
        worker.observer.note_ready()
        async with pool.lease("a", wait=False) as lease:
            assert lease.worker is worker
        assert workers.num_starts["a"] == 1


async def test_who_waits_for_a_restart_has_a_deadline(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, _):
        await restarting(pool, (await use(pool, "a")).worker)
        error = await refused(Caller(pool, "a", timeout_seconds=0.02).leased())
        assert error.condition is Condition.DEADLINE


async def test_who_waits_for_a_worker_that_is_given_up_is_told(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        worker = await restarting(pool, (await use(pool, "a")).worker)
        waiting = Caller(pool, "a")
        await until(lambda: pool.statuses()[path_of("a")].num_requests)
        workers.kill_worker(worker)
        error = await refused(waiting.leased())
        assert (error.condition, error.reason) == (Condition.ENGINE, "WORKER_CRASHED")
        assert workers.changes[-1] == ("a", State.FAILED)
        assert workers.statuses[-1].failure == pool.failure(path_of("a")) == f"its worker {CAUSE}"
        assert workers.statuses[-1].detail == "", "it is not started again any more"
        assert (await use(pool, "a")).worker is not worker


async def test_a_worker_that_is_given_up_leaves_its_room(run_pool: RunPool) -> None:
    async with run_pool("a", "b", max_loaded_models=1) as (pool, workers):
        caller = Caller(pool, "a")
        await caller.leased()
        other = Caller(pool, "b")
        await until(lambda: path_of("b") in pool.statuses())
        workers.kill("a")
        await other.leased()
        await other.leave()
        await caller.leave()


async def test_a_death_that_comes_before_the_model_was_ready_is_a_restart(run_pool: RunPool) -> None:
    async with run_pool("a") as (pool, workers):
        workers.before_ready("a", lambda worker: worker.observer.note_death(CAUSE, 0.0))
        caller = Caller(pool, "a")
        await until(lambda: workers.alive)
        await settle()
        assert not caller.has_lease
        assert pool.statuses()[path_of("a")].state is State.LOADING
        workers.worker("a").observer.note_ready()
        await caller.leased()
        await caller.leave()
        assert ("a", State.FAILED) not in workers.changes


async def test_a_worker_that_is_back_before_the_model_was_ready_is_ready(run_pool: RunPool) -> None:
    def die_and_come_back(worker: FakeWorker) -> None:
        worker.observer.note_death(CAUSE, 0.0)
        worker.observer.note_ready()

    async with run_pool("a") as (pool, workers):
        workers.before_ready("a", die_and_come_back)
        await use(pool, "a")
        status = pool.statuses()[path_of("a")]
        assert (status.state, status.detail, status.failure) == (State.READY, "", "")


@pytest.mark.parametrize("news", ["death", "ready", "end", "progress"])
async def test_news_of_a_worker_that_is_being_ended_is_none(run_pool: RunPool, news: str) -> None:
    async with run_pool("a") as (pool, workers):
        worker = (await use(pool, "a")).worker
        assert isinstance(worker, FakeWorker)
        gate = workers.hold_stop("a")
        pool.renew([])
        await settle()
        num_changes = len(workers.changes)
        tell = {
            "death": lambda: worker.observer.note_death(CAUSE, 1.0),
            "ready": worker.observer.note_ready,
            "end": lambda: worker.observer.note_end(CAUSE),
            "progress": lambda: worker.observer.note_progress(0.5),
        }
        tell[news]()
        await settle()
        assert len(workers.changes) == num_changes
        gate.set()
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADED))
        assert pool.failure(path_of("a")) is None


async def test_a_draining_worker_may_die_and_come_back(run_pool: RunPool, resolver: StubResolver) -> None:
    async with run_pool("a") as (pool, workers):
        workers.has_successors = True
        caller = Caller(pool, "a")
        old = (await caller.leased()).worker
        resolver.touch("a")
        pool.renew(resolver.entries())
        fresh = (await use(pool, "a")).worker
        num_changes = len(workers.changes)
        await restarting(pool, old)
        assert pool.failure(path_of("a")) is None
        caller.worker.observer.note_ready()
        assert len(workers.changes) == num_changes
        await caller.leave()
        await until(lambda: workers.alive == {fresh})


async def test_a_draining_worker_may_be_given_up(run_pool: RunPool, resolver: StubResolver) -> None:
    async with run_pool("a") as (pool, workers):
        caller = Caller(pool, "a")
        await caller.leased()
        resolver.touch("a")
        pool.renew(resolver.entries())
        workers.kill("a")
        assert workers.changes[-1] == ("a", State.UNLOADED)
        assert pool.statuses() == {}
        await use(pool, "a")
        await caller.leave()


async def test_an_idle_model_is_not_kept_for_being_started_again(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    resolver.add("a", settings=ModelSettings(keep_alive=0.02))
    async with run_pool() as (pool, workers):
        await restarting(pool, (await use(pool, "a")).worker)
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADED))


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
