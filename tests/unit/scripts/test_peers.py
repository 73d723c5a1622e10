"""Setting up the peers, with an environment that only remembers what it was asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llamawire_server.doctor.cpu import Cpu

AMX = Cpu("Linux", "x86_64", frozenset(["sse4_2", "avx", "avx2", "amx_int8"]))


@dataclass
class FakeEnvironment:
    path: Path
    broken: str = "none"
    """What pip can't install has this in its name."""

    versions: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[list[str], str | None]] = field(default_factory=list)

    @property
    def python(self) -> Path:
        return Path(sys.executable)

    def create(self) -> None:
        self.path.mkdir(exist_ok=True)

    def installed_version(self, distribution: str) -> str | None:
        return self.versions.get(distribution)

    def install_verbosely(
        self, arguments: Sequence[str], environment: Mapping[str, str], each_line: Callable[[str], None]
    ) -> bool:
        self.asked.append((list(arguments), environment.get("CMAKE_ARGS")))
        requirement = arguments[-1]
        if self.broken in requirement:
            each_line("error: no such compiler\n")
            return False
        name, _, version = requirement.partition("==")
        self.versions[name.partition("[")[0]] = version
        return True


@pytest.fixture
def peers() -> Any:
    return importlib.import_module("peers")


@pytest.fixture
def environment(tmp_path: Path) -> FakeEnvironment:
    return FakeEnvironment(tmp_path / "peers")


def run(peers: Any, environment: FakeEnvironment, user_arguments: str = "", trial: str = "pass") -> list[str]:
    """Set two peers up."""
    wanted = tuple(peers.Peer(name, name, f"{name}==1.0", ("-c", trial)) for name in ("one", "two"))
    failures: list[str] = peers.PeerSetup(environment, AMX, user_arguments).run(wanted)
    return failures


def test_peers_are_built_as_the_library_is(peers: Any, environment: FakeEnvironment) -> None:
    assert run(peers, environment) == []
    assert [arguments for arguments, _ in environment.asked] == [["one==1.0"], ["two==1.0"]]
    (cmake_args,) = {cmake_args for _, cmake_args in environment.asked}
    assert cmake_args is not None
    assert cmake_args.startswith("-DGGML_NATIVE=OFF -DGGML_SSE42=ON")


def test_what_is_done_is_not_done_again(peers: Any, environment: FakeEnvironment) -> None:
    run(peers, environment)
    environment.asked.clear()
    assert run(peers, environment) == []
    assert environment.asked == []


def test_other_arguments_build_anew(peers: Any, environment: FakeEnvironment) -> None:
    run(peers, environment)
    environment.asked.clear()
    run(peers, environment, "-DGGML_CUDA=ON")
    options = ["--force-reinstall", "--no-cache-dir", "--no-binary"]
    assert environment.asked == [
        ([*options, name, f"{name}==1.0"], "-DGGML_CUDA=ON") for name in ("one", "two")
    ]


def test_a_peer_that_cannot_be_had_does_not_keep_the_other_away(
    peers: Any, environment: FakeEnvironment
) -> None:
    environment.broken = "one"
    (failure,) = run(peers, environment)
    assert failure.startswith("one is left out: pip could not install it\nerror: no such compiler")
    assert environment.versions == {"two": "1.0"}


def test_what_failed_is_tried_again(peers: Any, environment: FakeEnvironment) -> None:
    environment.broken = "one"
    run(peers, environment)
    environment.broken = "none"
    assert run(peers, environment) == []
    assert environment.versions == {"one": "1.0", "two": "1.0"}


def test_a_peer_that_does_not_run_is_left_out(peers: Any, environment: FakeEnvironment) -> None:
    failures = run(peers, environment, trial="raise SystemExit(1)")
    assert [failure.partition(" is left out: ")[0] for failure in failures] == ["one", "two"]


def test_the_library_is_the_same_version_as_ours(peers: Any) -> None:
    requirements = [peer.requirement for peer in peers.known_peers("0.3.99")]
    assert "llama-cpp-python[server]==0.3.99" in requirements
