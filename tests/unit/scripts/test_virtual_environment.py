"""Environments and pip, played by shell scripts."""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def module() -> Any:
    return importlib.import_module("virtual_environment")


def with_python(environment: Any, script: str) -> Any:
    """Put a shell script in the place of the environment's Python."""
    environment.python.parent.mkdir(parents=True, exist_ok=True)
    environment.python.write_text(f"#!/bin/sh\n{script}\n")
    environment.python.chmod(0o755)
    return environment


def wait_for_end(pid: int) -> bool:
    """Whether a process that is not this one's child ends soon: one that was killed may take a moment."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_a_folder_that_is_no_environment_is_left_alone(module: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(module.SetupError, match="not a virtual environment"):
        module.VirtualEnvironment(tmp_path).create()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_environment_with_a_pip_that_works_is_kept(module: Any, tmp_path: Path) -> None:
    environment = with_python(module.VirtualEnvironment(tmp_path / "venv"), "exit 0")
    environment.create()
    assert environment.python.read_text() == "#!/bin/sh\nexit 0\n"


def test_an_environment_that_lost_its_python_is_made_anew(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(module, "run", commands.append)
    environment = module.VirtualEnvironment(tmp_path)
    (tmp_path / "pyvenv.cfg").touch()
    environment.python.parent.mkdir()
    environment.python.symlink_to(tmp_path / "gone")
    environment.create()
    assert [command[1:] for command in commands] == [["-m", "venv", "--clear", str(tmp_path)]]


def test_every_line_of_pips_is_given_on(module: Any, tmp_path: Path) -> None:
    environment = with_python(
        module.VirtualEnvironment(tmp_path), 'echo "$FLAGS"; echo oh >&2; shift 4; echo "$@"'
    )
    lines: list[str] = []
    assert environment.install_verbosely(["thing"], {**os.environ, "FLAGS": "-O2"}, lines.append)
    assert lines[:2] == ["-O2\n", "oh\n"]
    assert lines[2].split()[-1] == "thing"


def test_pips_failure_is_told(module: Any, tmp_path: Path) -> None:
    environment = with_python(module.VirtualEnvironment(tmp_path), "exit 3")
    assert not environment.install_verbosely(["thing"], os.environ, lambda _line: None)
    with pytest.raises(module.SetupError, match="could not install thing"):
        environment.install("thing")


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_an_interrupt_ends_the_compilers_too(module: Any, tmp_path: Path) -> None:
    environment = with_python(module.VirtualEnvironment(tmp_path), 'sleep 600 & echo "$!"; wait')
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        environment.install_verbosely(["thing"], os.environ, interrupt)
    assert wait_for_end(pids[0])


def test_versions_are_those_of_the_environment_not_of_this_process(module: Any, tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.12" / "site-packages"
    info = packages / "llama_cpp_python-0.3.99.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: 0.3.99\n")
    environment = module.VirtualEnvironment(tmp_path)
    assert environment.installed_version("llama-cpp-python") == "0.3.99"
    assert environment.installed_version("pytest") is None


def test_a_wheel_is_forgotten_by_its_own_name_and_version(module: Any, tmp_path: Path) -> None:
    environment = with_python(module.VirtualEnvironment(tmp_path), f'echo "$@" > {tmp_path}/called; exit 1')
    environment.forget_wheel("llama-cpp-python", "0.3.36")
    assert (tmp_path / "called").read_text() == "-m pip cache remove llama_cpp_python-0.3.36\n"
