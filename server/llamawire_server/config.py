"""Settings of the server and of one model, as small frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


def _home() -> Path:
    """llamawire's folder of the user, unexpanded where there is no such user, as in many containers."""
    home = Path("~/.llamawire")
    try:
        return home.expanduser()
    except RuntimeError:
        return home


HOME = _home()


@dataclass(frozen=True)
class SamplingDefaults:
    """What a request's sampling fields are where it leaves them out. An explicit 0 is not left out."""

    temperature: float = 1.0
    top_p: float = 0.95
    top_k: int = 64
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repeat_penalty: float = 1.0
    max_tokens: int = 2048


@dataclass(frozen=True)
class ModelSettings:
    """How one model is to be loaded and run: the part of a models.yaml entry beside its path and aliases."""

    context_length: int | None = None
    """The most tokens of one sequence, prompt included. None: as trained, at most 8,192."""

    parallel: int = 8
    """How many sequences are generated at once; more wait in line. [1, 256]"""

    kv_cache_tokens: int | None = None
    """Room of the KV cache that all sequences share, in tokens. None: two full contexts."""

    threads: int | None = None
    """Threads that compute, at most: fewer while other programs need the cores. None: one for each usable core."""

    gpu_layers: int = -1
    """Layers to keep on a GPU, where llama.cpp was built for one. -1: all."""

    chat_template: str | None = None
    """A Jinja template, or a path to one, in place of the GGUF's own."""

    reasoning_format: str | None = None
    """How the model marks its reasoning. Read and kept; reasoning is not told apart from the answer yet."""

    keep_alive: float | None = None
    """Seconds that the model stays loaded when idle. None: for ever; 0: not at all; negative: for ever."""

    defaults: SamplingDefaults = field(default_factory=SamplingDefaults)
    """What a request's sampling fields are where it leaves them out."""


@dataclass(frozen=True)
class ModelSources:
    """Where models come from."""

    models_yaml: Path = HOME / "models.yaml"
    """Names and their files. It need not exist."""

    models_dir: Path = HOME / "models"
    """A folder of GGUF files, searched with its subfolders. It need not exist."""

    named: tuple[tuple[str, Path], ...] = ()
    """Names and files given on the command line; they come before models.yaml's."""


@dataclass(frozen=True)
class PoolSettings:
    """How many models may be loaded, and how much work may wait at one."""

    max_loaded_models: int = 4
    """The least recently used model without a lease makes room for the next one."""

    max_queued_requests: int = 256
    """Requests that may wait at one model beyond the ones being answered."""

    load_timeout_seconds: float = 600.0
    """How long a worker may take to load its model."""


@dataclass(frozen=True)
class ServerConfig:
    """All that `llamawire-server serve` is told."""

    grpc_address: str = "127.0.0.1:50051"
    """HOST:PORT; port 0 takes a free one."""

    http_address: str | None = "127.0.0.1:8080"
    """HOST:PORT of the HTTP side; None: there is none."""

    sources: ModelSources = field(default_factory=ModelSources)
    pool: PoolSettings = field(default_factory=PoolSettings)

    preload: tuple[str, ...] = ()
    """Names of models to load before the server says that it is ready."""

    max_message_bytes: int = 16 * 1024 * 1024
    """The largest request, on either side."""

    allow_unknown_fields: bool = False
    """Whether HTTP requests may have fields that neither OpenAI nor llamawire knows; they are ignored."""

    drain_seconds: float = 30.0
    """How long running requests may take to finish after SIGTERM."""
