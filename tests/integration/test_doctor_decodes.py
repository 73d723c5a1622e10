"""The doctor on this very machine, with the bundled model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_encoder import WIDTH, write_encoder


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llamawire_server.cli", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_bundled_model_decodes() -> None:
    child = doctor()
    assert child.returncode == 0, child.stdout + child.stderr
    assert "  ok    llama.cpp uses" in child.stdout
    assert "8 tokens in" in child.stdout
    assert "Paris" in child.stdout


def test_an_encoder_is_tried_too(tmp_path: Path) -> None:
    write_encoder(tmp_path / "encoder.gguf", None)
    child = doctor("--model", str(tmp_path / "encoder.gguf"))
    assert child.returncode == 0, child.stdout + child.stderr
    assert f"vectors of {WIDTH} numbers" in child.stdout


def test_a_file_that_is_no_model_is_told_apart_from_a_broken_build(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(64))
    child = doctor("--model", str(broken))
    assert child.returncode == 1
    assert f"  FAIL  decode            llama.cpp could not load {broken}" in child.stdout
    assert "pip install" not in child.stdout


@pytest.mark.parametrize("arguments", [[], ["a", "b"]])
def test_the_probe_takes_one_model(arguments: list[str]) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "llamawire_server.engine.probe", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 2
    assert "usage:" in child.stderr
