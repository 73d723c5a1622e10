"""OpenAI's own SDK for Node against the real server: tests/clients/node."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from callers import wait_until
from servers import RunningServer

FOLDER = Path(__file__).parents[1] / "clients" / "node"
PATIENCE_SECONDS = 300


@pytest.fixture(scope="session")
def modules() -> Path:
    """A folder with the SDK in it, in its pinned version: installed once for all runs, outside of the repository."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    manifests = [FOLDER / name for name in ("package.json", "package-lock.json")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in manifests)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llamawire-tests" / "node"
    folder = cache / digest
    if not folder.exists():
        draft = cache / f"{digest}.{os.getpid()}"
        draft.mkdir(parents=True)
        for path in manifests:
            shutil.copy(path, draft)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        installed = subprocess.run(
            command, cwd=draft, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
        if installed.returncode != 0:
            shutil.rmtree(draft)
            pytest.fail(f"npm could not install the SDK: {installed.stderr[-2000:]}")
        try:
            draft.rename(folder)
        except OSError:  # another run was faster
            shutil.rmtree(draft)
    return folder


def test_openai_s_sdk_for_node(server: RunningServer, modules: Path) -> None:
    result = subprocess.run(
        ["node", "--test", "--test-reporter=tap", str(FOLDER / "chat.test.mjs")],
        env={**os.environ, "LLAMAWIRE_BASE_URL": server.base_url, "LLAMAWIRE_MODULES": str(modules)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    passed = re.search(r"^# pass (\d+)$", result.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) > 0, "there were tests"
    wait_until(lambda: server.model().active_requests == 0)
