"""Models whose files, settings and names change while they are loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from pool_fakes import (
    Caller,
    RunPool,
    StubResolver,
    leave_all,
    path_of,
    size,
    use,
)
from waiting import refused, settle, until

from llamawire_server.config import ModelSettings, SamplingDefaults
from llamawire_server.models.model_files import FileSignature, Reading
from llamawire_server.pool.pool import State

MANY_SECONDS = 1000.0


@pytest.fixture(autouse=True)
def known(resolver: StubResolver) -> StubResolver:
    """One model of two names."""
    resolver.add("a", aliases=("b",))
    return resolver


def change_file(resolver: StubResolver) -> None:
    resolver.touch("a")


def change_settings(resolver: StubResolver) -> None:
    resolver.add("a", aliases=("b",), settings=ModelSettings(context_length=64))


def change_draft(resolver: StubResolver) -> None:
    entry = resolver.resolve("a")
    resolver.put(dataclasses.replace(entry, draft=Reading((FileSignature(7, 1, 1, 1),), entry.metadata)))


def change_template(resolver: StubResolver) -> None:
    entry = resolver.resolve("a")
    assert entry.metadata is not None
    resolver.put(
        dataclasses.replace(
            entry, metadata=dataclasses.replace(entry.metadata, chat_template="{{ messages }}")
        )
    )


@pytest.mark.parametrize("change", [change_file, change_settings, change_template, change_draft])
async def test_a_model_that_changed_is_loaded_anew_while_the_old_one_finishes(
    run_pool: RunPool, resolver: StubResolver, change: Callable[[StubResolver], None]
) -> None:
    async with run_pool() as (pool, workers):
        workers.has_successors = True
        caller = Caller(pool, "a")
        lease = await caller.leased()
        old = lease.worker
        change(resolver)
        pool.renew(resolver.entries())
        assert pool.statuses()[path_of("a")].state is State.UNLOADING
        fresh = await use(pool, "b")
        assert fresh.worker is not old
        assert fresh.entry == resolver.resolve("a")
        assert workers.alive == {old, fresh.worker}
        assert pool.statuses()[path_of("a")].state is State.READY
        await caller.leave()
        await until(lambda: workers.alive == {fresh.worker})
        assert pool.statuses()[path_of("a")].worker is fresh.worker
        pool.renew(resolver.entries())
        assert (await use(pool, "a")).worker is fresh.worker


async def test_what_did_not_change_stays(run_pool: RunPool, resolver: StubResolver) -> None:
    resolver.add("c")
    async with run_pool() as (pool, workers):
        for name in ("a", "c"):
            await use(pool, name)
        resolver.touch("a")
        for _ in range(2):
            pool.renew(resolver.entries())
        await until(lambda: workers.running == {"c"})
        await use(pool, "c")
        assert workers.num_starts["c"] == 1


async def test_an_idle_model_that_changed_is_unloaded(run_pool: RunPool, resolver: StubResolver) -> None:
    async with run_pool() as (pool, workers):
        await use(pool, "a")
        resolver.touch("a")
        pool.renew(resolver.entries())
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADED))
        assert pool.statuses() == {}


async def test_old_and_new_share_the_budget(run_pool: RunPool, resolver: StubResolver) -> None:
    resolver.add("a", settings=size(6))
    async with run_pool(budget_bytes=10) as (pool, workers):
        workers.has_successors = True
        caller = Caller(pool, "a")
        await caller.leased()
        resolver.touch("a")
        pool.renew(resolver.entries())
        following = Caller(pool, "a")
        await until(lambda: pool.statuses()[path_of("a")].state is State.LOADING)
        await settle()
        assert not following.has_lease
        assert pool.statuses()[path_of("a")].detail.endswith("'a' is in use")
        await caller.leave()
        await following.leased()
        await following.leave()


async def test_names_are_followed_without_a_load(run_pool: RunPool, resolver: StubResolver) -> None:
    async with run_pool() as (pool, workers):
        await use(pool, "a")
        resolver.add("a", aliases=("c",))
        pool.renew(resolver.entries())
        assert workers.statuses[-1].entry.aliases == ("c",)
        lease = await use(pool, "c")
        assert lease.entry.aliases == ("c",)
        assert (await refused(use(pool, "b"))).reason == "MODEL_NOT_FOUND"
        assert workers.num_starts["a"] == 1


async def test_a_name_that_leads_elsewhere_now_is_not_remembered(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    async with run_pool() as (pool, _):
        await use(pool, "a:tag")
        resolver.add("a:tag")
        assert (await use(pool, "a:tag")).entry.name == "a"
        pool.renew(resolver.entries())
        assert (await use(pool, "a:tag")).entry.name == "a:tag"
        assert (await use(pool, "a")).entry.name == "a"


async def test_two_models_may_swap_their_names(run_pool: RunPool, resolver: StubResolver) -> None:
    resolver.add("c")
    async with run_pool() as (pool, workers):
        one, other = await use(pool, "a"), await use(pool, "c")
        for path in (one.entry.path, other.entry.path):
            resolver.remove(path)
        resolver.put(dataclasses.replace(one.entry, name="c", aliases=()))
        resolver.put(dataclasses.replace(other.entry, name="a", aliases=()))
        pool.renew(resolver.entries())
        assert (await use(pool, "a")).worker is other.worker
        assert (await use(pool, "c")).worker is one.worker
        assert workers.num_starts.total() == 2


async def test_what_concerns_no_worker_needs_no_load(run_pool: RunPool, resolver: StubResolver) -> None:
    async with run_pool() as (pool, workers):
        lease = await use(pool, "a")
        stays = ModelSettings(keep_alive=MANY_SECONDS, preload=True, pinned=True)
        resolver.add("a", settings=stays)
        pool.renew(resolver.entries())
        assert (await use(pool, "a")).system_fingerprint == lease.system_fingerprint
        defaults = dataclasses.replace(stays, defaults=SamplingDefaults(temperature=0))
        resolver.add("a", settings=defaults)
        pool.renew(resolver.entries())
        renewed = await use(pool, "a")
        assert renewed.entry.settings.defaults.temperature == 0
        assert renewed.system_fingerprint != lease.system_fingerprint
        assert workers.num_starts["a"] == 1
        resolver.add("a", settings=ModelSettings(keep_alive=0))
        pool.renew(resolver.entries())
        await until(lambda: workers.running == set())


async def test_a_model_that_is_not_pinned_any_more_makes_room(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    resolver.add("a", settings=size(6, pinned=True))
    resolver.add("b", settings=size(3))
    async with run_pool(budget_bytes=10) as (pool, workers):
        await use(pool, "a")
        await use(pool, "b")
        resolver.add("c", settings=size(7))
        assert (await refused(use(pool, "c"))).reason == "MODEL_TOO_LARGE"
        resolver.add("a", settings=size(6))
        pool.renew(resolver.entries())
        await use(pool, "c")
        assert workers.running == {"b", "c"}


async def test_a_model_that_is_gone_finishes_and_goes(run_pool: RunPool, resolver: StubResolver) -> None:
    async with run_pool() as (pool, workers):
        caller = Caller(pool, "a")
        await caller.leased()
        resolver.remove(path_of("a"))
        pool.renew(resolver.entries())
        assert (await refused(use(pool, "a"))).reason == "MODEL_NOT_FOUND"
        assert workers.running == {"a"}
        await caller.leave()
        await until(lambda: workers.changes[-1] == ("a", State.UNLOADED))


async def test_a_file_that_can_not_be_read_just_now_ends_nothing(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    async with run_pool() as (pool, workers):
        lease = await use(pool, "a")
        unreadable = dataclasses.replace(
            lease.entry, aliases=("c",), settings=ModelSettings(threads=1), metadata=None
        )
        pool.renew([unreadable])
        kept = await use(pool, "c")
        assert kept.worker is lease.worker
        assert kept.entry == dataclasses.replace(lease.entry, aliases=("c",))
        pool.renew(resolver.entries())
        assert (await use(pool, "b")).worker is lease.worker
        assert workers.num_starts["a"] == 1


async def test_neither_does_a_draft_models_file(run_pool: RunPool, resolver: StubResolver) -> None:
    change_draft(resolver)
    async with run_pool() as (pool, workers):
        lease = await use(pool, "a")
        pool.renew([dataclasses.replace(lease.entry, draft=Reading((None,), None, "is not there"))])
        assert (await use(pool, "a")).worker is lease.worker
        assert workers.num_starts["a"] == 1


async def test_who_waits_for_a_load_gets_it_though_the_file_changes(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    async with run_pool() as (pool, workers):
        workers.has_successors = True
        gate = workers.hold("a")
        caller = Caller(pool, "a")
        await until(lambda: workers.num_starts["a"])
        resolver.touch("a")
        pool.renew(resolver.entries())
        following = Caller(pool, "a")
        await until(lambda: workers.num_starts["a"] == 2)
        gate.set()
        first, second = await caller.leased(), await following.leased()
        assert first.worker is not second.worker
        assert (first.entry.metadata, second.entry) != (second.entry.metadata, first.entry)
        await caller.leave()
        await until(lambda: workers.alive == {second.worker})
        await following.leave()


async def test_a_load_that_nobody_waits_for_ends_when_the_file_changes(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    async with run_pool() as (pool, workers):
        workers.hold("a")
        caller = Caller(pool, "a")
        await until(lambda: workers.num_starts["a"])
        await caller.cancel()
        resolver.touch("a")
        pool.renew(resolver.entries())
        await until(lambda: workers.num_cancelled == 1)


async def test_a_draining_load_ends_with_who_waits_for_it(run_pool: RunPool, resolver: StubResolver) -> None:
    async with run_pool() as (pool, workers):
        workers.hold("a")
        callers = [Caller(pool, "a") for _ in range(2)]
        await until(lambda: workers.num_starts["a"])
        resolver.touch("a")
        pool.renew(resolver.entries())
        await callers[0].cancel()
        assert workers.num_cancelled == 0
        await callers[1].cancel()
        await until(lambda: workers.num_cancelled == 1)


async def test_who_stands_in_line_waits_for_the_model_as_it_is_now(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    resolver.add("a", settings=size(6))
    resolver.add("c", settings=size(6))
    resolver.add("d", settings=size(6))
    async with run_pool(budget_bytes=10) as (pool, workers):
        holder = Caller(pool, "c")
        await holder.leased()
        caller, lost = Caller(pool, "a"), Caller(pool, "d")
        await until(lambda: len(pool.statuses()) == 3)
        resolver.add("a", settings=size(4))
        resolver.remove(path_of("d"))
        pool.renew(resolver.entries())
        assert (await refused(lost.leased())).reason == "MODEL_NOT_FOUND"
        lease = await caller.leased()
        assert lease.entry == resolver.resolve("a")
        assert workers.used_bytes == 10
        await leave_all([caller, holder])


async def test_who_stands_in_line_for_what_grew_too_large_is_told(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    resolver.add("a", settings=size(6))
    resolver.add("c", settings=size(6))
    async with run_pool(budget_bytes=10) as (pool, _):
        holder = Caller(pool, "c")
        await holder.leased()
        caller = Caller(pool, "a")
        await until(lambda: path_of("a") in pool.statuses())
        resolver.add("a", settings=size(11))
        pool.renew(resolver.entries())
        assert (await refused(caller.leased())).reason == "MODEL_TOO_LARGE"
        await holder.leave()


async def test_a_name_that_was_being_resolved_is_resolved_again(
    run_pool: RunPool, resolver: StubResolver
) -> None:
    async with run_pool() as (pool, _):
        pool.renew(resolver.entries())
        resolver.hold()
        caller = Caller(pool, "a")
        await until(lambda: resolver.asked)
        resolver.touch("a")
        pool.renew(resolver.entries())
        resolver.go_on()
        lease = await caller.leased()
        assert lease.entry == resolver.resolve("a")
        await caller.leave()
