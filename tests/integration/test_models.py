"""Models by name, in a real server with real files: loaded once, side by side, broken, mended, taking turns."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from callers import http_client, wait_until
from google.protobuf import duration_pb2
from servers import RunningServer, StartServer, ask, endless, failure_of, launch, reason_of, retry_seconds_of
from tiny_model import write_tiny_model

from llamawire.v1 import chat_pb2, model_pb2, tokenizer_pb2

NUM_CALLERS = 48

UNLOADED = model_pb2.MODEL_STATE_UNLOADED
LOADING = model_pb2.MODEL_STATE_LOADING
READY = model_pb2.MODEL_STATE_READY
FAILED = model_pb2.MODEL_STATE_FAILED


def answer(server: RunningServer, model: str, timeout: float | None = None) -> chat_pb2.ChatCompletion:
    # Its first token is far from a tie: company, which changes the last bits of logits, makes no difference to it.
    return server.chat.CreateChatCompletion(ask("Hello!", model=model, max_tokens=1), timeout=timeout)


def tokenize(server: RunningServer, model: str) -> list[int]:
    return list(server.tokenizer.Tokenize(tokenizer_pb2.TokenizeRequest(model=model, text="abc")).tokens)


def failure(server: RunningServer, model: str, timeout: float | None = None) -> grpc.RpcError:
    return failure_of(lambda: answer(server, model, timeout))


def num_loads(server: RunningServer) -> int:
    return server.log_file.read_text().count(" is loaded, ")


ROOT_FORM = """
first:
  path: {path}
  aliases: [second, "Fourth One"]
  threads: 1
third: {path}
"""
MODELS_FORM = """
models:
  first: {path}
  second: {{path: {path}, threads: 1, aliases: [third, fourth one]}}
"""


@pytest.mark.parametrize("document", [ROOT_FORM, MODELS_FORM], ids=["root", "models"])
def test_a_crowd_that_asks_by_all_names_of_a_cold_model_loads_it_once(
    start_server: StartServer, model_file: Path, tmp_path: Path, document: str
) -> None:
    """Failure 1 of other servers: one model that is asked for twice at once is loaded twice, or never."""
    catalog, folder = tmp_path / "models.yaml", tmp_path / "models"
    catalog.write_text(document.format(path=model_file))
    folder.mkdir()
    (folder / "Linked-File.gguf").symlink_to(model_file)
    server = start_server("--models-yaml", str(catalog), "--models-dir", str(folder))
    display_name = server.model("first").facts.display_name
    names = ["first", "SECOND", " third ", "fourth one", "first:latest", "linked-file"]
    names += [display_name, "llama", "smollm2", model_file.stem]
    assert server.worker_pids() == []

    with ThreadPoolExecutor(NUM_CALLERS) as pool:
        asked = [names[number % len(names)] for number in range(NUM_CALLERS)]
        # Counting is quick, so that most of the time goes into what is tested: 16 chat, the others count.
        chats = [pool.submit(answer, server, name) for name in asked[:16]]
        counts = [pool.submit(tokenize, server, name) for name in asked[16:]]
        answers = [call.result() for call in chats]
        assert len({tuple(call.result()) for call in counts}) == 1

    assert len(server.worker_pids()) == 1
    assert num_loads(server) == 1
    assert {found.model for found in answers} == {"first"}
    assert len({found.system_fingerprint for found in answers}) == 1
    assert len({found.choices[0].message.content for found in answers}) == 1
    waits = [found.timings.model_load.ToNanoseconds() for found in answers]
    assert max(waits) > 0
    assert answer(server, "second").timings.model_load == duration_pb2.Duration()
    assert server.states() == {"first": READY}
    assert {server.model(name).name for name in names} == {"first"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `several` finds models in."""
    return tmp_path_factory.mktemp("found")


