"""A virtual environment: making one, and running pip in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# How long pip may take to clean up when the set-up is interrupted.
INTERRUPT_SECONDS = 10.0

_PIP_OPTIONS = ("--disable-pip-version-check",)


class SetupError(Exception):
    """The set-up can't go on; the text tells the user why, and what to do."""


class VirtualEnvironment:
    """The environment at `path`, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.python = path / "bin" / "python"

    def create(self) -> None:
        """Make the environment unless it is there and has a pip that works. Raises SetupError."""
        if self._has_pip():
            return
        if self.path.exists() and any(self.path.iterdir()) and not (self.path / "pyvenv.cfg").exists():
            raise SetupError(f"{self.path} is in the way: it is not a virtual environment")
        print(f"making {self.path} with {sys.executable}")
        try:
            # Cleared: what is there was interrupted while it was made, or lost its Python.
            run([sys.executable, "-m", "venv", "--clear", str(self.path)])
        except subprocess.CalledProcessError as error:
            raise SetupError(
                f"{sys.executable} can't make virtual environments; on Debian and Ubuntu, install python3-venv"
            ) from error

    def site_packages(self) -> list[str]:
        """The folders that packages are installed into."""
        return [str(folder) for folder in self.path.glob("lib/python*/site-packages")]

    def installed_version(self, distribution: str) -> str | None:
        """The version of an installed distribution; None where it is not installed."""
        # Not at the top: a Python too old for llamawire, which is to be told so, is too old for this as well.
        from importlib.metadata import distributions

        for found in distributions(name=distribution, path=self.site_packages()):
            return found.version
        return None

    def install(self, *arguments: str) -> None:
        """Run `pip install`, quietly unless it fails. Raises SetupError."""
        try:
            run([str(self.python), "-m", "pip", "install", "--quiet", *_PIP_OPTIONS, *arguments])
        except subprocess.CalledProcessError as error:
            raise SetupError(f"pip could not install {' '.join(arguments)}: see above") from error

    def install_verbosely(
        self, arguments: Sequence[str], environment: Mapping[str, str], each_line: Callable[[str], None]
    ) -> bool:
        """Run `pip install -v`, giving every line of output to `each_line`. Returns whether it succeeded."""
        command = [str(self.python), "-m", "pip", "install", "-v", *_PIP_OPTIONS, *arguments]
        with _started(
            command,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None  # for the type checker: it is a pipe
            for line in process.stdout:
                each_line(line)
            return process.wait() == 0

    def forget_wheel(self, distribution: str, version: str) -> None:
        """Take the wheels of this version that pip built out of its cache, so that it builds a new one."""
        name = distribution.replace("-", "_")
        subprocess.run(
            [str(self.python), "-m", "pip", "cache", "remove", f"{name}-{version}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,  # it fails where there is no cache, or no such wheel
        )

    def _has_pip(self) -> bool:
        try:
            subprocess.run([str(self.python), "-m", "pip", "--version"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return False
        return True


def run(command: Sequence[str]) -> None:
    """Run a command to its end. Raises CalledProcessError where it fails."""
    with _started(command) as process:
        status = process.wait()
    if status != 0:
        raise subprocess.CalledProcessError(status, command)


@contextmanager
def _started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A child that is ended, with all the compilers it may have started, when this process is interrupted."""
    with subprocess.Popen(command, start_new_session=True, **options) as process:
        try:
            yield process
        except BaseException:
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGINT)  # pip cleans up after itself on this one only
                process.wait(INTERRUPT_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
