"""The server's life: start, health, drain, the second signal, and what is left of it afterwards: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from callers import RawCaller, chat_body, http_client, post, wait_until
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from servers import RunningServer, StartServer, ask, endless, failure_of, frozen, reason_of, retry_seconds_of

from llamawire.v1 import model_pb2

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LONG = endless()
LONG_BODY = chat_body(
    "Write a very long story about a fox.", max_tokens=8000, logit_bias={"0": -100, "2": -100}
)


def watch_health(server: RunningServer, name: str) -> grpc.Call:
    return server.health.Watch(health_pb2.HealthCheckRequest(service=name))


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_end(pid: int) -> None:
    wait_until(lambda: not is_alive(pid), 30)


def test_the_process_its_services_and_its_models_have_health(server: RunningServer) -> None:
    for name in (
        "",
        "llamawire.v1.ChatService",
        "llamawire.v1.CompletionService",
        "llamawire.v1.EmbeddingService",
        "llamawire.v1.ModelService",
        "llamawire.v1.TokenizerService",
    ):
        assert server.is_serving(name)
    assert server.is_serving("model/smollm2")
    error = failure_of(lambda: server.is_serving("model/nothing"))
    assert error.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_services(server: RunningServer) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (response,) = stub.ServerReflectionInfo(iter([request]))
    names = {service.name for service in response.list_services_response.service}
    assert {"llamawire.v1.ChatService", "llamawire.v1.ModelService", "grpc.health.v1.Health"} <= names


def test_a_model_is_watched_as_it_loads_and_dies_and_is_there_again(start_server: StartServer) -> None:
    server = start_server()
    watch = watch_health(server, "model/smollm2")
    assert next(watch).status == NOT_SERVING
    assert server.is_serving()
    server.chat.CreateChatCompletion(ask("x", max_tokens=1))
    assert next(watch).status == SERVING
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGKILL)
    assert next(watch).status == NOT_SERVING
    assert server.is_serving(), "a dead worker is not a dead service"
    assert next(watch).status == SERVING, "it is started again though nobody asks for it"
    assert not Path(f"/proc/{worker}").exists(), "nor is it left as a zombie"
    watch.cancel()


def test_sigterm_drains(start_server: StartServer) -> None:
    server = start_server("--preload", "smollm2", "--drain-seconds", "120")
    (worker,) = server.worker_pids()
    health = watch_health(server, "")
    assert next(health).status == SERVING
    models = server.models.WatchModels(model_pb2.WatchModelsRequest())
    next(models)
    story = ask("Write a story about a fox.", max_tokens=30)
    running = server.chat.StreamChatCompletion(story)
    next(running)
    whole = server.chat.CreateChatCompletion.future(story)
    body = chat_body("Write a story about a fox.", max_tokens=30, stream=True)
    with RawCaller(server.http_address, body) as caller:
        caller.read_until(b'"content":" ')
        with frozen(worker):
            server.process.send_signal(signal.SIGTERM)
            assert next(health).status == NOT_SERVING
            assert_draining(failure_of(lambda: list(models)))
            load = model_pb2.LoadModelRequest(name="smollm2")
            for call in (
                lambda: server.chat.CreateChatCompletion(story),
                lambda: list(server.chat.StreamChatCompletion(story)),
                lambda: list(server.models.LoadModel(load)),
                lambda: list(server.models.WatchModels(model_pb2.WatchModelsRequest())),
            ):
                assert_draining(failure_of(call))
            for refused in (
                post(server.http_address, chat_body("x", stream=stream)) for stream in (False, True)
            ):
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
            with http_client(server.http_address) as client:
                assert client.get("/readyz").status_code == 503
                assert client.get("/healthz").status_code == 200
            assert not running.done(), "watchers wait for nobody"
        assert b"error" not in caller.read_until(b"data: [DONE]\n\n")
    chunks = list(running)
    assert chunks[-1].usage.completion_tokens > 0, "what was running has finished"
    assert whole.result().usage.completion_tokens > 0
    assert server.process.wait(150) == 0
    assert not is_alive(worker)


def assert_draining(error: grpc.RpcError) -> None:
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(error) == "DRAINING"
    assert retry_seconds_of(error) == 10


def test_what_does_not_finish_in_time_ends_with_an_error(start_server: StartServer) -> None:
    server = start_server("--preload", "smollm2", "--drain-seconds", "0.2")
    running = server.chat.StreamChatCompletion(LONG)
    next(running)
    with RawCaller(server.http_address, {**LONG_BODY, "stream": True}) as caller:
        caller.read_until(b'"content":" ')
        server.process.send_signal(signal.SIGTERM)
        assert_stopped(running)
        last = caller.read_until(b"}}\n\n")
    assert b'"message":"the server was stopped before the answer was finished"' in last
    assert b"[DONE]" not in last
    assert server.process.wait(30) == 0


def assert_stopped(running: grpc.Call) -> None:
    """A stream that the server's end has ended."""
    error = failure_of(lambda: list(running))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert reason_of(error) == "SERVER_STOPPED"
    assert error.details() == "the server was stopped before the answer was finished"


