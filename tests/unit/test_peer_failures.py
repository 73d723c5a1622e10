"""What other servers of local models fail their users in, and that there are tests against each of these.

A test against one of them says so in its docstring: "Failure 5 of other servers: …".
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

# Reported against llama.cpp's server, llama-cpp-python's, Ollama, LocalAI or vLLM, or seen when they were measured.
FAILURES = {
    1: "two models, or one model that is asked for twice at once: deadlocks, double loads, evictions in use",
    2: "a request is answered with another's text after a cache or a slot was used again",
    3: "an abort, an exception of a grammar or an overflow of a context in one request ends all of them",
    4: "a caller hangs up, and the server goes on generating",
    5: "one long prompt stops every running stream",
    6: "the line has no end, and nobody looks at deadlines in it",
    7: "a running stream ends when a second request comes",
    8: "a broken tool call or a malformed history is a 500; a call that was cut says tool_calls, and not length",
    9: "at max_tokens, text that was held back for a stop string is lost, in streams only",
    10: "characters split between chunks; parallel tool calls that share index 0; streams without usage",
    11: "a JSON schema that can't be compiled is ignored, and free text comes back",
    12: "a model that fails to load blocks every later load; a health check fails while one loads",
    13: "a shared system prompt is computed once for each slot",
}


@cache
def named_failures() -> dict[int, list[str]]:
    """The tests against each failure."""
    tests: dict[int, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(), path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for number in re.findall(
                    r"^Failure (\d+) of other servers: ", ast.get_docstring(node) or "", re.M
                ):
                    tests.setdefault(int(number), []).append(f"{path.relative_to(TESTS)}::{node.name}")
    return tests


@pytest.mark.parametrize("number", FAILURES)
def test_there_is_a_test_against_each(number: int) -> None:
    assert named_failures().get(number), FAILURES[number]


def test_no_test_is_against_another() -> None:
    assert set(named_failures()) == set(FAILURES)
