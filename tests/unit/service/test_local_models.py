"""The service on a pool and a roster: models that are loaded, unloaded, listed and watched."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from service_fakes import CALL, FakePool, FakeResolver, read_all, roster_of
from waiting import refused

from llamawire.v1 import model_pb2
from llamawire_server.errors import Condition
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.pool import ModelStatus, State
from llamawire_server.pool.roster import Roster
from llamawire_server.service.interface import Call
from llamawire_server.service.local import LocalService


async def test_a_load_is_told_until_the_model_is_there(
    service: LocalService, pool: FakePool, entry: ModelEntry, worker: Any
) -> None:
    pool.load_steps = [
        ModelStatus(entry, State.LOADING, detail="waits for 1 GB"),
        ModelStatus(entry, State.LOADING, load_progress=0.5),
        ModelStatus(entry, State.READY, load_progress=1.0, worker=worker),
    ]
    request = model_pb2.LoadModelRequest(name="B")
    told = [
        response.model
        for response in await read_all(service.load_model(request, Call("req_1", timeout_seconds=50)))
    ]
    assert [model.state for model in told] == [
        model_pb2.MODEL_STATE_LOADING,
        model_pb2.MODEL_STATE_LOADING,
        model_pb2.MODEL_STATE_READY,
    ]
    assert (told[0].detail, told[1].load_progress) == ("waits for 1 GB", 0.5)
    assert told[2].facts.context_length == worker.facts.context_length
    assert (pool.names, pool.timeouts) == (["B"], [50])


async def test_leaving_a_load_tells_the_pool_that_nobody_waits(
    service: LocalService, pool: FakePool, entry: ModelEntry
) -> None:
    pool.load_steps = [ModelStatus(entry, State.LOADING), ModelStatus(entry, State.LOADING)]
    responses = service.load_model(model_pb2.LoadModelRequest(name="a"), CALL)
    await anext(responses)
    assert not await service.drain(0), "a load is a call in flight"
    await responses.aclose()
    assert pool.num_loads_left == 1
    assert await service.drain(0)


@pytest.mark.parametrize("cancel", [False, True])
async def test_an_unload_gives_the_model_as_it_stands_then(
    service: LocalService, pool: FakePool, entry: ModelEntry, cancel: bool
) -> None:
    pool.loaded = [ModelStatus(entry, State.READY)]
    request = model_pb2.UnloadModelRequest(name="B", cancel_running=cancel)
    model = (await service.unload_model(request, Call("req_1", timeout_seconds=50))).model
    assert (model.name, model.state) == ("a", model_pb2.MODEL_STATE_UNLOADED)
    assert pool.unloads == [("B", cancel, 50)]


async def test_no_model_is_loaded_or_unloaded_while_draining(service: LocalService, pool: FakePool) -> None:
    await service.drain(0)
    attempts = [
        read_all(service.load_model(model_pb2.LoadModelRequest(name="a"), CALL)),
        service.unload_model(model_pb2.UnloadModelRequest(name="a"), CALL),
    ]
    for attempt in attempts:
        assert (await refused(attempt)).reason == "DRAINING"
    assert (pool.names, pool.unloads) == ([], [])


async def test_models_are_told_as_they_stand(
    service: LocalService, pool: FakePool, entry: ModelEntry
) -> None:
    request = model_pb2.GetModelRequest(name=" B ")
    assert (await service.get_model(request, CALL)).model.state == model_pb2.MODEL_STATE_UNLOADED
    pool.failures[entry.path] = "no tensors"
    assert (await service.get_model(request, CALL)).model.failure == "no tensors"
    pool.loaded = [ModelStatus(entry, State.LOADING, load_progress=0.25)]
    assert (await service.get_model(request, CALL)).model.load_progress == 0.25
    (listed,) = (await service.list_models(model_pb2.ListModelsRequest(), CALL)).models
    assert (listed.name, listed.state) == ("a", model_pb2.MODEL_STATE_LOADING)
    error = await refused(service.get_model(model_pb2.GetModelRequest(name="nobody"), CALL))
    assert error.condition is Condition.UNKNOWN_MODEL


async def test_a_loaded_model_is_listed_though_its_file_is_gone(pool: Any, entry: ModelEntry) -> None:
    resolver: Any = FakeResolver()
    service = LocalService(resolver, pool, roster_of(resolver, pool))
    pool.loaded = [ModelStatus(entry, State.READY)]
    (listed,) = (await service.list_models(model_pb2.ListModelsRequest(), CALL)).models
    assert (listed.name, listed.state) == ("a", model_pb2.MODEL_STATE_READY)
    assert (await service.get_model(model_pb2.GetModelRequest(name="c"), CALL)).model.name == "a"


async def test_what_is_wrong_in_models_yaml_is_told_with_the_model(
    service: LocalService, resolver: FakeResolver, pool: FakePool, entry: ModelEntry
) -> None:
    pool.loaded = [ModelStatus(entry, State.READY)]
    resolver._entries = (dataclasses.replace(entry, problem="models.yaml, line 3: no"),)
    (listed,) = (await service.list_models(model_pb2.ListModelsRequest(), CALL)).models
    found = (await service.get_model(model_pb2.GetModelRequest(name="a"), CALL)).model
    assert listed.problem == found.problem == "models.yaml, line 3: no"
    assert found.state == model_pb2.MODEL_STATE_READY


class TestWatching:
    async def test_models_are_told_and_then_what_becomes_of_them(
        self, service: LocalService, resolver: FakeResolver, pool: FakePool, roster: Roster, entry: ModelEntry
    ) -> None:
        watch = service.watch_models(model_pb2.WatchModelsRequest(names=["B"]), CALL)
        first = await anext(watch)
        assert [(model.name, model.state) for model in first.models] == [
            ("a", model_pb2.MODEL_STATE_UNLOADED)
        ]
        pool.loaded = [ModelStatus(entry, State.LOADING, load_progress=0.5, detail="waits for room")]
        roster.note(pool.loaded[0])
        ((model,), removed) = ((news := await anext(watch)).models, news.removed)
        assert (model.load_progress, model.detail, list(removed)) == (0.5, "waits for room", [])
        pool.loaded, pool.failures[entry.path] = [], "no tensors"
        roster.note(ModelStatus(entry, State.FAILED))
        (model,) = (await anext(watch)).models
        assert (model.state, model.failure) == (model_pb2.MODEL_STATE_FAILED, "no tensors")
        resolver._entries = ()
        await roster.refresh()
        assert list((await anext(watch)).removed) == ["a"]
        await watch.aclose()
        assert not roster._watchers

    async def test_a_watch_holds_up_no_drain_and_ends_with_the_roster(
        self, service: LocalService, roster: Roster
    ) -> None:
        watch = service.watch_models(model_pb2.WatchModelsRequest(), CALL)
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        assert await service.drain(30)
        await roster.close()
        late = anext(service.watch_models(model_pb2.WatchModelsRequest(), CALL))
        for error in (await refused(waiting), await refused(late)):
            assert (error.condition, error.reason) == (Condition.NOT_READY, "DRAINING")
            assert error.retry_after_seconds is not None
