"""llama-cpp-python's own server, which generates one answer at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.asks import MODEL
from bench.http_caller import http_caller
from bench.setups.server_process import failure, free_port, server_process, wait_for_page
from bench.setups.setup import LLAMA_CPP_PYTHON, ModelSettings, Setup


@asynccontextmanager
async def llama_cpp_python(settings: ModelSettings, folder: Path, python: Path) -> AsyncIterator[list[Setup]]:
    """The server on a free port; `python` is that of the peers' environment. Raises StartError."""
    port = free_port()
    threads = str(settings.threads)
    command: list[str | Path] = [python, "-m", "llama_cpp.server", "--model", settings.model_file]
    command += ["--model_alias", MODEL, "--host", "127.0.0.1", "--port", str(port), "--verbose", "false"]
    command += ["--n_threads", threads, "--n_threads_batch", threads]
    command += ["--n_ctx", str(settings.kv_cache_tokens)]
    # By default a new request ends the one that is being answered.
    command += ["--interrupt_requests", "false"]
    log_file = folder / "llama-cpp-python.log"
    with server_process(command, log_file) as process:
        if not wait_for_page(process, port, "/v1/models"):
            raise failure("llama-cpp-python's server", log_file)
        yield [Setup(LLAMA_CPP_PYTHON, http_caller("127.0.0.1", port), 1, process.pid, process.pid)]
