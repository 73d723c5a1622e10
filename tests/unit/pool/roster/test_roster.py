"""The roster: what it lists, and what it tells the pool and the health board."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from roster_fakes import (
    NEVER_SECONDS,
    FakePool,
    FakeResolver,
    entry_of,
    read,
    said,
)
from waiting import until

from llamawire_server.config import ModelSettings
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.pool import State
from llamawire_server.pool.roster import ModelView, Roster


class TestWhatIsListed:
    async def test_models_by_name_as_they_stand(
        self, roster: Roster, resolver: FakeResolver, pool: FakePool
    ) -> None:
        a, b, c = resolver.found = [entry_of("a"), entry_of("b", "bb"), entry_of("c")]
        resolver.found.reverse()
        await roster.refresh()
        pool.put(b, State.LOADING, load_progress=0.25)
        pool.put(c, State.FAILED)
        assert [said(view) for view in roster.models()] == [
            ("a", None),
            ("b", State.LOADING),
            ("c", "no tensors"),
        ]
        view = roster.find(" BB")
        assert view is not None
        assert (view.entry, view.status and view.status.load_progress) == (b, 0.25)
        assert roster.find("bb:latest") is None
        assert roster.view(a) == ModelView(a, None, None)

    async def test_a_loaded_model_that_nothing_leads_to_any_more_until_it_has_gone(
        self, roster: Roster, resolver: FakeResolver, pool: FakePool
    ) -> None:
        (a,) = resolver.found = [entry_of("a", "x", "y")]
        await roster.refresh()
        pool.put(a, State.READY)
        resolver.found = []
        await roster.refresh()
        assert [said(view) for view in roster.models()] == [("a", State.READY)]
        resolver.found = [entry_of("a", path="other"), entry_of("b", "y")]
        await roster.refresh()
        assert [(said(view), view.entry.aliases) for view in roster.models()] == [
            (("a", None), ()),
            (("b", None), ("y",)),
            (("x", State.READY), ()),
        ]
        pool.put(a, State.UNLOADED)
        assert [view.entry.name for view in roster.models()] == ["a", "b"]

    async def test_no_two_of_them_by_the_same_name(
        self, roster: Roster, resolver: FakeResolver, pool: FakePool
    ) -> None:
        for path in ("x", "y"):
            pool.put(entry_of("a", path, path=path), State.READY)
        assert [(view.entry.name, view.entry.path.stem) for view in roster.models()] == [
            ("a", "x"),
            ("y", "y"),
        ]

    async def test_the_newest_entry_of_a_model_that_was_loaded_by_an_older_one(
        self, roster: Roster, resolver: FakeResolver, pool: FakePool
    ) -> None:
        (a,) = resolver.found = [entry_of("a")]
        await roster.refresh()
        pool.put(a, State.READY)
        resolver.found = [dataclasses.replace(a, problem="models.yaml, line 1: wrong")]
        await roster.refresh()
        (view,) = roster.models()
        assert view.entry.problem == "models.yaml, line 1: wrong"
        assert view.status is not None
        assert view.status.state is State.READY


class TestLooks:
    async def test_the_pool_is_told_of_changes_alone(
        self, roster: Roster, resolver: FakeResolver, pool: FakePool
    ) -> None:
        a = entry_of("a")
        b = entry_of("b")
        changes: list[list[ModelEntry]] = [
            [],
            [a],
            [a, b],
            [dataclasses.replace(a, settings=ModelSettings(parallel=2)), b],
            [dataclasses.replace(a, signature=((1, 2, 3, 4),)), b],
            [b],
        ]
        for resolver.found in changes:
            await roster.refresh()
            await roster.refresh()
        assert pool.renewals == changes

    async def test_all_who_ask_during_a_look_share_the_next_one(
        self, roster: Roster, resolver: FakeResolver
    ) -> None:
        resolver.gate.clear()
        first = asyncio.create_task(roster.refresh())
        await until(lambda: resolver.num_looks == 1)
        resolver.found = [entry_of("a")]
        late = [asyncio.create_task(roster.refresh()) for _ in range(20)]
        await asyncio.sleep(0)
        late.pop().cancel()
        resolver.gate.set()
        await first
        await asyncio.gather(*late)
        assert resolver.num_looks == 2
        assert roster.find("a") is not None, "who asks after a change sees it"

    async def test_a_caller_who_leaves_ends_no_look(self, roster: Roster, resolver: FakeResolver) -> None:
        resolver.gate.clear()
        resolver.found = [entry_of("a")]
        asking = asyncio.create_task(roster.refresh())
        await until(lambda: resolver.num_looks == 1)
        asking.cancel()
        resolver.gate.set()
        await until(lambda: roster.find("a"))
        assert asking.cancelled()

    async def test_files_are_looked_at_again_and_again_and_a_failure_ends_nothing(
        self, resolver: Any, pool: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        roster = Roster(resolver, pool, lambda name, is_ready: None, 0.001)
        await roster.start()
        try:
            resolver.failure = OSError("the disk is gone")
            await until(lambda: "the disk is gone" in caplog.text)
            resolver.found = [entry_of("a")]
            resolver.failure = None
            await until(lambda: roster.find("a"))
        finally:
            await roster.close()
        assert {record.levelno for record in caplog.records} == {logging.ERROR}
        num_looks = resolver.num_looks
        for _ in range(5):
            await asyncio.sleep(0.002)
        assert resolver.num_looks <= num_looks + 1, "one may have been under way"


class TestReadiness:
    async def test_every_name_is_told_when_it_changes_and_only_then(self, resolver: Any, pool: Any) -> None:
        told: list[tuple[str, bool | None]] = []
        roster = Roster(
            resolver,
            pool,
            lambda name, is_ready: told.append((name, is_ready)),
            NEVER_SECONDS,
            pause_seconds=0,
        )
        pool.on_change = roster.note

        def news() -> list[tuple[str, bool | None]]:
            news = sorted(told)
            told.clear()
            return news

        (a,) = resolver.found = [entry_of("a", "x")]
        await roster.refresh()
        assert news() == [("a", False), ("x", False)]
        for state in (State.LOADING, State.FAILED, State.LOADING):
            pool.put(a, state)
            assert news() == []
        pool.put(a, State.READY)
        assert news() == [("a", True), ("x", True)]
        pool.put(a, State.READY, num_requests=3)
        await roster.refresh()
        assert news() == []
        pool.put(a, State.LOADING, detail="its worker died")
        assert news() == [("a", False), ("x", False)]
        pool.put(a, State.READY)
        resolver.found = [dataclasses.replace(a, aliases=("y",)), entry_of("b")]
        told.clear()
        await roster.refresh()
        assert news() == [("b", False), ("x", None), ("y", True)]
        pool.put(a, State.UNLOADED)
        resolver.found = []
        told.clear()
        await roster.refresh()
        assert news() == [("a", None), ("b", None), ("y", None)]

    async def test_a_name_that_becomes_another_model_s_is_told_as_that_one_stands(
        self, roster: Roster, resolver: FakeResolver, pool: FakePool, readiness: dict[str, bool | None]
    ) -> None:
        (a,) = resolver.found = [entry_of("a")]
        await roster.refresh()
        pool.put(a, State.READY)
        resolver.found = [entry_of("a", path="other")]
        await roster.refresh()
        assert readiness == {"a": False}


class TestRealFiles:
    """With the resolver, and files that come, go and change."""

    @pytest.fixture
    async def roster(self, make_resolver: Any, pool: Any) -> AsyncIterator[Roster]:
        roster = Roster(make_resolver(), pool, lambda name, is_ready: None, NEVER_SECONDS, pause_seconds=0)
        pool.on_change = roster.note
        yield roster
        await roster.close()

    async def test_a_file_comes_and_goes(self, roster: Roster, write_model: Any) -> None:
        watch = roster.watch(["Some Name"])
        assert await read(watch) == ({}, ())
        path = write_model("models/a.gguf", name="Some Name")
        await roster.refresh()
        assert await read(watch) == ({"a": None}, ())
        path.unlink()
        await roster.refresh()
        assert await read(watch) == ({}, ("a",))
        await watch.aclose()

    async def test_a_name_that_becomes_ambiguous_and_is_not_any_more(
        self, roster: Roster, write_model: Any
    ) -> None:
        write_model("models/a.gguf", "qwen3")
        watch = roster.watch(["qwen3"])
        assert await read(watch) == ({"a": None}, ())
        other = write_model("models/b.gguf", "qwen3")
        await roster.refresh()
        assert await read(watch) == ({}, ("a",))
        other.unlink()
        await roster.refresh()
        assert await read(watch) == ({"a": None}, ())
        await watch.aclose()

    async def test_models_yaml_is_edited(
        self, roster: Roster, make_resolver: Any, write_model: Any, pool: FakePool
    ) -> None:
        write_model("a.gguf")
        make_resolver(yaml="a: a.gguf\n")
        watch = roster.watch()
        assert await read(watch) == ({"a": None}, ())
        make_resolver(yaml="b: {path: a.gguf, parallel: 2}\n")
        await roster.refresh()
        assert await read(watch) == ({"b": None}, ("a",))
        assert [entry.settings.parallel for entry in pool.renewals[-1]] == [2]
        make_resolver(yaml="b: {path: a.gguf, parallel: none}\n")
        await roster.refresh()
        (view,) = (await anext(watch)).models
        assert "line 1: model b: parallel must be" in view.entry.problem
        assert view.entry.settings.parallel == 2
        await watch.aclose()

    async def test_a_file_in_another_s_place_is_told_to_the_pool(
        self, roster: Roster, write_model: Any, tmp_path: Path, pool: FakePool
    ) -> None:
        path = write_model("models/a.gguf")
        await roster.refresh()
        times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
        os.utime(write_model("new"), ns=times)
        (tmp_path / "new").replace(path)
        await roster.refresh()
        ((before,), (after,)) = pool.renewals
        assert before.metadata == after.metadata
        assert before.signature != after.signature

    @pytest.mark.parametrize("yaml", [None, "a: models/a.gguf\n"], ids=["discovered", "given a name"])
    async def test_a_file_that_is_being_written_over_takes_no_loaded_model_away(
        self, roster: Roster, make_resolver: Any, write_model: Any, pool: FakePool, yaml: str | None
    ) -> None:
        make_resolver(yaml=yaml)
        path = write_model("models/a.gguf")
        whole = path.read_bytes()
        await roster.refresh()
        (before,) = pool.renewals[-1]
        pool.put(before, State.READY)
        for size_bytes in (0, 100, len(whole) - 1):
            path.write_bytes(whole[:size_bytes])
            await roster.refresh()
            (entry,) = pool.renewals[-1]
            assert (entry.name, entry.path, entry.metadata) == ("a", before.path, None)
            assert [said(view) for view in roster.models()] == [("a", State.READY)]
        assert len(pool.renewals) == 2
        path.write_bytes(whole)
        await roster.refresh()
        (after,) = pool.renewals[-1]
        assert after.metadata is not None
        assert after.signature != before.signature

    async def test_a_file_that_is_being_written_is_no_model_before_it_is_whole(
        self, roster: Roster, write_model: Any
    ) -> None:
        path = write_model("models/a.gguf")
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        await roster.refresh()
        assert roster.models() == []
        path.write_bytes(whole)
        await roster.refresh()
        assert [said(view) for view in roster.models()] == [("a", None)]
