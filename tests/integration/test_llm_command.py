"""The `llm` command, and the library below it, with the server as one more of its models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers import RunningServer

QUESTION = "What colour is the fox?"
ANIMAL = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["fox", "wolf"]},
        "legs": {"type": "integer", "minimum": 4, "maximum": 4},
    },
    "required": ["kind", "legs"],
    "additionalProperties": False,
}


@pytest.fixture
def home(server: RunningServer, tmp_path: Path) -> Path:
    """A folder with the settings of `llm`, and the server among its models."""
    (tmp_path / "extra-openai-models.yaml").write_text(
        "- model_id: fox\n"
        "  model_name: smollm2\n"
        f"  api_base: {server.base_url}\n"
        "  supports_schema: true\n"
        "  supports_tools: true\n"
        "- model_id: story\n"
        "  model_name: smollm2\n"
        f"  api_base: {server.base_url}\n"
        "  completion: true\n"
    )
    return tmp_path


def llm(home: Path, *arguments: str) -> str:
    """What the command prints. It keeps to its own folder, and to its own models."""
    result = subprocess.run(
        [sys.executable, "-m", "llm", *arguments],
        env={**os.environ, "LLM_USER_PATH": str(home), "LLM_LOAD_PLUGINS": "", "OPENAI_API_KEY": "none"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_conversation(home: Path) -> None:
    options = ["-o", "temperature", "0", "-o", "max_tokens", "8"]
    first = llm(home, "-m", "fox", *options, QUESTION)
    second = llm(home, "--continue", "--async", "--no-stream", *options, "And the wolf?")
    assert first.strip()
    assert second.strip()
    logged = json.loads(llm(home, "logs", "--json"))
    assert [entry["response"].strip() for entry in logged] == [first.strip(), second.strip()]
    assert logged[1]["input_tokens"] > logged[0]["input_tokens"], "the first turn is a part of the second"


def test_structured_output(home: Path) -> None:
    said = llm(home, "-m", "fox", "-o", "temperature", "0", "--schema", json.dumps(ANIMAL), "An animal?")
    found = json.loads(said)
    assert found["kind"] in ("fox", "wolf")
    assert found["legs"] == 4


def test_a_completion(home: Path) -> None:
    said = llm(home, "-m", "story", "-o", "temperature", "0", "-o", "max_tokens", "8", "Once upon a time")
    assert said.strip()
