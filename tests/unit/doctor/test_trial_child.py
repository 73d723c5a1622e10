"""Running the probe in a child process; the children here are shell scripts that end as a broken probe would."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from llamawire_server.doctor.trial import Trial, run_trial

Interpreter = Callable[[str], Path]
MODEL = Path("/models/tiny.gguf")


@pytest.fixture
def interpreter(tmp_path: Path) -> Interpreter:
    """Makes a stand-in for Python that runs a shell script instead."""

    def make(script: str) -> Path:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


def test_the_probe_is_run_as_a_module_on_the_model(interpreter: Interpreter) -> None:
    trial = run_trial(interpreter('echo "$@"; echo "$GGML_NO_BACKTRACE" >&2'), MODEL)
    assert trial.stdout.split() == ["-m", "llamawire_server.engine.probe", str(MODEL)]
    assert trial.stderr == "1\n"


def test_success_needs_the_word_of_the_probe(interpreter: Interpreter) -> None:
    assert run_trial(interpreter("""echo '{"event": "decoded"}'"""), MODEL).succeeded
    assert not run_trial(interpreter("true"), MODEL).succeeded
    assert not run_trial(interpreter("""echo '{"event": "decoded"}'; exit 1"""), MODEL).succeeded


def test_a_signal_is_seen_with_what_was_said_before(interpreter: Interpreter) -> None:
    script = """echo '{"event": "library", "system_info": "CPU : AVX = 1"}'; echo oh >&2; kill -ILL $$"""
    trial = run_trial(interpreter(script), MODEL)
    assert trial.exit_code == -signal.SIGILL
    assert trial.system_info == "CPU : AVX = 1"
    assert trial.last_lines() == ["oh"]
    assert not trial.succeeded


def test_a_child_that_hangs_is_ended(interpreter: Interpreter) -> None:
    trial = run_trial(interpreter("exec sleep 600"), MODEL, timeout_seconds=0.2)
    assert trial.exit_code is None
    assert not trial.succeeded


def test_an_interpreter_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run_trial(tmp_path / "absent", MODEL)


def test_output_of_others_between_the_events_is_passed_over() -> None:
    trial = Trial(0, 'loading\n["event"]\n{"event": "library"}\n{"event": "decoded", "text": "hi"}\n', "")
    assert trial.event("decoded") == {"event": "decoded", "text": "hi"}
    assert trial.event("failed") is None
