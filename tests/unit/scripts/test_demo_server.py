"""The demo's handling of its server, played by shell scripts."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def demo() -> Any:
    return importlib.import_module("demo")


@pytest.fixture
def serve_with(demo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a shell script in the server's place; gives a folder for what it writes."""

    def put(script: str) -> Path:
        path = tmp_path / "llamawire-server"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(demo, "SERVER", path)
        return tmp_path

    return put


def test_a_server_that_is_ready_is_used_and_then_ended_gently(
    demo: Any, serve_with: Callable[[str], Path]
) -> None:
    folder = serve_with(
        'cd "$(dirname "$0")"; trap "touch drained; exit 0" TERM\n'
        "echo starting\n"
        "echo llamawire-server ready grpc=127.0.0.1:1 http=127.0.0.1:2\n"
        "while :; do sleep 0.01; done"
    )
    with demo.running_server() as addresses:
        assert addresses == demo.Addresses("127.0.0.1:1", "127.0.0.1:2")
    assert (folder / "drained").exists()


def test_a_server_that_ends_early_is_explained_by_its_log(
    demo: Any, serve_with: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    serve_with("echo the model is broken >&2; exit 3")
    assert demo.main() == 1
    said = capsys.readouterr().err
    assert "the model is broken" in said
    assert "exit status 3" in said


def test_a_server_that_is_never_ready_is_given_up(
    demo: Any, serve_with: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "READY_SECONDS", 0.2)
    serve_with("exec sleep 600")
    with pytest.raises(demo.DemoError, match="not ready"), demo.running_server():
        pass


def test_a_server_that_is_not_installed_is_said_to_be(demo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SERVER", Path("/absent/llamawire-server"))
    with pytest.raises(demo.DemoError, match="make demo"), demo.running_server():
        pass


def test_events_are_read_up_to_the_end_mark(demo: Any) -> None:
    stream = io.BytesIO(
        b': hello\n\ndata: {"n": 1}\n\nevent: x\ndata:{"n": 2}\r\n\ndata: [DONE]\n\ndata: {"n": 3}\n'
    )
    assert list(demo.server_sent_events(stream)) == [{"n": 1}, {"n": 2}]
