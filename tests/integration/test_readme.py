"""What the README shows works as it is written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from servers import RunningServer

from llamawire_server.config import ModelSources
from llamawire_server.models.resolver import Resolver

README = Path(__file__).parents[2] / "README.md"
GRPC_ADDRESS = "127.0.0.1:50051"
HTTP_ADDRESS = "127.0.0.1:8080"


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


def at(server: RunningServer, text: str) -> str:
    """The text with the test's server in place of the default addresses."""
    return text.replace(GRPC_ADDRESS, server.grpc_address).replace(HTTP_ADDRESS, server.http_address)


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_the_python_examples_run(server: RunningServer, number: int) -> None:
    source = at(server, blocks("python")[number])
    assert server.grpc_address in source
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
    assert result.stderr == ""


def test_the_curl_example_streams(server: RunningServer) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (command,) = [block for block in blocks("sh") if "curl -N" in block]
    result = subprocess.run(
        ["sh", "-c", at(server, command)], capture_output=True, text=True, timeout=120, check=True
    )
    lines = [line for line in result.stdout.splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


def test_the_grpc_example_streams(server: RunningServer) -> None:
    if shutil.which("grpcurl") is None:
        pytest.skip("grpcurl is not installed")
    (command,) = [block for block in blocks("sh") if block.startswith("grpcurl")]
    result = subprocess.run(
        ["sh", "-c", at(server, command)], capture_output=True, text=True, timeout=120, check=True
    )
    assert '"finish_reason": "FINISH_REASON_LENGTH"' in result.stdout


def test_the_models_file_is_a_valid_one(tmp_path: Path) -> None:
    (tmp_path / "chatml.jinja").write_text("{{ messages }}")
    (tmp_path / "models.yaml").write_text(blocks("yaml")[0])
    resolver = Resolver(ModelSources(tmp_path / "models.yaml", tmp_path / "models"))
    entries = {entry.name: entry for entry in resolver.entries()}
    assert entries["small"].path.suffix == ".gguf"
    assert entries["large"].aliases == ("llama", "default")
    assert entries["large"].settings.defaults.max_tokens == 1024
    assert entries["large"].settings.chat_template == "{{ messages }}"
