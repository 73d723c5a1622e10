"""The server's life: start, health, drain, the second signal, a worker that dies, a parent that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from servers import RunningServer, StartServer, ask, reason_of

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LONG = ask("Write a very long story about a fox.", max_tokens=4000)


def check(server: RunningServer, name: str) -> int:
    stub = health_pb2_grpc.HealthStub(server.channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=name)).status


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_end(pid: int) -> None:
    end = time.monotonic() + 30
    while is_alive(pid):
        assert time.monotonic() < end, f"process {pid} does not end"
        time.sleep(0.02)


def test_the_process_its_services_and_its_models_have_health(server: RunningServer) -> None:
    for name in (
        "",
        "llamawire.v1.ChatService",
        "llamawire.v1.ModelService",
        "llamawire.v1.TokenizerService",
    ):
        assert check(server, name) == SERVING
    assert check(server, "model/smollm2") == SERVING
    with pytest.raises(grpc.RpcError) as caught:
        check(server, "model/nothing")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_services(server: RunningServer) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (response,) = stub.ServerReflectionInfo(iter([request]))
    names = {service.name for service in response.list_services_response.service}
    assert {"llamawire.v1.ChatService", "llamawire.v1.ModelService", "grpc.health.v1.Health"} <= names


def test_a_model_is_watched_as_it_loads(start_server: StartServer) -> None:
    server = start_server()
    stub = health_pb2_grpc.HealthStub(server.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="model/smollm2"))
    assert next(watch).status == NOT_SERVING
    assert check(server, "") == SERVING
    server.chat.CreateChatCompletion(ask("x", max_tokens=1))
    assert next(watch).status == SERVING
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGKILL)
    assert next(watch).status == NOT_SERVING
    assert check(server, "") == SERVING, "a dead worker is not a dead service"
    watch.cancel()


def test_sigterm_drains(start_server: StartServer) -> None:
    server = start_server("--preload", "smollm2", "--drain-seconds", "120")
    (worker,) = server.worker_pids()
    stub = health_pb2_grpc.HealthStub(server.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
    assert next(watch).status == SERVING
    running = server.chat.StreamChatCompletion(ask("Write a story about a fox.", max_tokens=100))
    next(running)
    server.process.send_signal(signal.SIGTERM)
    assert next(watch).status == NOT_SERVING
    with pytest.raises(grpc.RpcError) as caught:
        server.chat.CreateChatCompletion(ask("x"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(caught.value) == "DRAINING"
    chunks = list(running)
    assert chunks[-1].usage.completion_tokens > 0, "what was running has finished"
    assert server.process.wait(150) == 0
    assert not is_alive(worker)


def test_what_does_not_finish_in_time_ends_with_an_error(start_server: StartServer) -> None:
    server = start_server("--preload", "smollm2", "--drain-seconds", "0.2")
    running = server.chat.StreamChatCompletion(LONG)
    next(running)
    server.process.send_signal(signal.SIGTERM)
    with pytest.raises(grpc.RpcError) as caught:
        list(running)
    assert reason_of(caught.value) == "WORKER_STOPPED"
    assert caught.value.details() == "the model was unloaded before the answer was finished"
    assert server.process.wait(30) == 0


def test_a_second_signal_ends_at_once(start_server: StartServer) -> None:
    server = start_server("--preload", "smollm2")
    (worker,) = server.worker_pids()
    running = server.chat.StreamChatCompletion(LONG)
    next(running)
    server.process.send_signal(signal.SIGTERM)
    watch = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest(service=""))
    while (
        next(watch).status == SERVING
    ):  # until the drain has begun: of two signals before it, one may be lost
        pass
    assert server.stop(signal.SIGTERM, timeout=20) == 0
    assert not is_alive(worker)
    running.cancel()


def test_a_killed_worker_fails_its_requests_and_the_next_one_loads_anew(start_server: StartServer) -> None:
    server = start_server("--preload", "smollm2")
    running = [server.chat.StreamChatCompletion(LONG) for _ in range(3)]
    for call in running:
        next(call)
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGKILL)
    for call in running:
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert reason_of(caught.value) == "WORKER_CRASHED"
        assert "SIGKILL" in caught.value.details()
    answer = server.chat.CreateChatCompletion(ask("Say hi.", max_tokens=3))
    assert answer.usage.completion_tokens == 3
    assert answer.timings.model_load.ToNanoseconds() > 0
    assert server.worker_pids() != [worker]
    assert not is_alive(worker)


def test_workers_end_with_a_parent_that_was_killed(start_server: StartServer) -> None:
    server = start_server("--preload", "smollm2")
    (worker,) = server.worker_pids()
    server.process.kill()
    server.process.wait()
    wait_for_end(worker)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grpc", "nonsense"], "can't listen on nonsense"),
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