@pytest.fixture(scope="module")
def several(
    tmp_path_factory: pytest.TempPathFactory, folder: Path, model_file: Path, other_model_file: Path
) -> Iterator[RunningServer]:
    """A server that has a model loaded, and may load more."""
    home = tmp_path_factory.mktemp("several")
    catalog = home / "models.yaml"
    catalog.write_text(
        f"good: {{path: {model_file}, threads: 1}}\n"
        f"other: {{path: {other_model_file}, threads: 1}}\n"
        f"missing: {home / 'missing.gguf'}\n"
    )
    arguments = ("--models-yaml", str(catalog), "--models-dir", str(folder), "--preload", "good")
    with launch(home / "server.log", home, *arguments) as running:
        yield running
        assert running.stop() == 0


def stop_while_loading(server: RunningServer, known: list[int]) -> int:
    """Freeze the worker that is new, long before it has loaded its model."""
    wait_until(lambda: set(server.worker_pids()) - set(known))
    (pid,) = set(server.worker_pids()) - set(known)
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_while_one_model_loads_another_one_answers(several: RunningServer) -> None:
    """Failure 12 of other servers: a health check fails while a model loads."""
    known = several.worker_pids()
    waiting = several.chat.CreateChatCompletion.future(ask("Say hi.", model="other", max_tokens=1))
    frozen = stop_while_loading(several, known)
    assert several.states() == {"good": READY, "other": LOADING, "missing": UNLOADED}
    assert several.model("other").active_requests == 1, "who waits for a load waits at the model"
    assert several.is_serving()
    with http_client(several.http_address) as client:
        assert [client.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    answers = [answer(several, "good") for _ in range(3)]
    assert {found.timings.model_load.ToNanoseconds() for found in answers} == {0}
    assert not waiting.done()
    os.kill(frozen, signal.SIGCONT)
    assert waiting.result().model == "other"
    assert several.states() == {"good": READY, "other": READY, "missing": UNLOADED}
    assert several.model("other").facts.quantization == "Q8_0"


def test_a_worker_that_is_killed_while_it_loads_is_started_again_for_those_who_wait(
    several: RunningServer, folder: Path, tiny_model: bytes
) -> None:
    (folder / "dying.gguf").write_bytes(tiny_model)
    known = several.worker_pids()
    request = tokenizer_pb2.TokenizeRequest(model="dying", text="abc")
    waiting = [several.tokenizer.Tokenize.future(request) for _ in range(8)]
    for _ in range(2):
        frozen = stop_while_loading(several, known)
        wait_until(lambda: several.model("dying").active_requests == len(waiting))
        os.kill(frozen, signal.SIGKILL)
        known.append(frozen)
    assert len({tuple(call.result().tokens) for call in waiting}) == 1
    model = several.model("dying")
    assert (model.state, model.failure, model.detail) == (READY, "", "")


def cut(size_bytes: int) -> Callable[[Path, bytes], None]:
    return lambda path, whole: path.write_bytes(whole[:size_bytes])


BROKEN: dict[str, tuple[Callable[[Path, bytes], object], str]] = {
    "garbage after the magic": (
        lambda path, whole: path.write_bytes(b"GGUF" + bytes(range(256)) * 64),
        "MODEL_FILE_INVALID",
    ),
    "cut in the magic": (cut(2), "MODEL_FILE_INVALID"),
    "cut in the header": (cut(1000), "MODEL_FILE_INVALID"),
    "cut in the tensors": (cut(-20_000), "MODEL_FILE_INVALID"),
    "one byte short": (cut(-1), "MODEL_FILE_INVALID"),
    "no bytes": (cut(0), "MODEL_FILE_INVALID"),
    "text": (lambda path, whole: path.write_text("# A model\n" * 100), "MODEL_FILE_INVALID"),
    "an unknown architecture": (lambda path, whole: write_tiny_model(path, "nonsense"), "MODEL_LOAD_FAILED"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_an_error_for_its_callers_only_until_it_is_mended(
    several: RunningServer, folder: Path, tiny_model: bytes, case: str
) -> None:
    """Failure 12 of other servers: a model that fails to load blocks every later load."""
    write, reason = BROKEN[case]
    name = case.replace(" ", "-")
    path = folder / f"{name}.gguf"
    write(path, tiny_model)
    with ThreadPoolExecutor(12) as pool:
        good = [pool.submit(answer, several, "good") for _ in range(2)]
        errors = list(pool.map(lambda _: failure(several, name), range(8)))
        assert {call.result().model for call in good} == {"good"}
    assert {error.code() for error in errors} == {grpc.StatusCode.INTERNAL}
    assert {reason_of(error) for error in errors} == {reason}
    assert all(name in error.details() or reason == "MODEL_LOAD_FAILED" for error in errors)
    if reason == "MODEL_LOAD_FAILED":
        model = several.model(name)
        assert model.state == FAILED
        assert "nonsense" in model.failure

    path.write_bytes(tiny_model)
    assert len(tokenize(several, name)) > 0
    model = several.model(name)
    assert (model.state, model.failure) == (READY, "")


def test_a_request_that_makes_llama_cpp_abort_fails_alone(several: RunningServer, folder: Path) -> None:
    """Failure 3 of other servers: an abort in one request ends all of them."""
    # It loads, and then there is no token for the letters that it is given.
    write_tiny_model(folder / "letterless.gguf", num_bytes=8)
    running = several.chat.StreamChatCompletion(ask("Write a story.", model="good", max_tokens=40))
    next(running)
    for _ in range(2):
        with pytest.raises(grpc.RpcError) as caught:
            tokenize(several, "letterless")
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert reason_of(caught.value) == "WORKER_CRASHED"
        assert "SIGABRT" in caught.value.details()
        wait_until(lambda: several.model("letterless").state == READY)
        assert several.model("letterless").failure == ""
    assert list(running)[-1].usage.completion_tokens > 0


def test_a_file_that_is_not_there_is_said_to_be_missing(several: RunningServer) -> None:
    error = failure(several, "missing")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert reason_of(error) == "MODEL_FILE_MISSING"
    assert "missing.gguf" in error.details()
    assert "missing" in several.states(), "a name that was given is listed, whatever it leads to"
    assert answer(several, "good").model == "good"


@pytest.fixture
def one_at_a_time(
    start_server: StartServer, tmp_path: Path, model_file: Path, other_model_file: Path
) -> RunningServer:
    """A server with room for one of its two models."""
    catalog = tmp_path / "models.yaml"
    catalog.write_text(
        f"good: {{path: {model_file}, threads: 1}}\nother: {{path: {other_model_file}, threads: 1}}\n"
    )
    return start_server("--models-yaml", str(catalog), "--max-loaded-models", "1")


def test_models_take_turns_where_there_is_room_for_one(one_at_a_time: RunningServer) -> None:
    """Failure 1 of other servers: two models at once are a deadlock, or one goes while it is in use."""
    server = one_at_a_time
    seen = []
    for name, away in (("good", "other"), ("other", "good"), ("good", "other")):
        assert answer(server, name).model == name
        assert server.states() == {name: READY, away: UNLOADED}
        (pid,) = server.worker_pids()
        seen.append(pid)
    assert len(set(seen)) == 3

    running = server.chat.StreamChatCompletion(endless(model="good"))
    next(running)
    with ThreadPoolExecutor(3) as threads:
        # For so long that there is time to answer before the callers give up.
        refused = [threads.submit(failure, server, "other", timeout=2.5) for _ in range(3)]
    for call in refused:
        error = call.result()
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason_of(error) == "ALL_MODELS_BUSY"
        assert retry_seconds_of(error) > 0
    assert server.worker_pids() == seen[-1:]
    next(running)
    assert len(tokenize(server, "good")) > 0
    waiting = server.chat.CreateChatCompletion.future(ask("Hello!", model="other", max_tokens=1))
    wait_until(lambda: "'good' is in use" in server.model("other").detail)
    running.cancel()
    assert waiting.result().model == "other"
    assert server.states() == {"good": UNLOADED, "other": READY}
