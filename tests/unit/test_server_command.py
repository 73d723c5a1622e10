"""`llamawire-server`: what its options come to."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from llamawire_server import app, cli
from llamawire_server.app import ModelServer, ShimServer
from llamawire_server.config import MemoryAmount, ModelSources, PoolSettings, ServerConfig
from llamawire_server.configuration import layers
from llamawire_server.errors import model_not_found
from llamawire_server.models import resolver

CHAT = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the user of this machine configured is not in force."""
    monkeypatch.setattr(layers, "USUAL_FILE", tmp_path / "none.yaml")
    for name in os.environ:
        if name.startswith("LLAMAWIRE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration file."""
    path = tmp_path / "config.yaml"
    path.write_text("pool:\n  memory_budget: 3GiB\n")
    return path


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


def configured(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> ServerConfig:
    """The configuration that a command line would run a server with."""
    monkeypatch.setattr(app, "ModelServer", lambda config: config)
    config = served(monkeypatch, *arguments)
    assert isinstance(config, ServerConfig)
    return config


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


async def test_pages_may_call_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    origins = ["--allow-origin", "https://a.example", "--allow-origin", "https://b.example"]
    arguments = ["shim", "--target", "127.0.0.1:1", "--http", "127.0.0.1:0", *origins]
    program: ShimServer = await asyncio.to_thread(served, monkeypatch, *arguments)
    try:
        address = (await program.start_up()).rpartition("http=")[2]
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
            asked = {"origin": "https://b.example", "access-control-request-method": "POST"}
            response = await http.options(CHAT, headers=asked)
    finally:
        await program.shut_down()
    assert response.headers["access-control-allow-origin"] == "https://b.example"


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
    assert configured(monkeypatch, "serve").sources == ModelSources()
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


class TestConfig:
    """`llamawire-server config`, and what `serve` makes of the same."""

    def test_it_shows_what_is_in_force(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["config", "--config", str(file), "--max-loaded-models", "2"]) == 0
        out, err = capsys.readouterr()
        assert "  memory_budget: 3GiB  # config.yaml, line 2; 3.0 GiB here\n" in out
        assert "  max_loaded_models: 2  # command line --max-loaded-models\n" in out
        assert "drain_seconds: 30  # default\n" in out
        assert err == ""

    def test_it_shows_the_same_to_programs(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["config", "--config", str(file), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["file"] == str(file)
        assert report["settings"]["pool.memory_budget"]["value"] == "3GiB"

    def test_what_it_shows_is_a_file_that_serves_the_same(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cli.main(["config", "--config", str(file), "--no-http", "--model", "a=a.gguf"])
        copy = tmp_path / "copy.yaml"
        copy.write_text(capsys.readouterr().out)
        config = configured(monkeypatch, "serve", "--config", str(copy))
        assert config.pool.memory_budget == MemoryAmount(size_bytes=3 * 2**30)
        assert config.http_address is None
        assert config.sources.named == (("a", Path("a.gguf").absolute()),)

    @pytest.mark.parametrize("command", [["config"], ["serve"], ["shim", "--target", "a:1"]])
    def test_every_mistake_is_told(
        self,
        monkeypatch: pytest.MonkeyPatch,
        file: Path,
        capsys: pytest.CaptureFixture[str],
        command: list[str],
    ) -> None:
        monkeypatch.setenv("LLAMAWIRE_WORKER_MAX_RESTARTS", "many")
        file.write_text("pool:\n  max_loaded_model: 3\n  memory_budget: lots\n")
        assert cli.main([*command, "--config", str(file), "--http", "nonsense"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        first, second, third, fourth = err.splitlines()
        assert first == (
            f"llamawire-server: {file}, line 2: pool.max_loaded_model is not a key that is known here; "
            "did you mean 'max_loaded_models'?"
        )
        assert second.startswith(f"llamawire-server: {file}, line 3: pool.memory_budget must be a share of ")
        assert third.startswith("llamawire-server: LLAMAWIRE_WORKER_MAX_RESTARTS must be a whole number")
        assert fourth.startswith("llamawire-server: --http must be of the form HOST:PORT")

    def test_a_misspelt_variable_is_warned_about(
        self, monkeypatch: pytest.MonkeyPatch, file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("LLAMAWIRE_DRAIN_SECOND", "3")
        assert cli.main(["config", "--config", str(file)]) == 0
        assert capsys.readouterr().err == (
            "llamawire-server: LLAMAWIRE_DRAIN_SECOND sets nothing; did you mean LLAMAWIRE_DRAIN_SECONDS?\n"
        )


def test_a_server_has_what_its_file_its_environment_and_its_options_say(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setenv("LLAMAWIRE_PRELOAD", "a,b")
    arguments = ["serve", "--config", str(file), "--drain-seconds", "1", "--log-level", "ERROR"]
    assert configured(monkeypatch, *arguments) == ServerConfig(
        pool=PoolSettings(memory_budget=MemoryAmount(size_bytes=3 * 2**30)),
        preload=("a", "b"),
        drain_seconds=1.0,
        log_level="ERROR",
    )
    assert os.environ["LLAMAWIRE_LOG_LEVEL"] == "ERROR"  # as workers are to log


def test_the_shim_has_them_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("http_address: 127.0.0.1:0\ndrain_seconds: 2\n")
    monkeypatch.setenv("LLAMAWIRE_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.setenv("LLAMAWIRE_ALLOW_UNKNOWN_FIELDS", "1")
    shim = served(monkeypatch, "shim", "--target", "127.0.0.1:1", "--allow-origin", "*")
    assert isinstance(shim, ShimServer)
    assert shim._http_address == "127.0.0.1:0"
    assert shim._config == ServerConfig(
        http_address="127.0.0.1:0", drain_seconds=2.0, allow_unknown_fields=True, allowed_origins=("*",)
    )


def test_a_shim_without_an_address_has_nothing_to_serve(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLAMAWIRE_HTTP_ADDRESS", "none")
    monkeypatch.setenv("LLAMAWIRE_LOG_LEVEL", "INFO")
    assert cli.main(["shim", "--target", "127.0.0.1:1"]) == 1
    assert "http_address is null" in capsys.readouterr().err


def test_the_doctor_looks_for_a_model_where_the_server_would(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class FakeResolver:
        def __init__(self, sources: ModelSources) -> None:
            self._files = dict(sources.named)

        def resolve(self, name: str) -> SimpleNamespace:
            if name not in self._files:
                raise model_not_found(name)
            return SimpleNamespace(path=self._files[name])

    monkeypatch.setattr(resolver, "Resolver", FakeResolver)
    (tmp_path / "config.yaml").write_text("models: {mine: a.gguf}\n")
    assert cli._resolve_file("mine", tmp_path / "config.yaml") == tmp_path / "a.gguf"
    assert cli._resolve_file("other", tmp_path / "config.yaml") is None


def test_the_doctor_says_that_the_configuration_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("pol: 3\n")
    assert cli.main(["doctor", "--model", "no-such-model", "--config", str(tmp_path / "config.yaml")]) == 1
    assert "line 1: pol is not a key that is known here; did you mean 'pool'?" in capsys.readouterr().out


def test_help_needs_nothing_that_takes_long() -> None:
    code = (
        "import contextlib, io, json, sys\n"
        "from llamawire_server import cli\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    cli.main(['serve', '--help'])\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {name.partition(".")[0] for name in json.loads(result.stdout)}
    assert "llamawire_server" in packages
    assert packages.isdisjoint({"yaml", "grpc", "fastapi", "pydantic", "msgspec", "numpy", "llama_cpp"})
