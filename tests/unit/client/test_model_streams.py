"""Loads and watches: what they give, and what is left when they are closed or fail."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from llamawire import (
    AsyncClient,
    Client,
    ConnectionFailedError,
    DeadlineExceededError,
    InferenceError,
    RateLimitError,
    RequestCancelledError,
)
from llamawire.v1 import model_pb2

LOADING, READY = model_pb2.MODEL_STATE_LOADING, model_pb2.MODEL_STATE_READY
UNLOADED = model_pb2.MODEL_STATE_UNLOADED


@pytest.fixture
def client(server):
    with Client(server.target) as client:
        yield client


@pytest.fixture
async def aio_client(server):
    async with AsyncClient(server.target) as client:
        yield client


def model(state=LOADING, share=0.0, name="m") -> model_pb2.Model:
    return model_pb2.Model(name=name, state=state, load_progress=share)


def load_of(*models: model_pb2.Model) -> list[model_pb2.LoadModelResponse]:
    return [model_pb2.LoadModelResponse(model=model) for model in models]


def news(*models: model_pb2.Model, removed=()) -> model_pb2.WatchModelsResponse:
    return model_pb2.WatchModelsResponse(models=models, removed=removed)


WHOLE_LOAD = load_of(model(), model(share=0.5), model(READY))


async def seen(event) -> bool:
    return await asyncio.to_thread(event.wait, 5)


def test_a_load_tells_how_far_it_is(server, client):
    server.answers(*WHOLE_LOAD)

    with client.models.load("M", request_id="mine") as load:
        assert load.model == model_pb2.Model()
        assert [model.load_progress for model in load] == [0, 0.5, 0]

    assert load.model == model(READY)
    assert load.request_id == "mine"
    assert server.received[0].request == model_pb2.LoadModelRequest(name="M")


def test_a_load_gives_the_loaded_model(server, client):
    server.answers(*WHOLE_LOAD)

    assert client.models.load("m").result() == model(READY)


def test_a_load_is_tried_again_before_anything_came_of_it(server, client, error_info, retry_info):
    server.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, error_info("MEMORY_FULL"), retry_info(0))
    server.fails(grpc.StatusCode.UNAVAILABLE, begins=False)
    server.answers(*WHOLE_LOAD)

    assert client.models.load("m").result() == model(READY)
    assert len(server.received) == 3


def test_a_load_that_has_begun_is_not_tried_again(server, client, error_info, retry_info):
    server.fails(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        error_info("MEMORY_FULL"),
        retry_info(0),
        after=tuple(WHOLE_LOAD[:1]),
    )
    load = client.models.load("m")

    with pytest.raises(RateLimitError):
        load.result()

    assert load.model == model()
    assert len(server.received) == 1


def test_a_load_that_is_left_ends_the_call_and_never_looks_done(server, client):
    is_over = server.hangs(*WHOLE_LOAD[:2])
    load = client.models.load("m")

    for told in load:
        if told.load_progress:
            break

    assert is_over.wait(5)
    with pytest.raises(RequestCancelledError) as caught:
        load.result()
    assert caught.value.reason == "STREAM_CLOSED"


def test_a_load_ends_with_its_timeout(server, client):
    is_over = server.hangs()

    with pytest.raises(DeadlineExceededError):
        client.models.load("m", timeout_seconds=0.2).result()

    assert is_over.wait(5)


def test_unload(server, client):
    server.answers(model_pb2.UnloadModelResponse(model=model(UNLOADED)))
    server.answers(model_pb2.UnloadModelResponse(model=model(UNLOADED)))

    assert client.models.unload("m") == model(UNLOADED)
    assert client.models.unload("m", cancel_running=True, request_id="mine") == model(UNLOADED)
    assert [call.request for call in server.received] == [
        model_pb2.UnloadModelRequest(name="m"),
        model_pb2.UnloadModelRequest(name="m", cancel_running=True),
    ]
    assert server.received[1].metadata["x-request-id"] == "mine"


def test_a_watch_gives_news_and_keeps_what_they_add_up_to(server, client):
    a, b, c = (model(UNLOADED, name=name) for name in "abc")
    server.answers(news(a, b), news(model(READY, name="b")), news(c, removed=["a", "never told of"]))

    with client.models.watch("a", "b", "c") as watch:
        assert watch.models == {}
        first = next(watch)
        assert list(first.models) == [a, b]
        assert list(first.removed) == []
        assert watch.models == {"a": a, "b": b}
        rest = list(watch)

    assert [list(item.removed) for item in rest] == [[], ["a", "never told of"]]
    assert rest[-1].proto == news(c, removed=["a", "never told of"])
    assert watch.models == {"b": model(READY, name="b"), "c": c}
    assert server.received[0].request == model_pb2.WatchModelsRequest(names=["a", "b", "c"])


def test_a_model_that_is_removed_under_its_name_and_told_of_again_is_there(server, client):
    server.answers(news(model(name="a")), news(model(READY, name="a"), removed=["a"]))
    watch = client.models.watch()

    assert len(list(watch)) == 2

    assert watch.models == {"a": model(READY, name="a")}


def test_a_watch_that_is_left_ends_the_call(server, client):
    is_over = server.hangs(news(model()))

    with client.models.watch() as watch:
        next(watch)

    assert is_over.wait(5)


def test_a_watch_that_breaks_says_so(server, client):
    server.fails(grpc.StatusCode.UNAVAILABLE, after=(news(model()),))
    watch = client.models.watch()
    next(watch)

    for _ in range(2):
        with pytest.raises(ConnectionFailedError):
            next(watch)

    assert len(server.received) == 1
    assert watch.models == {"m": model()}


async def test_asyncio_load(server, aio_client):
    server.answers(*WHOLE_LOAD)
    server.answers(*WHOLE_LOAD)

    async with aio_client.models.load("m") as load:
        assert [model.load_progress async for model in load] == [0, 0.5, 0]
    assert load.model == await aio_client.models.load("m").result() == model(READY)


async def test_an_asyncio_load_that_is_left_ends_the_call(server, aio_client):
    is_over = server.hangs(*WHOLE_LOAD[:1])

    async with aio_client.models.load("m") as load:
        await anext(load)

    assert await seen(is_over)
    with pytest.raises(RequestCancelledError):
        await load.result()


async def test_cancelling_the_task_that_waits_for_a_load_ends_the_call(server, aio_client):
    is_over = server.hangs(*WHOLE_LOAD[:1])
    task = asyncio.create_task(aio_client.models.load("m").result())
    assert await seen(server.is_called)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert await seen(is_over)


async def test_asyncio_unload(server, aio_client):
    server.answers(model_pb2.UnloadModelResponse(model=model(UNLOADED)))

    assert await aio_client.models.unload("m", cancel_running=True) == model(UNLOADED)
    assert server.received[0].request == model_pb2.UnloadModelRequest(name="m", cancel_running=True)


async def test_asyncio_watch(server, aio_client, error_info):
    server.fails(
        grpc.StatusCode.INTERNAL,
        error_info("INFERENCE_ERROR"),
        after=(news(model(name="a")), news(model(name="b"), removed=["a"])),
    )
    watch = aio_client.models.watch("a", "b")

    assert [model.name for model in (await anext(watch)).models] == ["a"]
    assert list((await anext(watch)).removed) == ["a"]
    with pytest.raises(InferenceError):
        await anext(watch)

    assert watch.models == {"b": model(name="b")}
    assert server.received[0].request == model_pb2.WatchModelsRequest(names=["a", "b"])
