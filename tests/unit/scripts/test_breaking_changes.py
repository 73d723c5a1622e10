"""Which commit the contract is compared with, in a repository made for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROTO = 'syntax = "proto3";\n\npackage small.v1;\n\nmessage Small {\n  int32 a = 1;\n  int32 b = 2;\n}\n'
BROKEN = PROTO.replace("  int32 b = 2;\n", "")
GROWN = PROTO.replace("  int32 b = 2;\n", "  int32 b = 2;\n  int32 c = 3;\n")


class Repository:
    def __init__(self, root: Path, script: Path) -> None:
        self.root = root
        self.proto = root / "proto" / "small" / "v1" / "small.proto"
        (root / "scripts").mkdir(parents=True, exist_ok=True)
        shutil.copy(script, root / "scripts")

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=self.root, check=True, capture_output=True)

    def write(self, proto: str) -> None:
        self.proto.parent.mkdir(parents=True, exist_ok=True)
        self.proto.write_text(proto)
        (self.root / "proto" / "buf.yaml").write_text("version: v2\nbreaking:\n  use:\n    - FILE\n")

    def commit(self, proto: str | None) -> None:
        if proto is not None:
            self.write(proto)
        self.git("add", ".")
        self.git("commit", "--quiet", "--allow-empty", "--message", "A commit")

    def check(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "scripts/breaking.py"]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)


@pytest.fixture
def repository(tmp_path: Path, scripts_on_path: Path) -> Repository:
    repository = Repository(tmp_path / "repository", scripts_on_path / "breaking.py")
    repository.git("init", "--quiet")
    return repository


def test_the_first_contract_breaks_nothing(repository: Repository) -> None:
    repository.commit(None)
    repository.write(PROTO)
    assert "no earlier contract" in repository.check().stdout
    repository.commit(None)
    assert "no earlier contract" in repository.check().stdout


def test_a_repository_without_commits_passes(repository: Repository) -> None:
    repository.write(PROTO)
    assert repository.check().returncode == 0


def test_what_is_not_committed_is_compared_with_the_last_commit(repository: Repository) -> None:
    repository.commit(PROTO)
    repository.write(BROKEN)
    child = repository.check()
    assert child.returncode != 0
    assert 'field "2"' in child.stdout


def test_what_is_committed_is_compared_with_the_commit_before(repository: Repository) -> None:
    repository.commit(PROTO)
    repository.commit(BROKEN)
    child = repository.check()
    assert child.returncode != 0
    assert 'field "2"' in child.stdout


@pytest.mark.parametrize("is_committed", [False, True])
def test_growth_breaks_nothing(repository: Repository, is_committed: bool) -> None:
    repository.commit(PROTO)
    repository.write(GROWN)
    if is_committed:
        repository.commit(None)
    child = repository.check()
    assert child.returncode == 0, child.stdout + child.stderr
    assert ("since HEAD~1" if is_committed else "since HEAD\n") in child.stdout


def test_a_shallow_clone_has_nothing_to_compare_with(
    repository: Repository, tmp_path: Path, scripts_on_path: Path
) -> None:
    repository.commit(PROTO)
    repository.commit(BROKEN)
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.root}", str(tmp_path / "clone"))
    child = Repository(tmp_path / "clone", scripts_on_path / "breaking.py").check()
    assert child.returncode == 0, child.stdout + child.stderr
    assert "no earlier contract" in child.stdout
