"""llamawire, by both of its sides."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio

from bench.asks import MODEL, PLAIN_MODEL
from bench.grpc_caller import grpc_caller
from bench.http_caller import http_caller
from bench.memory_use import children_of
from bench.setups.server_process import failure, server_process
from bench.setups.setup import GRPC, HTTP, ModelSettings, Setup

_WORKER = b"llamawire_server.worker.child"


@asynccontextmanager
async def llamawire_server(settings: ModelSettings, folder: Path) -> AsyncIterator[list[Setup]]:
    """The service on free ports. Raises StartError."""
    catalog = _write_catalog(settings, folder)
    command: list[str | Path] = [
        Path(sys.executable).parent / "llamawire-server",
        "serve",
        "--log-level",
        "WARNING",
    ]
    command += ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    command += ["--models-yaml", catalog, "--preload", MODEL]
    log_file = folder / "llamawire-server.log"
    with server_process(command, log_file, prints_address=True) as process:
        assert process.stdout is not None  # for the type checker: it is a pipe
        words = process.stdout.readline().split()
        if words[:2] != ["llamawire-server", "ready"]:
            raise failure("llamawire-server", log_file)
        addresses = dict(word.split("=", 1) for word in words[2:])
        host, port = addresses["http"].rsplit(":", 1)
        worker_pid = _worker_of(process.pid)
        async with grpc.aio.insecure_channel(addresses["grpc"]) as channel:
            yield [
                Setup(name, call, settings.num_slots, process.pid, worker_pid)
                for name, call in ((GRPC, grpc_caller(channel)), (HTTP, http_caller(host, int(port))))
            ]


def _write_catalog(settings: ModelSettings, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    catalog = folder / "models.yaml"
    # One file has one set of settings. The copy leaves memory before it is measured.
    plain_file = folder / f"plain-{settings.model_file.name}"
    shutil.copyfile(settings.model_file, plain_file)
    entry = (
        f"  threads: {settings.threads}\n"
        f"  parallel: {settings.num_slots}\n"
        f"  kv_cache_tokens: {settings.kv_cache_tokens}\n"
    )
    catalog.write_text(
        f"{MODEL}:\n  path: {settings.model_file}\n{entry}"
        f"{PLAIN_MODEL}:\n  path: {plain_file}\n{entry}  prompt_lookup: false\n  keep_alive: 5\n"
    )
    return catalog


def _worker_of(pid: int) -> int:
    (worker,) = (
        child for child in children_of(pid) if _WORKER in Path(f"/proc/{child}/cmdline").read_bytes()
    )
    return worker
