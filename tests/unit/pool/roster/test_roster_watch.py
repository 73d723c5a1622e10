"""What those who watch the roster get to see, however slow they are."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from roster_fakes import (
    NEVER_SECONDS,
    PATIENCE_SECONDS,
    FakePool,
    FakeResolver,
    entry_of,
    has_nothing_to_say,
    read,
    said,
)
from waiting import until

from llamawire_server.errors import Condition, ServiceError
from llamawire_server.models.names import forms
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.pool import State
from llamawire_server.pool.roster import ModelView, News, Roster


class TestWatch:
    async def test_first_all_models_and_then_each_change(
        self, roster: Roster, resolver: FakeResolver, pool: FakePool
    ) -> None:
        a, b = resolver.found = [entry_of("a"), entry_of("b")]
        watch = roster.watch()
        assert await read(watch) == ({"a": None, "b": None}, ())
        for state in (State.LOADING, State.READY, State.UNLOADING):
            pool.put(b, state)
            assert await read(watch) == ({"b": state}, ())
        pool.put(b, State.UNLOADED)
        assert await read(watch) == ({"b": None}, ())
        pool.put(a, State.FAILED)
        assert await read(watch) == ({"a": "no tensors"}, ())
        resolver.found = [a, entry_of("c")]
        await roster.refresh()
        assert await read(watch) == ({"c": None}, ("b",))
        await roster.refresh()
        assert await has_nothing_to_say(watch)

    async def test_progress_is_told_less_often_than_everything_else(
        self, resolver: FakeResolver, pool: Any
    ) -> None:
        a, b = resolver.found = [entry_of("a"), entry_of("b")]
        roster = Roster(
            resolver, pool, lambda name, is_ready: None, NEVER_SECONDS, pause_seconds=NEVER_SECONDS
        )  # type: ignore[arg-type]
        pool.on_change = roster.note
        watch = roster.watch()
        await read(watch)
        pool.put(a, State.LOADING)
        assert await read(watch) == ({"a": State.LOADING}, ())
        reading = asyncio.ensure_future(read(watch))
        for share in (0.25, 0.5):
            pool.put(a, State.LOADING, load_progress=share)
            for _ in range(50):
                await asyncio.sleep(0)
            assert not reading.done()
        pool.put(b, State.FAILED)
        assert await reading == ({"a": State.LOADING, "b": "no tensors"}, ())
        pool.put(a, State.READY)
        assert await read(watch) == ({"a": State.READY}, ())
        await roster.close()

    async def test_the_first_news_comes_even_where_there_is_nothing(self, roster: Roster) -> None:
        watch = roster.watch()
        assert await read(watch) == ({}, ())
        assert await has_nothing_to_say(watch)

    async def test_progress_is_told(self, roster: Roster, resolver: FakeResolver, pool: FakePool) -> None:
        (a,) = resolver.found = [entry_of("a")]
        watch = roster.watch()
        await read(watch)
        for share in (0.25, 0.5):
            pool.put(a, State.LOADING, load_progress=share)
            (view,) = (await anext(watch)).models
            assert view.status is not None
            assert view.status.load_progress == share
        await watch.aclose()

    async def test_a_model_with_another_name_is_told_anew_and_its_old_name_removed(
        self, roster: Roster, resolver: FakeResolver
    ) -> None:
        resolver.found = [entry_of("a", path="x"), entry_of("b", path="y")]
        watch = roster.watch()
        await read(watch)
        resolver.found = [entry_of("c", path="x"), entry_of("b", path="y")]
        await roster.refresh()
        assert await read(watch) == ({"c": None}, ("a",))
        resolver.found = [entry_of("b", path="x"), entry_of("c", path="y")]
        await roster.refresh()
        assert await read(watch) == ({"b": None, "c": None}, ()), "no name is removed that one has"
        await watch.aclose()

    async def test_a_slow_watcher_gets_the_latest_of_each_model(
        self, roster: Roster, resolver: FakeResolver, pool: FakePool
    ) -> None:
        a, b = resolver.found = [entry_of("a"), entry_of("b")]
        watch = roster.watch()
        await read(watch)
        (watcher,) = roster._watchers
        for number in range(1000):
            pool.put(a, State.LOADING, load_progress=number / 1000)
            resolver.found = [a, b, entry_of(f"passing {number}")]
            await roster.refresh()
            assert len(watcher.dirty) <= 3, "what came and went takes no room"
        pool.put(a, State.READY, num_requests=7)
        resolver.found = [a]
        await roster.refresh()
        news = await anext(watch)
        ((view,), removed) = (news.models, news.removed)
        assert (said(view), view.status and view.status.num_requests) == (("a", State.READY), 7)
        assert removed == ("b",)
        assert await has_nothing_to_say(watch)

    async def test_many_watchers_see_the_same(
        self, roster: Roster, resolver: FakeResolver, pool: FakePool
    ) -> None:
        (a,) = resolver.found = [entry_of("a")]
        watches = [roster.watch() for _ in range(100)]
        assert await asyncio.gather(*map(read, watches)) == [({"a": None}, ())] * 100
        reading = asyncio.gather(*map(read, watches))
        await asyncio.sleep(0)
        pool.put(a, State.READY)
        assert await reading == [({"a": State.READY}, ())] * 100
        for watch in watches[1:]:
            await watch.aclose()
        assert len(roster._watchers) == 1
        await watches[0].aclose()
        assert roster._watchers == set()

    async def test_a_watcher_who_is_cancelled_is_forgotten(self, roster: Roster) -> None:
        watch = roster.watch()
        await read(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert roster._watchers == set()

    async def test_closing_ends_every_watch_and_admits_no_other(
        self, roster: Roster, resolver: FakeResolver
    ) -> None:
        resolver.found = [entry_of("a")]
        watches = [roster.watch(), roster.watch(["b"])]
        for watch in watches:
            await read(watch)
        waiting = asyncio.gather(*map(anext, watches), return_exceptions=True)
        await asyncio.sleep(0)
        await roster.close()
        late = await asyncio.gather(anext(roster.watch()), return_exceptions=True)
        for error in (*await waiting, *late):
            assert isinstance(error, ServiceError)
            assert (error.condition, error.reason) == (Condition.NOT_READY, "DRAINING")
            assert error.retry_after_seconds is not None
        await roster.refresh()
        assert roster.find("a") is not None, "what is listed can still be looked at"


class TestWatchByName:
    @pytest.mark.parametrize("name", ["b", " B\n", "bb", "b:latest"])
    async def test_only_what_the_name_means(
        self, roster: Roster, resolver: FakeResolver, pool: FakePool, name: str
    ) -> None:
        a, b = resolver.found = [entry_of("a"), entry_of("b", "bb")]
        watch = roster.watch([name])
        assert await read(watch) == ({"b": None}, ())
        pool.put(a, State.READY)
        pool.put(b, State.READY)
        assert await read(watch) == ({"b": State.READY}, ())
        pool.put(a, State.UNLOADED)
        assert await has_nothing_to_say(watch)

    async def test_a_name_that_appears_goes_and_comes_back(
        self, roster: Roster, resolver: FakeResolver, pool: FakePool
    ) -> None:
        watch = roster.watch(["a", "b"])
        assert await read(watch) == ({}, ())
        for _ in range(2):
            resolver.found = [entry_of("a"), entry_of("c")]
            await roster.refresh()
            assert await read(watch) == ({"a": None}, ())
            resolver.found = [entry_of("c")]
            await roster.refresh()
            assert await read(watch) == ({}, ("a",))
        await watch.aclose()

    async def test_a_name_that_leads_to_another_model_now(
        self, roster: Roster, resolver: FakeResolver
    ) -> None:
        a, b = resolver.found = [entry_of("a", "x"), entry_of("b")]
        watch = roster.watch(["x"])
        assert await read(watch) == ({"a": None}, ())
        resolver.found = [dataclasses.replace(a, aliases=()), dataclasses.replace(b, aliases=("x",))]
        await roster.refresh()
        assert await read(watch) == ({"b": None}, ("a",))
        await watch.aclose()

    async def test_a_change_while_it_is_asked_where_the_name_leads(
        self, roster: Roster, resolver: FakeResolver
    ) -> None:
        a, b = entry_of("a", "x"), entry_of("b")
        resolver.found = [a, b]
        await roster.refresh()
        resolver.resolve_gate.clear()
        watch = roster.watch(["x"])
        first = asyncio.ensure_future(read(watch))
        await until(lambda: resolver.num_resolving == 1)
        resolver.found = [dataclasses.replace(a, aliases=()), dataclasses.replace(b, aliases=("x",))]
        await roster.refresh()
        resolver.resolve_gate.set()
        assert await first == ({"b": None}, ())
        await watch.aclose()

    async def test_a_loaded_model_whose_file_is_gone(
        self, roster: Roster, resolver: FakeResolver, pool: FakePool
    ) -> None:
        (a,) = resolver.found = [entry_of("a")]
        await roster.refresh()
        pool.put(a, State.READY)
        resolver.found = []
        await roster.refresh()
        watch = roster.watch(["a:latest"])
        assert await read(watch) == ({"a": State.READY}, ())
        pool.put(a, State.UNLOADED)
        assert await read(watch) == ({}, ("a",))
        await watch.aclose()


# What may happen: models (by file) are named, in any way; one stands otherwise in the pool; watchers read.
NAMES = ("a", "b", "c")
LISTINGS = st.dictionaries(
    st.integers(0, 3), st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True), max_size=4
)
HAPPENINGS = st.one_of(
    st.tuples(st.just("files"), LISTINGS),
    st.tuples(st.just("pool"), st.tuples(st.integers(0, 3), st.sampled_from(list(State)))),
    st.tuples(st.just("read"), st.integers(0, 2)),
)


def entries_of(listing: dict[int, list[str]]) -> list[ModelEntry]:
    """Entries in which each name is that of the first file that has it only."""
    taken: set[str] = set()
    entries = []
    for file, wanted in listing.items():
        names = [name for name in wanted if name not in taken]
        taken.update(names)
        if names:
            entries.append(entry_of(names[0], *names[1:], path=str(file)))
    return entries


@settings(max_examples=150)
@given(happenings=st.lists(HAPPENINGS, max_size=25))
def test_what_a_watcher_was_told_comes_to_what_is_listed(happenings: list[tuple[str, Any]]) -> None:
    async def live() -> None:
        resolver: Any = FakeResolver()
        pool: Any = FakePool()
        told: dict[str, bool | None] = {}
        roster = Roster(resolver, pool, told.__setitem__, NEVER_SECONDS, pause_seconds=0)
        pool.on_change = roster.note
        watched: list[list[str]] = [[], ["a"], ["b", "c:tag"]]
        watches = [roster.watch(names) for names in watched]
        pending: list[asyncio.Task[News] | None] = [None] * len(watches)
        known: list[dict[str, ModelView]] = [{} for _ in watches]

        async def take(index: int) -> bool:
            """What is to be read at this moment, if anything."""
            task = pending[index] or asyncio.ensure_future(anext(watches[index]))
            pending[index] = task
            for _ in range(3):
                # A watcher may have to ask where its names lead, in a thread.
                await asyncio.wait({task}, timeout=0.002 if watched[index] else 0)
            if not task.done():
                return False
            pending[index] = None
            news = task.result()
            assert not {view.entry.name for view in news.models} & set(news.removed)
            for name in news.removed:
                del known[index][name]
            known[index].update((view.entry.name, view) for view in news.models)
            return True

        for kind, detail in happenings:
            if kind == "files":
                resolver.found = entries_of(detail)
                await roster.refresh()
            elif kind == "pool":
                file, state = detail
                entries = {entry.path.stem: entry for entry in resolver.found}
                pool.put(entries.get(str(file), entry_of(f"old {file}", path=str(file))), state)
            else:
                await take(detail)

        listed = {view.entry.name: view for view in roster.models()}
        assert told == {
            **dict.fromkeys(told),
            **{
                name: view.status is not None and view.status.state is State.READY
                for view in listed.values()
                for name in view.names
            },
        }
        for index, names in enumerate(watched):
            wanted = {form for name in names for form in forms(name)}
            expected = {name: view for name, view in listed.items() if not names or wanted & set(view.names)}
            end = time.monotonic() + PATIENCE_SECONDS
            while known[index] != expected:
                assert time.monotonic() < end, (names, known[index], expected)
                await take(index)
        await roster.close()
        for task in pending:
            if task is not None:
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(live())
