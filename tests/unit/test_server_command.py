"""`llamawire-server`: what its options come to."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from llamawire_server import app, cli
from llamawire_server.app import ModelServer, ShimServer
from llamawire_server.config import ModelSources, ServerConfig

CHAT = "/v1/chat/completions"


def served(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """The program that a command line would run."""
    programs: list[Any] = []

    async def run(program: Any) -> None:
        programs.append(program)

    monkeypatch.setattr(app, "run", run)
    monkeypatch.setenv("LLAMAWIRE_LOG_LEVEL", "INFO")  # which the command sets: it is put back
    assert cli.main(arguments) == 0
    (program,) = programs
    return program


@pytest.mark.parametrize("command", [["serve"], ["shim", "--target", "127.0.0.1:1"]], ids=["serve", "shim"])
@pytest.mark.parametrize("allowed", [False, True])
async def test_unknown_fields_are_let_pass_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str], allowed: bool
) -> None:
    (tmp_path / "models.yaml").touch()
    arguments = [*command, "--http", "127.0.0.1:0"]
    if command == ["serve"]:
        arguments += ["--grpc", "127.0.0.1:0", "--models-dir", str(tmp_path)]
        arguments += ["--models-yaml", str(tmp_path / "models.yaml")]
    if allowed:
        arguments.append("--allow-unknown-fields")
    # The command has a loop of its own, so it is another thread's.
    program: ModelServer | ShimServer = await asyncio.to_thread(served, monkeypatch, *arguments)
    try:
        address = (await program.start_up()).rpartition("http=")[2]
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
            body = {"model": "none", "messages": [{"role": "user", "content": "x"}], "bogus": 1}
            response = await http.post(CHAT, json=body)
    finally:
        await program.shut_down()
    assert (response.json()["error"]["param"] == "bogus") is not allowed


@pytest.mark.parametrize("option", ["--models-yaml", "--models-dir"])
def test_models_that_are_not_where_they_are_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    path = str(tmp_path / "missing")
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", option, path])
    assert caught.value.code == 2
    assert f"argument {option}: '{path}' is no " in capsys.readouterr().err


def test_the_usual_places_need_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    program = served(monkeypatch, "serve")
    assert program._config.sources == ModelSources()
    assert not ServerConfig().allow_unknown_fields


def test_a_user_without_a_home() -> None:
    """As in a container that runs under an id that nobody has."""
    code = (
        "import pwd\n"
        "def nobody(uid):\n"
        "    raise KeyError(uid)\n"
        "pwd.getpwuid = nobody\n"
        "from llamawire_server.config import ModelSources\n"
        "print(ModelSources().models_yaml)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr) == ("~/.llamawire/models.yaml\n", "")
