"""`llamawire-server doctor`: a checklist of this machine and this build, and a decode that really runs."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from llamawire_server.doctor.cpu import this_cpu
from llamawire_server.doctor.diagnosis import Circumstances, diagnose
from llamawire_server.doctor.model_file import BUNDLED_PACKAGE, NoModelError, find_model
from llamawire_server.doctor.trial import run_trial
from llamawire_server.machine import memory, usable_cores
from llamawire_server.models.bundled import BUNDLED_NAME

_MEBIBYTE = 1024**2
_GIBIBYTE = 1024**3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--model",
        metavar="NAME_OR_PATH",
        default=BUNDLED_NAME,
        help=f"the model to decode with (default: %(default)s, from the package {BUNDLED_PACKAGE})",
    )


def main(arguments: argparse.Namespace, resolve: Callable[[str], Path | None] | None = None) -> int:
    """Run the command. Returns its exit status: 0 where everything works, 1 where something doesn't.

    `resolve` gives the file of a model that is asked for by name; None from it means that there is none.
    """
    return run(arguments.model, sys.stdout, resolve)


def run(model: str, out: TextIO, resolve: Callable[[str], Path | None] | None = None) -> int:
    """Check everything, writing the checklist to `out`. Returns the exit status."""
    checklist = Checklist(out)
    _check_machine(checklist)
    library_version = _check_packages(checklist)
    try:
        path = find_model(model, resolve)
    except NoModelError as error:
        checklist.failed("model", str(error))
    else:
        checklist.passed("model", f"{path} ({path.stat().st_size / _MEBIBYTE:,.0f} MiB)")
        _check_decoding(checklist, path, library_version)
    return checklist.exit_status


class Checklist:
    """Writes what was checked, a line each, and remembers whether anything failed."""

    def __init__(self, out: TextIO) -> None:
        self.exit_status = 0
        self._out = out

    def passed(self, subject: str, finding: str) -> None:
        """A check that found nothing wrong."""
        self._write("ok", subject, finding)

    def failed(self, subject: str, finding: str) -> None:
        """A check that found something to mend."""
        self.exit_status = 1
        self._write("FAIL", subject, finding)

    def explain(self, *lines: str) -> None:
        """Why the last check failed, and what to do about it."""
        for line in lines:
            print(f"        {line}", file=self._out)

    def _write(self, mark: str, subject: str, finding: str) -> None:
        print(f"  {mark:<4}  {subject:<17} {finding}", file=self._out, flush=True)


def _check_machine(checklist: Checklist) -> None:
    checklist.passed("python", f"{platform.python_version()} ({sys.executable})")
    checklist.passed("platform", platform.platform())
    checklist.passed("cores", f"{usable_cores()} of {os.cpu_count()}")
    room = memory()
    if room is not None:
        group = ", limited by a control group" if room.is_limited else ""
        checklist.passed(
            "memory",
            f"{room.available_bytes / _GIBIBYTE:.1f} GiB available of {room.total_bytes / _GIBIBYTE:.1f}{group}",
        )


def _check_packages(checklist: Checklist) -> str | None:
    """Returns llama-cpp-python's version."""
    for name in ("grpcio", "protobuf"):
        installed = _version(name)
        if installed is None:
            checklist.failed(name, "not installed")
        else:
            checklist.passed(name, installed)
    library_version = _version("llama-cpp-python")
    if library_version is not None:
        spec = find_spec("llama_cpp")
        folder = Path(spec.origin).parent / "lib" if spec and spec.origin else None
        checklist.passed("llama-cpp-python", f"{library_version} ({folder or 'its files are missing'})")
    return library_version


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _check_decoding(checklist: Checklist, model: Path, library_version: str | None) -> None:
    trial = run_trial(Path(sys.executable), model)
    if trial.system_info is not None:
        features = re.findall(r"(\w+) = (\w+)", trial.system_info)
        names = (name if value == "1" else f"{name}={value}" for name, value in features)
        checklist.passed("llama.cpp uses", " ".join(names))
    if trial.succeeded:
        decoded = trial.event("decoded") or {}
        finding = f"{decoded.get('num_tokens')} tokens in {decoded.get('seconds')} s: {decoded.get('text')!r}"
        checklist.passed("decode", finding)
        return
    room = memory()
    diagnosis = diagnose(
        trial,
        Circumstances(
            cpu=this_cpu(),
            python=Path(sys.executable),
            library_version=library_version,
            model=model,
            available_memory_bytes=room.available_bytes if room else None,
            user_arguments=os.environ.get("CMAKE_ARGS"),
        ),
    )
    checklist.failed("decode", diagnosis.symptom)
    checklist.explain(*diagnosis.lines())
