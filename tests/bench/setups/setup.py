"""A way to get answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.streams import Caller

BARE_LOOP = "bare loop"
GRPC = "gRPC"
HTTP = "HTTP"
LLAMA_SERVER = "llama-server"
LLAMA_CPP_PYTHON = "llama-cpp-python"

SETUPS = (BARE_LOOP, GRPC, HTTP, LLAMA_SERVER, LLAMA_CPP_PYTHON)


@dataclass(frozen=True)
class ModelSettings:
    """How every setup runs the model."""

    model_file: Path
    threads: int
    num_slots: int
    """Sequences that are generated at once."""

    kv_cache_tokens: int
    """Of all sequences together."""


@dataclass(frozen=True)
class Setup:
    """A running server, by one of its sides."""

    name: str
    call: Caller
    num_slots: int
    """How many answers it generates at once."""

    pid: int
    """The process that was started; the rest are below it."""

    worker_pid: int
    """The process that has the model in it."""
