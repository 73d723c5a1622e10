"""The demo as `make demo` runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[2] / "scripts" / "demo.py"


def test_both_ways_give_the_same_answer() -> None:
    child = subprocess.run([sys.executable, str(DEMO)], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stdout + child.stderr
    answers = [line for line in child.stdout.splitlines() if "Paris" in line]
    assert len(answers) == 2
    assert answers[0] == answers[1]
