"""Models that are loaded, unloaded and watched by callers, over gRPC and from the command line."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from callers import RawCaller, chat_body, wait_until
from servers import (
    NO_END,
    RunningServer,
    ask,
    endless,
    failure_of,
    frozen,
    launch,
    one_thread,
    reason_of,
    retry_seconds_of,
)
from streams import Log

from llamawire.v1 import model_pb2

UNLOADED = model_pb2.MODEL_STATE_UNLOADED
LOADING = model_pb2.MODEL_STATE_LOADING
READY = model_pb2.MODEL_STATE_READY
UNLOADING = model_pb2.MODEL_STATE_UNLOADING

LOAD = model_pb2.LoadModelRequest(name="smollm2")
UNLOAD = model_pb2.UnloadModelRequest(name="smollm2")
CANCEL = model_pb2.UnloadModelRequest(name="smollm2", cancel_running=True)
WATCH = model_pb2.WatchModelsRequest()


@pytest.fixture(scope="module")
def running_server(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("service")
    with launch(folder / "server.log", folder, *one_thread(folder, model_file)) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def server(running_server: RunningServer) -> RunningServer:
    """A server whose model is not loaded."""
    assert running_server.models.UnloadModel(CANCEL).model.state == UNLOADED
    return running_server


def num_loads(server: RunningServer) -> int:
    return server.log_file.read_text().count(" is loaded, ")


def freeze_load(server: RunningServer) -> int:
    """The worker that a load has just started, standing still."""
    wait_until(server.worker_pids)
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    return worker


def test_a_load_tells_how_far_it_is_and_ends_with_the_facts(server: RunningServer) -> None:
    estimated = server.model().facts.memory_bytes
    *on_the_way, last = [response.model for response in server.models.LoadModel(LOAD)]
    assert {model.state for model in on_the_way} == {LOADING}
    assert last.state == READY
    assert (last.name, last.failure, last.detail) == ("smollm2", "", "")
    facts = last.facts
    assert (facts.architecture, facts.quantization, facts.num_parameters) == ("llama", "Q4_1", 134515008)
    assert (facts.context_length, facts.training_context_length) == (8192, 8192)
    assert (facts.vocabulary_size, facts.parallel, facts.kv_cache_tokens) == (49152, 8, 16384)
    assert facts.has_chat_template
    capabilities = (model_pb2.MODEL_CAPABILITY_CHAT, model_pb2.MODEL_CAPABILITY_EMBEDDINGS)
    assert tuple(facts.capabilities) == capabilities
    assert 0.7 * estimated < facts.memory_bytes < 1.3 * estimated
    (again,) = server.models.LoadModel(LOAD)
    assert again.model == last, "of a model that is there, one response tells"


def test_a_load_s_progress_rises(server: RunningServer) -> None:
    def load() -> list[float]:
        server.models.UnloadModel(UNLOAD)
        *on_the_way, _ = server.models.LoadModel(LOAD)
        return [response.model.load_progress for response in on_the_way]

    loads = [load()]
    # So small a model is read in no time, and what is not told before the next news is not told at all.
    wait_until(lambda: any(0 < share < 1 for share in loads[-1]) or loads.append(load()))
    assert all(shares == sorted(shares) and 0 <= shares[0] <= shares[-1] <= 1 for shares in loads)


def test_two_who_load_a_model_load_it_once(server: RunningServer) -> None:
    before = num_loads(server)
    loads = [server.models.LoadModel(LOAD) for _ in range(2)]
    with frozen(freeze_load(server)):
        for load in loads:
            assert next(load).model.state == LOADING
    for load in loads:
        assert [response.model.state for response in load][-1] == READY
    assert num_loads(server) == before + 1
    assert len(server.worker_pids()) == 1


def test_a_load_that_nobody_waits_for_any_more_is_cancelled(server: RunningServer) -> None:
    first, second = (server.models.LoadModel(LOAD) for _ in range(2))
    freeze_load(server)
    assert (next(first).model.state, next(second).model.state) == (LOADING, LOADING)
    first.cancel()
    assert server.state() == LOADING, "the other one waits still"
    second.cancel()
    wait_until(lambda: server.worker_pids() == [])
    wait_until(lambda: server.state() == UNLOADED)
    assert server.model().failure == ""


def test_an_unload_waits_for_what_is_running(server: RunningServer) -> None:
    running = server.chat.StreamChatCompletion(endless(max_tokens=40))
    next(running)
    with frozen(*server.worker_pids()):
        error = failure_of(lambda: server.models.UnloadModel(UNLOAD, timeout=0.3))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert server.state() == UNLOADING, "it goes on all the same"
        unload = server.models.UnloadModel.future(UNLOAD)
        assert not running.done()
    assert list(running)[-1].usage.completion_tokens == 40
    assert unload.result().model.state == UNLOADED
    assert server.worker_pids() == []
    assert server.models.UnloadModel(UNLOAD).model.state == UNLOADED, "and again"


def test_a_request_after_an_unload_loads_anew_while_the_old_one_ends(server: RunningServer) -> None:
    running = server.chat.StreamChatCompletion(endless(max_tokens=40))
    next(running)
    (old,) = server.worker_pids()
    with frozen(old):
        unload = server.models.UnloadModel.future(UNLOAD)
        wait_until(lambda: server.state() == UNLOADING)
        answer = server.chat.CreateChatCompletion(ask("Hello!", max_tokens=1))
        assert answer.timings.model_load.ToNanoseconds() > 0
        assert server.state() == READY
    assert list(running)[-1].usage.completion_tokens == 40
    assert unload.result().model.state == READY, "the new one is none of its business"
    assert len(server.worker_pids()) == 1
    assert old not in server.worker_pids()


def test_an_unload_may_cancel_what_is_running(server: RunningServer) -> None:
    running = server.chat.StreamChatCompletion(endless())
    next(running)
    body = chat_body(
        "Write.", max_tokens=8000, stream=True, logit_bias={str(t): b for t, b in NO_END.items()}
    )
    with RawCaller(server.http_address, body) as caller:
        caller.read_until(b'"content":" ')
        assert server.models.UnloadModel(CANCEL).model.state == UNLOADED
        last = caller.read_until(b"}}\n\n")
    assert b"the model was unloaded before the answer was finished" in last
    error = failure_of(lambda: list(running))
    assert error.code() is grpc.StatusCode.CANCELLED
    assert reason_of(error) == "MODEL_UNLOADED"
    assert server.worker_pids() == []


def test_an_unload_cancels_a_load(server: RunningServer) -> None:
    load = server.models.LoadModel(LOAD)
    waiting = server.chat.CreateChatCompletion.future(ask("Hello!"))
    worker = freeze_load(server)
    wait_until(lambda: server.model().active_requests == 1)
    assert server.models.UnloadModel(UNLOAD).model.state == UNLOADED
    assert not Path(f"/proc/{worker}").exists()
    for error in (failure_of(lambda: list(load)), waiting.exception()):
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert reason_of(error) == "MODEL_UNLOADED"
        assert retry_seconds_of(error) > 0


def test_a_model_that_there_is_not(server: RunningServer) -> None:
    for call in (
        lambda: list(server.models.LoadModel(model_pb2.LoadModelRequest(name="smollm3"))),
        lambda: server.models.UnloadModel(model_pb2.UnloadModelRequest(name="smollm3")),
    ):
        error = failure_of(call)
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert reason_of(error) == "MODEL_NOT_FOUND"


def test_every_watcher_hears_how_the_model_stands(server: RunningServer) -> None:
    late = server.models.WatchModels(WATCH)
    named = model_pb2.WatchModelsRequest(names=["SmolLM2:latest", "smollm3"])
    with (
        Log(server.models.WatchModels(WATCH), lambda response: response.models[0]) as first,
        Log(server.models.WatchModels(named), lambda response: response.models[0]) as second,
    ):

        def wait_until_told(state: model_pb2.ModelState.ValueType) -> None:
            wait_until(lambda: all(log.entries and log.entries[-1].state == state for log in (first, second)))

        wait_until_told(UNLOADED)
        for _ in range(2):
            load = server.models.LoadModel(LOAD)
            with frozen(freeze_load(server)):
                wait_until_told(LOADING)
            list(load)
            wait_until_told(READY)
            running = server.chat.StreamChatCompletion(endless(max_tokens=20))
            next(running)
            with frozen(*server.worker_pids()):
                unload = server.models.UnloadModel.future(UNLOAD)
                wait_until_told(UNLOADING)
            assert list(running)[-1].usage.completion_tokens == 20
            assert unload.result().model.state == UNLOADED
            wait_until_told(UNLOADED)
        for log in (first, second):
            states = [state for state, _ in itertools.groupby(model.state for model in log.entries)]
            assert states == [*[UNLOADED, LOADING, READY, UNLOADING] * 2, UNLOADED]
        list(server.models.LoadModel(LOAD))
        wait_until_told(READY)
        final = first.entries[-1]
        assert final.facts.memory_bytes > 0
        wait_until(lambda: next(late).models[0] == final)
    late.cancel()


def command(server: RunningServer, *arguments: str) -> list[str]:
    return [
        *(str(Path(sys.executable).parent / "llamawire"), "models", *arguments),
        *("--target", server.grpc_address),
    ]


def run(server: RunningServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(server, *arguments), capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_loads_and_unloads(server: RunningServer) -> None:
    loaded = run(server, "load", "smollm2", "smollm3")
    assert loaded.returncode == 1, "one of them there is not"
    (line,) = loaded.stdout.splitlines()
    assert line.startswith(
        "smollm2 ready: architecture llama, parameters 134.5 M, quantization Q4_1, context 8192, vocabulary 49152, "
        "template yes, capabilities chat+embeddings, memory "
    )
    *progress, failure = loaded.stderr.splitlines()
    assert all(line.startswith("smollm2 loading ") for line in progress)
    assert failure.startswith("llamawire: smollm3: no model is named 'smollm3'")

    listed = run(server, "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    (row,) = [line for line in listed.stdout.splitlines() if line.lstrip().startswith("smollm2 ")]
    assert "ready" in row
    assert "llama Q4_1" in row
    (model,) = json.loads(run(server, "list", "--json").stdout)
    assert (model["name"], model["state"]) == ("smollm2", "MODEL_STATE_READY")
    assert int(model["facts"]["memory_bytes"]) > 0

    unloaded = run(server, "unload", "smollm2")
    assert (unloaded.returncode, unloaded.stdout, unloaded.stderr) == (0, "smollm2 unloaded\n", "")
    assert server.worker_pids() == []


@pytest.mark.parametrize("as_json", [False, True], ids=["lines", "json"])
def test_the_command_watches(server: RunningServer, as_json: bool) -> None:
    arguments = command(server, "watch", *(["--json"] if as_json else []))
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = iter(process.stdout.readline, "")
        assert ('"MODEL_STATE_UNLOADED"' if as_json else "smollm2 unloaded") in next(lines)
        list(server.models.LoadModel(LOAD))
        wanted = '"MODEL_STATE_READY"' if as_json else "smollm2 ready"
        seen = list(itertools.takewhile(lambda line: wanted not in line, lines))
        assert any(("MODEL_STATE_LOADING" if as_json else "smollm2 loading ") in line for line in seen)
        assert not as_json or all(json.loads(line)["models"] for line in seen)
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(60) == 130
        finally:
            process.kill()
        assert process.stderr.read() == ""
