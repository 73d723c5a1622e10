"""Models that take turns in the memory that there is, and what those are told who have to wait for theirs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest
from callers import chat_body, http_client, wait_until
from servers import (
    RunningServer,
    StartServer,
    ask,
    endless,
    failure_of,
    frozen,
    launch,
    reason_of,
    retry_seconds_of,
)

from llamawire.v1 import chat_pb2, model_pb2
from llamawire_server.config import ModelSettings
from llamawire_server.gguf.metadata import read_gguf
from llamawire_server.pool.memory import estimate_memory

UNLOADED = model_pb2.MODEL_STATE_UNLOADED
LOADING = model_pb2.MODEL_STATE_LOADING
READY = model_pb2.MODEL_STATE_READY

SETTINGS = ModelSettings(context_length=512, parallel=2)
FIELDS = "threads: 1, context_length: 512, parallel: 2"


@pytest.fixture(scope="module")
def budget_bytes(model_file: Path, other_model_file: Path) -> int:
    """Enough for either of the two models, and not for both."""
    needs = [estimate_memory(read_gguf(path), SETTINGS) for path in (model_file, other_model_file)]
    budget = int(1.3 * max(needs))
    assert budget < 0.9 * sum(needs)
    return budget


@pytest.fixture(scope="module")
def tight(
    tmp_path_factory: pytest.TempPathFactory, model_file: Path, other_model_file: Path, budget_bytes: int
) -> Iterator[RunningServer]:
    """A server whose budget holds one of its two models, and never the third one."""
    folder = tmp_path_factory.mktemp("tight")
    huge = folder / "huge.gguf"
    huge.write_bytes(model_file.read_bytes())
    catalog = folder / "models.yaml"
    catalog.write_text(
        f"one: {{path: {model_file}, {FIELDS}}}\n"
        f"two: {{path: {other_model_file}, {FIELDS}}}\n"
        f"huge: {{path: {huge}, kv_cache_tokens: 1000000}}\n"
    )
    arguments = ("--models-yaml", str(catalog), "--memory-budget", str(budget_bytes))
    with launch(folder / "server.log", folder, *arguments) as running:
        yield running
        assert running.stop() == 0


def say_hello(server: RunningServer, model: str, timeout: float | None = None) -> chat_pb2.ChatCompletion:
    return server.chat.CreateChatCompletion(ask("Hello!", model=model, max_tokens=2), timeout=timeout)


def test_an_idle_model_makes_room(tight: RunningServer) -> None:
    for name, away in (("one", "two"), ("two", "one")):
        assert say_hello(tight, name).model == name
        states = tight.states()
        assert (states[name], states[away]) == (READY, UNLOADED)
        assert len(tight.worker_pids()) == 1


def keep_busy(server: RunningServer, model: str, num_tokens: int = 60) -> grpc.Call:
    """A request that the model has begun to answer, and that goes on when its worker does."""
    running = server.chat.StreamChatCompletion(endless(model=model, max_tokens=num_tokens))
    next(running)
    return running


def test_a_busy_model_finishes_before_it_makes_room(tight: RunningServer) -> None:
    """Failure 1 of other servers: what is in use is evicted."""
    running = keep_busy(tight, "one")
    with frozen(*tight.worker_pids()):
        request = ask("Hello!", model="two", max_tokens=2)
        waiting = [tight.chat.CreateChatCompletion.future(request) for _ in range(3)]
        wait_until(lambda: tight.model("two").active_requests == 3)
        model = tight.model("two")
        assert model.state == LOADING
        assert model.detail.endswith("; 'one' is in use")
    assert list(running)[-1].usage.completion_tokens == 60
    assert [call.result().usage.completion_tokens for call in waiting] == [2] * 3
    assert tight.states()["one"] == UNLOADED


def test_who_can_not_wait_is_told_when_to_come_back(tight: RunningServer) -> None:
    running = keep_busy(tight, "one")
    load = model_pb2.LoadModelRequest(name="two")
    with frozen(*tight.worker_pids()), ThreadPoolExecutor(3) as threads:
        # All at once, and for so long that there is time to answer before the callers give up.
        over_grpc = (
            threads.submit(failure_of, lambda: say_hello(tight, "two", timeout=2.5)),
            threads.submit(failure_of, lambda: list(tight.models.LoadModel(load, timeout=2.5))),
        )
        over_http = threads.submit(post_hello, tight, "two", timeout_seconds=2.5)
    for call in over_grpc:
        error = call.result()
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason_of(error) == "MEMORY_BUDGET_FULL"
        assert "in use by 'one'" in error.details()
        assert retry_seconds_of(error) == 1
    response = over_http.result()
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    assert response.json()["error"]["type"] == "rate_limit_error"
    running.cancel()
    assert say_hello(tight, "two").model == "two"


def post_hello(
    server: RunningServer, model: str, timeout_seconds: float = 60, **fields: object
) -> httpx.Response:
    headers = {"x-request-timeout-seconds": str(timeout_seconds)}
    body = chat_body("Hello!", model=model, max_tokens=2, **fields)
    with http_client(server.http_address) as client:
        return client.post("/v1/chat/completions", json=body, headers=headers)


def test_a_model_that_can_never_fit_is_refused_at_once(tight: RunningServer, budget_bytes: int) -> None:
    say_hello(tight, "one")
    need = f"{tight.model('huge').facts.memory_bytes / 2**30:.2f} GiB"
    message = (
        f"model 'huge' needs {need} of memory; the budget for all models is {budget_bytes / 2**30:.2f} GiB"
    )
    for call in (
        lambda: say_hello(tight, "huge"),
        lambda: list(tight.models.LoadModel(model_pb2.LoadModelRequest(name="huge"))),
        lambda: tight.chat.CreateChatCompletion(ask("x", model="huge", wait_for_model=False)),
    ):
        error = failure_of(call)
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert reason_of(error) == "MODEL_TOO_LARGE"
        assert error.details() == message
    response = post_hello(tight, "huge")
    assert response.status_code == 400
    assert response.json()["error"]["message"] == message
    assert tight.states() == {"one": READY, "two": UNLOADED, "huge": UNLOADED}, "nobody had to go for it"


def test_who_does_not_wait_finds_the_model_loaded_later(tight: RunningServer) -> None:
    say_hello(tight, "two")
    request = ask("Hello!", model="one", max_tokens=2, wait_for_model=False)
    error = failure_of(lambda: tight.chat.CreateChatCompletion(request))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(error) == "MODEL_LOADING"
    assert retry_seconds_of(error) == 10
    wait_until(lambda: tight.state("one") == READY)
    assert tight.chat.CreateChatCompletion(request).model == "one"

    response = post_hello(tight, "two", wait_for_model=False)
    assert (response.status_code, response.headers["retry-after"]) == (503, "10")
    assert response.json()["error"]["code"] == "model_loading"
    wait_until(lambda: tight.state("two") == READY)
    assert post_hello(tight, "two", wait_for_model=False).status_code == 200


def test_models_that_stay_and_models_that_go(
    start_server: StartServer, tmp_path: Path, model_file: Path, other_model_file: Path, budget_bytes: int
) -> None:
    catalog = tmp_path / "models.yaml"
    catalog.write_text(
        f"leaving: {{path: {model_file}, {FIELDS}, keep_alive: 0}}\n"
        f"staying: {{path: {other_model_file}, {FIELDS}, keep_alive: 0, pinned: true}}\n"
    )
    server = start_server(
        *("--models-yaml", str(catalog), "--memory-budget", str(budget_bytes)),
        environment={"LLAMAWIRE_POOL_ROOM_TIMEOUT_SECONDS": "0.5"},
    )
    assert say_hello(server, "leaving").model == "leaving"
    wait_until(lambda: server.states() == {"leaving": UNLOADED, "staying": UNLOADED})
    assert server.worker_pids() == []

    running = keep_busy(server, "leaving")
    with frozen(*server.worker_pids()):
        error = failure_of(lambda: say_hello(server, "staying"))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, "it waits so long, and no longer"
    assert reason_of(error) == "MEMORY_BUDGET_FULL"
    running.cancel()
    wait_until(lambda: server.state("leaving") == UNLOADED)

    assert say_hello(server, "staying").model == "staying"
    assert server.model("staying").pinned
    error = failure_of(lambda: say_hello(server, "leaving"))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(error) == "MODEL_TOO_LARGE"
    assert error.details().endswith("are kept by pinned models: 'staying'")
    assert server.states() == {"leaving": UNLOADED, "staying": READY}

    server.models.UnloadModel(model_pb2.UnloadModelRequest(name="staying"))
    assert say_hello(server, "leaving").model == "leaving"