def test_a_load_that_is_under_way_ends_with_the_server(start_server: StartServer) -> None:
    server = start_server("--drain-seconds", "0.2")
    loading = server.models.LoadModel(model_pb2.LoadModelRequest(name="smollm2"))
    wait_until(server.worker_pids)
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    server.process.send_signal(signal.SIGTERM)
    assert_draining(failure_of(lambda: list(loading)))
    assert server.process.wait(30) == 0
    assert not is_alive(worker)


def test_a_second_signal_ends_at_once(start_server: StartServer) -> None:
    server = start_server("--preload", "smollm2", "--drain-seconds", "600")
    (worker,) = server.worker_pids()
    running = server.chat.StreamChatCompletion(LONG)
    next(running)
    server.process.send_signal(signal.SIGTERM)
    # Until the drain has begun: of two signals before it, one may be lost.
    wait_until(lambda: not server.is_serving())
    server.process.send_signal(signal.SIGTERM)
    assert_stopped(running)
    assert server.process.wait(20) == 0
    assert not is_alive(worker)


@pytest.mark.parametrize("is_stopped", [False, True], ids=["running", "stopped"])
def test_workers_end_with_a_parent_that_was_killed(start_server: StartServer, is_stopped: bool) -> None:
    server = start_server("--preload", "smollm2")
    (worker,) = server.worker_pids()
    if is_stopped:  # it can't see that its connection is closed
        os.kill(worker, signal.SIGSTOP)
    server.process.kill()
    server.process.wait()
    wait_for_end(worker)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grpc", "nonsense"], "--grpc must be of the form HOST:PORT"),
        (["--preload", "no-such-model"], "no-such-model"),
        (["--model", "x"], "NAME=PATH"),
        (["--http", "127.0.0.1"], "127.0.0.1"),
    ],
)
def test_a_server_that_can_not_start_says_why(tmp_path: Path, arguments: list[str], message: str) -> None:
    command = [str(Path(sys.executable).parent / "llamawire-server"), "serve"]
    for option in ("--grpc", "--http"):
        if option not in arguments:
            command += [option, "127.0.0.1:0"]
    result = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert result.returncode != 0
    assert result.stdout == ""
    assert message in result.stderr.splitlines()[-1]


def test_a_port_that_is_taken_is_an_error(server: RunningServer, tmp_path: Path) -> None:
    for option, address in (("--grpc", server.grpc_address), ("--http", server.http_address)):
        other = {"--grpc": "--http", "--http": "--grpc"}[option]
        result = subprocess.run(
            [
                str(Path(sys.executable).parent / "llamawire-server"),
                "serve",
                option,
                address,
                other,
                "127.0.0.1:0",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        assert result.returncode == 1
        assert f"can't listen on {address}" in result.stderr
