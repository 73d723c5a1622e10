"""The server's life with workers that need no model: what is loaded first, what is noticed, how it drains."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status.rpc_status import aio as rpc_status
from pool_fakes import PATIENCE_SECONDS, FakeWorkers
from waiting import settle, until

from llamawire.v1 import model_pb2, model_pb2_grpc
from llamawire_server import app
from llamawire_server.app import ModelServer, StartupError
from llamawire_server.config import ModelSources, ServerConfig
from llamawire_server.errors import engine_fault

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def write_model(path: Path) -> None:
    """A GGUF file that says what it is, and nothing else. It is there whole at once."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    header = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    path.with_suffix(".new").write_bytes(
        header + text("general.architecture") + struct.pack("<I", 8) + text("llama")
    )
    path.with_suffix(".new").replace(path)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> FakeWorkers:
    workers = FakeWorkers()

    class FakeSupervisor:
        @staticmethod
        async def start(*launch: Any, policy: object, load_timeout_seconds: float) -> Any:
            return await workers.start(*launch)

    monkeypatch.setattr(app, "Supervisor", FakeSupervisor)
    return workers


class Running:
    """A server and those who ask it."""

    def __init__(self, server: ModelServer) -> None:
        self.server = server
        self.start_up = asyncio.create_task(server.start_up())
        self._channel: grpc.aio.Channel | None = None

    @property
    def channel(self) -> grpc.aio.Channel:
        assert self._channel is not None
        return self._channel

    async def ready(self) -> None:
        line = await asyncio.wait_for(self.start_up, PATIENCE_SECONDS)
        self._channel = grpc.aio.insecure_channel(line.rpartition("grpc=")[2])

    def watch_health(self, name: str) -> Any:
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        return stub.Watch(health_pb2.HealthCheckRequest(service=name))

    def watch_models(self, *names: str) -> Any:
        stub: Any = model_pb2_grpc.ModelServiceStub(self.channel)
        return stub.WatchModels(model_pb2.WatchModelsRequest(names=names))

    async def unload(self, name: str) -> None:
        stub: Any = model_pb2_grpc.ModelServiceStub(self.channel)
        await stub.UnloadModel(model_pb2.UnloadModelRequest(name=name))

    async def end(self) -> None:
        if self._channel is not None:
            await self._channel.close()
        self.start_up.cancel()
        await asyncio.wait({self.start_up})
        await self.server.shut_down()


@pytest.fixture
async def run(tmp_path: Path, workers: FakeWorkers) -> AsyncIterator[Callable[..., Running]]:
    """Starts a server with the models a, b and c in its folder."""
    (tmp_path / "models").mkdir()
    for name in "abc":
        write_model(tmp_path / "models" / f"{name}.gguf")
    running: list[Running] = []

    def start(preload: tuple[str, ...] = (), yaml: str = "") -> Running:
        (tmp_path / "models.yaml").write_text(yaml)
        sources = ModelSources(tmp_path / "models.yaml", tmp_path / "models", poll_seconds=0.01)
        config = ServerConfig("127.0.0.1:0", None, sources=sources, preload=preload)
        running.append(Running(ModelServer(config)))
        return running[-1]

    yield start
    workers.be_good()
    for server in running:
        await server.end()


async def next_of(stream: Any) -> Any:
    return await asyncio.wait_for(stream.read(), PATIENCE_SECONDS)


class TestPreloading:
    async def test_all_load_at_once_and_the_server_is_ready_after_them(
        self, run: Callable[..., Running], workers: FakeWorkers
    ) -> None:
        gates = [workers.hold(name) for name in "ab"]
        running = run(preload=("a",), yaml="beta: {path: models/b.gguf, preload: true}\nc: models/c.gguf\n")
        await until(lambda: workers.starting == {"a": 1, "b": 1})
        gates[0].set()
        await until(lambda: workers.running == {"a"})
        await settle()
        assert not running.start_up.done()
        gates[1].set()
        await running.ready()
        assert workers.num_starts == {"a": 1, "b": 1}

    async def test_one_that_fails_ends_the_start_and_the_other_loads(
        self, run: Callable[..., Running], workers: FakeWorkers
    ) -> None:
        workers.hold("a")
        workers.fail("b", engine_fault("no tensors", "MODEL_LOAD_FAILED"))
        running = run(preload=("a", "b"))
        with pytest.raises(StartupError, match="model 'b' can't be preloaded: no tensors"):
            await asyncio.wait_for(running.start_up, PATIENCE_SECONDS)
        await running.server.shut_down()
        assert (workers.num_cancelled, workers.alive) == (1, set())


class TestWhatIsNoticed:
    async def test_a_file_that_comes_is_known_to_health_and_goes_with_it(
        self, run: Callable[..., Running], tmp_path: Path
    ) -> None:
        running = run()
        await running.ready()
        health = running.watch_health("model/new")
        assert (await next_of(health)).status == UNKNOWN
        write_model(tmp_path / "models" / "new.gguf")
        assert (await next_of(health)).status == NOT_SERVING
        (tmp_path / "models" / "new.gguf").unlink()
        assert (await next_of(health)).status == UNKNOWN
        health.cancel()

    async def test_a_file_in_another_s_place_is_loaded_for_whoever_comes_then(
        self, run: Callable[..., Running], workers: FakeWorkers, tmp_path: Path
    ) -> None:
        running = run(preload=("a",))
        await running.ready()
        models = running.watch_models("a")
        (model,) = (await next_of(models)).models
        assert model.state == model_pb2.MODEL_STATE_READY
        write_model(tmp_path / "models" / "a.gguf")
        while model.state != model_pb2.MODEL_STATE_UNLOADED:
            (model,) = (await next_of(models)).models
        assert workers.alive == set()
        models.cancel()

    async def test_a_model_that_is_unloaded_is_not_serving(self, run: Callable[..., Running]) -> None:
        running = run(preload=("a",))
        await running.ready()
        health = running.watch_health("model/a")
        assert (await next_of(health)).status == SERVING
        await running.unload("a")
        assert (await next_of(health)).status == NOT_SERVING
        health.cancel()


class TestDraining:
    async def test_health_says_so_and_watches_end(
        self, run: Callable[..., Running], workers: FakeWorkers
    ) -> None:
        running = run(preload=("a",))
        await running.ready()
        health = [running.watch_health(name) for name in ("", "llamawire.v1.ChatService", "model/a")]
        assert [(await next_of(watch)).status for watch in health] == [SERVING] * 3
        watches = [running.watch_models(), running.watch_models("a", "nobody")]
        for watch in watches:
            await next_of(watch)

        await asyncio.wait_for(running.server.drain(), PATIENCE_SECONDS)

        assert [(await next_of(watch)).status for watch in health] == [NOT_SERVING] * 3
        for watch in (*watches, running.watch_models()):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await next_of(watch)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            status = await rpc_status.from_call(watch)
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            assert any(detail.Unpack(info) for detail in status.details)
            assert any(detail.Unpack(retry) for detail in status.details)
            assert info.reason == "DRAINING"
        await running.server.shut_down()
        assert workers.alive == set()
        assert [await next_of(watch) for watch in health] == [grpc.aio.EOF] * 3
