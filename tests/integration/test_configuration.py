"""The configuration of a real server: what it says of mistakes, and what goes before what."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from servers import launch

COMMAND = str(Path(sys.executable).parent / "llamawire-server")

MISTAKEN = """\
grpc_address: 127.0.0.1:0
pool:
  memory_budget: 80
  max_loaded_model: 3
worker: {hang_seconds: soon}
"""

AMOUNT = (
    "--memory-budget must be a share of the machine's memory such as 80%, or an amount such as 6GiB, 6 GB or "
    "6442450944 (bytes), not 'lots'"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def run(
    home: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "HOME": str(home), **(environment or {})},
    )


def settings(home: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    """What `config` says is in force."""
    result = run(home, "config", "--json", *arguments, environment=environment)
    assert (result.returncode, result.stderr) == (0, "")
    found: dict[str, Any] = json.loads(result.stdout)
    return found["settings"]


@pytest.mark.parametrize("command", ["serve", "config"])
def test_every_mistake_is_told_with_its_place_and_what_was_meant(
    tmp_path: Path, file: Path, command: str
) -> None:
    file.write_text(MISTAKEN)
    arguments = (command, "--config", str(file), "--memory-budget", "lots")
    result = run(tmp_path, *arguments, environment={"LLAMAWIRE_DRAIN_SECONDS": "5m"})
    assert (result.returncode, result.stdout) == (2, "")
    place = f"llamawire-server: {file}, line"
    assert result.stderr.splitlines() == [
        f"{place} 3: pool.memory_budget must be at least 1MiB, not 80 bytes; did you mean 80%?",
        f"{place} 4: pool.max_loaded_model is not a key that is known here; did you mean 'max_loaded_models'?",
        f"{place} 5: worker.hang_seconds must be a number of seconds, not text: 'soon'",
        "llamawire-server: LLAMAWIRE_DRAIN_SECONDS must be a number of seconds, not text: '5m'",
        f"llamawire-server: {AMOUNT}",
    ]


def test_a_configuration_file_that_is_not_there(tmp_path: Path, file: Path) -> None:
    for arguments, environment in (
        (("--config", str(file)), {}),
        ((), {"LLAMAWIRE_CONFIG": str(file)}),
    ):
        result = run(tmp_path, "serve", *arguments, environment=environment)
        assert result.returncode == 2
        assert str(file) in result.stderr


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, file: Path
) -> None:
    key = "pool.max_loaded_models"
    default = {"value": None, "origin": {"layer": "default"}}
    assert settings(tmp_path)[key] == default
    file.write_text("pool:\n  max_loaded_models: 3\n")
    in_file = ("--config", str(file))
    origin = {"layer": "file", "path": str(file), "line": 2}
    assert settings(tmp_path, *in_file)[key] == {"value": 3, "origin": origin}
    variable = "LLAMAWIRE_POOL_MAX_LOADED_MODELS"
    found = settings(tmp_path, *in_file, **{variable: "4"})
    assert found[key] == {"value": 4, "origin": {"layer": "environment", "name": variable}}
    assert found["pool.room_timeout_seconds"]["origin"] == {"layer": "default"}
    found = settings(tmp_path, *in_file, "--max-loaded-models", "5", **{variable: "4"})
    assert found[key] == {"value": 5, "origin": {"layer": "command line", "name": "--max-loaded-models"}}


def test_a_server_runs_with_what_it_was_told_on_every_way(
    tmp_path: Path, tiny_model: bytes, file: Path
) -> None:
    """The file gives the models, the environment names the one to load, and the command line the addresses."""
    (tmp_path / "tiny.gguf").write_bytes(tiny_model)
    (tmp_path / "names.yaml").write_text("tiny: {path: tiny.gguf, parallel: 3}\n")
    file.write_text("models_yaml: names.yaml\ngrpc_address: 203.0.113.1:1\npreload: [none]\n")
    environment = {"LLAMAWIRE_PRELOAD": "tiny", "LLAMAWIRE_CONFIG": str(file)}
    with launch(tmp_path / "server.log", tmp_path, environment=environment) as server:
        assert len(server.worker_pids()) == 1
        assert server.model("tiny").facts.parallel == 3
        assert server.stop() == 0


def test_what_config_prints_is_a_configuration_file(tmp_path: Path, file: Path) -> None:
    printed = run(tmp_path, "config", "--memory-budget", "6GiB", "--model", "a=b.gguf").stdout
    file.write_text(printed)
    again = settings(tmp_path, "--config", str(file))
    assert again["pool.memory_budget"]["value"] == "6GiB"
    assert {given["origin"]["layer"] for given in again.values()} == {"file"}
    reprinted = run(tmp_path, "config", "--config", str(file)).stdout

    def without_comments(text: str) -> list[str]:
        return [line.split("  #")[0] for line in text.splitlines() if not line.lstrip().startswith("#")]

    assert without_comments(reprinted) == without_comments(printed)
