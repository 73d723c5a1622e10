"""A trial decode in a child process, and what is known of how it ended."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class Trial:
    """How a run of `llamawire_server.engine.probe` ended."""

    exit_code: int | None
    """As subprocess gives it, a signal being negative. None: it was ended because it took too long."""

    stdout: str
    stderr: str

    @property
    def succeeded(self) -> bool:
        """Whether the model was loaded and decoded."""
        return self.exit_code == 0 and self.event("decoded") is not None

    @property
    def system_info(self) -> str | None:
        """llama.cpp's own words on the CPU features it was built with. None: it didn't get so far."""
        library = self.event("library")
        return None if library is None else str(library.get("system_info", ""))

    def event(self, name: str) -> Mapping[str, object] | None:
        """What the probe said under this name, if it did."""
        for line in self.stdout.splitlines():
            try:
                event = json.loads(line)
            except ValueError:  # somebody else's output
                continue
            if isinstance(event, dict) and event.get("event") == name:
                return event
        return None

    def last_lines(self, count: int = 8) -> list[str]:
        """The end of what it wrote to standard error."""
        return [line for line in self.stderr.splitlines() if line.strip()][-count:]


def run_trial(python: Path, model: Path, timeout_seconds: float = TIMEOUT_SECONDS) -> Trial:
    """Decode a few tokens with `model` in a child of the interpreter `python`.

    Raises OSError where `python` can't be run.
    """
    command = [str(python), "-m", "llamawire_server.engine.probe", str(model)]
    # A failed assertion of ggml's would otherwise start a debugger to print a backtrace.
    environment = {**os.environ, "GGML_NO_BACKTRACE": "1"}
    try:
        child = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        return Trial(None, _text(expired.stdout), _text(expired.stderr))
    return Trial(child.returncode, _text(child.stdout), _text(child.stderr))


def _text(output: bytes | None) -> str:
    return (output or b"").decode("utf-8", "replace")
