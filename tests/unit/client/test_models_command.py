"""`llamawire models`."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys

import grpc
import pytest

from llamawire.cli import main
from llamawire.v1 import model_pb2

COMMAND = [sys.executable, "-m", "llamawire", "models"]
LOADING, READY = model_pb2.MODEL_STATE_LOADING, model_pb2.MODEL_STATE_READY
UNLOADED, FAILED = model_pb2.MODEL_STATE_UNLOADED, model_pb2.MODEL_STATE_FAILED

FACTS = model_pb2.ModelFacts(
    architecture="llama",
    quantization="Q4_1",
    num_parameters=134_515_008,
    file_size_bytes=98_000_000,
    training_context_length=8192,
    context_length=4096,
    vocabulary_size=49152,
    has_chat_template=True,
    memory_bytes=312_400_000,
    capabilities=[model_pb2.MODEL_CAPABILITY_CHAT],
)
LOADED_LINE = (
    "m ready: architecture llama, parameters 134.5 M, quantization Q4_1, context 4096, vocabulary 49152, "
    "template yes, capabilities chat, memory 312.4 MB\n"
)


class Terminal(io.StringIO):
    """What was written to a terminal."""

    def isatty(self) -> bool:
        return True

    def plain(self) -> str:
        """Without the terminal's control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture(autouse=True)
def target(server, monkeypatch):
    monkeypatch.setenv("LLAMAWIRE_TARGET", server.target)


@pytest.fixture
def terminal(monkeypatch):
    """Puts a terminal in the place of these streams; a wide one, whose colours are not looked at."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")

    def put(*names: str) -> Terminal:
        terminal = Terminal()
        for name in names:
            monkeypatch.setattr(sys, name, terminal)
        return terminal

    return put


def model(state=READY, name="m", **fields) -> model_pb2.Model:
    return model_pb2.Model(name=name, state=state, **fields)


def loading(share: float, **fields) -> model_pb2.LoadModelResponse:
    return model_pb2.LoadModelResponse(model=model(LOADING, load_progress=share, facts=FACTS, **fields))


def loaded(**fields) -> model_pb2.LoadModelResponse:
    return model_pb2.LoadModelResponse(model=model(facts=FACTS, **fields))


def news(*models: model_pb2.Model, removed=()) -> model_pb2.WatchModelsResponse:
    return model_pb2.WatchModelsResponse(models=models, removed=removed)


def listed(*models: model_pb2.Model) -> model_pb2.ListModelsResponse:
    return model_pb2.ListModelsResponse(models=models)


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_models_as_a_table(server, capsys):
    failure = "the file ends before its tensors do; " * 4
    estimate = model_pb2.ModelFacts(memory_bytes=1_500_000_000, training_context_length=2048)
    server.answers(
        listed(
            model(facts=FACTS),
            model(FAILED, "broken[1]", failure=failure),
            model(LOADING, "coming", load_progress=0.25),
            model(UNLOADED, "later", facts=estimate, problem="models.yaml:3: paralel is unknown"),
            model(99, "newer"),
        )
    )

    assert main(["models", "list"]) == 0

    out = capsys.readouterr().out
    assert ["m", "ready", "llama", "Q4_1", "98.0", "MB", "312.4", "MB", "4096"] in rows(out)
    assert ["broken[1]", "failed"] in rows(out)
    assert ["coming", "loading", "25%"] in rows(out)
    assert ["later", "unloaded", "~1.5", "GB", "2048"] in rows(out)
    assert ["newer", "99"] in rows(out)
    assert f"\nbroken[1] failed: {failure}\n" in out
    assert "\nlater has a wrong entry: models.yaml:3: paralel is unknown\n" in out
    assert "Detail" not in out


def test_a_detail_gets_a_column(server, capsys):
    server.answers(listed(model(LOADING, detail="waits for [b]", pinned=True)))

    assert main(["models", "list"]) == 0

    out = capsys.readouterr().out
    assert "Detail" in out
    assert ["m", "loading", "0%", "pinned,", "waits", "for", "[b]"] in rows(out)


def test_a_long_name_folds_and_the_rest_stays_whole(server, capsys):
    name = "a-model-with-a-name-that-leaves-no-room-for-anything-else"
    server.answers(listed(model(name=name, facts=FACTS)))

    assert main(["models", "list"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert "ready" in lines[3]
    assert "312.4 MB" in lines[3]
    assert "".join(line.split()[0] for line in lines[3:] if line.strip()) == name


def test_models_as_json(server, capsys):
    server.answers(listed(model(facts=model_pb2.ModelFacts(memory_bytes=5))))

    assert main(["models", "list", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == [
        {"name": "m", "state": "MODEL_STATE_READY", "facts": {"memory_bytes": "5"}}
    ]


def test_a_load_ends_with_what_was_loaded(server, capsys):
    server.answers(loading(0), loaded())

    assert main(["models", "load", "M"]) == 0

    assert capsys.readouterr() == (LOADED_LINE, "m loading 0%\n")
    assert server.received[0].request == model_pb2.LoadModelRequest(name="M")


def test_what_is_not_known_of_a_model_is_left_out(server, capsys):
    facts = model_pb2.ModelFacts(num_parameters=7_240_000_000, capabilities=[1, 77])
    server.answers(model_pb2.LoadModelResponse(model=model(facts=facts)))

    assert main(["models", "load", "m"]) == 0

    assert capsys.readouterr().out == "m ready: parameters 7.2 B, template no, capabilities chat+77\n"


def test_without_a_terminal_a_load_says_something_new_at_every_tenth_at_most(server, capsys):
    shares = [number / 1000 for number in range(1000)]
    server.answers(loading(0, detail="waits for memory"), *(loading(share) for share in shares), loaded())

    assert main(["models", "load", "m"]) == 0

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "m loading 0%, waits for memory"
    assert lines[1:] == [f"m loading {tenth}0%" if tenth else "m loading 0%" for tenth in range(10)]


def test_on_a_terminal_a_load_is_a_bar_that_leaves_nothing_behind(server, capsys, terminal):
    screen = terminal("stderr")
    server.answers(loading(0, detail="waits for [m2]"), loading(0.5), loaded())

    assert main(["models", "load", "m"]) == 0

    shown = screen.plain()
    assert "waits for [m2]" in shown
    assert "50%  49.0 MB / 98.0 MB" in shown
    assert "100%  98.0 MB / 98.0 MB" in shown
    assert "━" in shown
    assert screen.getvalue().endswith("\x1b[2K"), "the last that is done is to erase the line"
    assert capsys.readouterr().out == LOADED_LINE


def test_one_model_that_can_not_be_loaded_does_not_stop_the_others(server, capsys, error_info):
    server.fails(grpc.StatusCode.NOT_FOUND, error_info("MODEL_NOT_FOUND"), message="no model is named 'x'")
    server.answers(loaded())

    assert main(["models", "load", "x", "m"]) == 1

    assert capsys.readouterr() == (LOADED_LINE, "llamawire: x: no model is named 'x'\n")


def test_no_server_is_said_once(server, capsys):
    for _ in range(2):
        server.breaks()

    assert main(["models", "load", "a", "b"]) == 1

    assert capsys.readouterr().err.startswith("llamawire: can't reach a llamawire server at ")
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("command", "answers"),
    [
        (["load", "m"], [loading(0.1)]),
        (["watch"], [news(model())]),
        (["watch", "--json"], [news(model())]),
        (["unload", "m"], []),
    ],
    ids=["load", "watch", "watch as JSON", "unload"],
)
def test_ctrl_c_ends_the_call_and_the_command(server, command, answers):
    is_over = server.hangs(*answers)
    with subprocess.Popen([*COMMAND, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert server.is_called.wait(10)
        if answers:
            assert (process.stderr if command[0] == "load" else process.stdout).readline()

        process.send_signal(signal.SIGINT)

        assert process.wait(10) == 130
        assert b"Traceback" not in process.stderr.read()
    assert is_over.wait(5)


def test_ctrl_c_on_a_terminal_gives_the_cursor_back(server, terminal, monkeypatch):
    from llamawire import model_stream

    def interrupt(self, response):
        raise KeyboardInterrupt

    screen = terminal("stderr", "stdout")
    monkeypatch.setattr(model_stream.ModelLoad, "_take", interrupt)
    is_over = server.hangs(loading(0.1))

    assert main(["models", "load", "m"]) == 130

    assert is_over.wait(5)
    assert screen.getvalue().rindex("\x1b[?25h") > screen.getvalue().rindex("\x1b[?25l")


@pytest.mark.parametrize("cancel", [False, True])
def test_unload(server, capsys, cancel):
    server.answers(model_pb2.UnloadModelResponse(model=model(UNLOADED)))

    assert main(["models", "unload", "M", *(["--cancel-running"] if cancel else [])]) == 0

    assert capsys.readouterr() == ("m unloaded\n", "")
    assert server.received[0].request == model_pb2.UnloadModelRequest(name="M", cancel_running=cancel)


def test_on_a_terminal_an_unload_shows_that_it_takes_its_time(server, capsys, terminal):
    screen = terminal("stderr")
    server.answers(model_pb2.UnloadModelResponse(model=model(UNLOADED)))

    assert main(["models", "unload", "[m]"]) == 0

    assert "[m] leaves memory" in screen.plain()
    assert capsys.readouterr().out == "m unloaded\n"


def test_a_watch_without_a_terminal_writes_a_line_for_each_change(server, capsys, error_info):
    server.fails(
        grpc.StatusCode.UNAVAILABLE,
        error_info("DRAINING"),
        message="the server is shutting down",
        after=(
            news(model(UNLOADED, "a"), model(facts=FACTS, active_requests=2)),
            news(model(LOADING, "a", load_progress=0.5, detail="again"), model(active_requests=1)),
            news(model(FAILED, "a", failure="no tensors", problem="models.yaml:3: no"), removed=["m"]),
        ),
    )

    assert main(["models", "watch", "a", "m"]) == 1

    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "a unloaded",
        "m ready, 2 requests, 312.4 MB",
        "a loading 50%, again",
        "m ready, 1 request",
        "m removed",
        "a failed; no tensors; models.yaml:3: no",
    ]
    assert err == "llamawire: the server is shutting down\n"
    assert server.received[0].request == model_pb2.WatchModelsRequest(names=["a", "m"])


def test_a_watch_as_json_writes_a_line_for_each_response(server, capsys, terminal):
    screen = terminal("stdout")
    server.answers(news(model(active_requests=1)), news(removed=["m"]))

    assert main(["models", "watch", "--json"]) == 0

    first, second = map(json.loads, screen.getvalue().splitlines())
    assert first == {"models": [{"name": "m", "state": "MODEL_STATE_READY", "active_requests": 1}]}
    assert second == {"removed": ["m"]}


def test_a_watch_on_a_terminal_is_a_table_that_changes(server, terminal):
    screen = terminal("stdout")
    server.answers(
        news(model(LOADING, "a", load_progress=0.5, detail="starts again"), model(UNLOADED, "[b]")),
        news(
            model(READY, "[b]", facts=FACTS, active_requests=3, pinned=True),
            model(FAILED, "a", failure="no tensors", problem="models.yaml:3: no"),
        ),
    )

    assert main(["models", "watch"]) == 0

    first, *_, second = screen.plain().split("Name")[1:]
    assert [line[:3] for line in rows(first) if line[:1] in (["a"], ["[b]"])] == [
        ["[b]", "unloaded"],
        ["a", "loading", "50%"],
    ]
    assert re.search(r"50%\s+━{7}.*starts again", first)
    assert ["[b]", "ready", "3", "312.4", "MB", "pinned"] in rows(second)
    assert "━" not in second
    assert "a failed: no tensors" in second
    assert "a has a wrong entry: models.yaml:3: no" in second
