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

REASONING_FORMATS = (
    "auto",
    "none",
    "think",
    "think_always",
    "channel",
    "harmony",
    "magistral",
    "granite",
    "seed",
)
"""What `reasoning_format` may be. Beside auto, it is the names of the styles that `chat.channels` has."""

POOLINGS = ("mean", "cls", "last")
"""What `pooling` may be."""


@dataclass(frozen=True)
class SamplingDefaults:
    """What a request's sampling fields are where it leaves them out. An explicit 0 is not left out."""

    temperature: float = 1.0
    """How freely tokens are drawn. 0: always the likeliest one. [0, 2]"""

    top_p: float = 0.95
    """Keep the likeliest tokens whose probabilities add up to this. 1: all. [0, 1]"""

    top_k: int = 64
    """Keep this many of the likeliest tokens. 0: all."""

    min_p: float = 0.0
    """Drop tokens less likely than this share of the likeliest one's probability. 0: none. [0, 1]"""

    frequency_penalty: float = 0.0
    """Subtracted from a token's logit for each time that it was generated. [-2, 2]"""

    presence_penalty: float = 0.0
    """Subtracted from a token's logit if it was generated. [-2, 2]"""

    repeat_penalty: float = 1.0
    """Divides the positive logits, and multiplies the negative ones, of tokens that came before. 1: off. (0, 10]"""

    max_tokens: int = 2048
    """The longest answer, in tokens."""


@dataclass(frozen=True)
class ModelSettings:
    """How one model is to be loaded and run: the part of a models.yaml entry beside its path and aliases."""

    context_length: int | None = None
    """The most tokens of one sequence, prompt included. None: as trained, at most 8,192."""

    parallel: int = 8
    """How many sequences are generated at once; more wait in line. [1, 256]"""

    kv_cache_tokens: int | None = None
    """Room of the KV cache that all sequences share, in tokens. None: two full contexts."""

    token_interval_seconds: float = 0.2
    """What a step is to last at most, about, while others' prompts are computed beside running streams: what they
    wait for their next token. Up to eight times as long where fewer tokens are not worth a step: 128 of a long
    prompt, 64 of another. [0.001, 60]"""

    max_queued_tokens: int = 1_000_000
    """Prompt tokens that may wait at the model; more is refused."""

    prompt_cache: bool = True
    """Whether what was computed is kept for later requests that begin alike."""

    prompt_cache_tokens: int | None = None
    """Tokens of it that are kept beside the KV cache, in main memory. None: an eighth of `kv_cache_tokens`."""

    prompt_lookup: bool = True
    """Whether text that repeats the prompt is guessed from it, a few tokens at once; costs nothing where it doesn't
    pay."""

    draft_model: Path | None = None
    """A small model of the same vocabulary that guesses ahead: its GGUF file. None: there is none."""

    threads: int | None = None
    """Threads that compute, at most: fewer while other programs need the cores. None: one for each usable core."""

    gpu_layers: int = -1
    """Layers to keep on a GPU, where llama.cpp was built for one. -1: all."""

    chat_template: str | None = None
    """A Jinja template, or a path to one, in place of the GGUF's own."""

    reasoning_format: str | None = None
    """How the model marks its reasoning: a style of docs/reasoning.md, none, or auto. None: auto, as the chat
    template says."""

    pooling: str | None = None
    """What of an input's tokens makes its embedding: mean, cls (the first one) or last. None: as the GGUF says, and
    the mean where it says nothing."""

    keep_alive: float | None = None
    """Seconds that the model stays loaded when idle. None: for ever; 0: not at all; negative: for ever."""

    pinned: bool = False
    """Whether the model stays loaded, once it is: it makes no room for others, and `keep_alive` says nothing."""

    preload: bool = False
    """Whether the model is loaded before the server says that it is ready."""

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
    """Names and files given beside models.yaml; they come before its own."""

    poll_seconds: float = 1.0
    """How often models.yaml, the folder and the files of loaded models are looked at for changes."""


@dataclass(frozen=True)
class MemoryAmount:
    """An amount of memory: a share of the machine's, or a number of bytes. Exactly one is set."""

    share: float | None = None
    """Of the machine's memory, or of its control group's where that is less; in (0, 1]."""

    size_bytes: int | None = None
    """So many bytes, whatever the machine has."""


@dataclass(frozen=True)
class PoolSettings:
    """How many models may be loaded, and how much work may wait at one."""

    memory_budget: MemoryAmount = MemoryAmount(share=0.8)
    """What the loaded models may use together: weights, KV caches, compute buffers."""

    max_loaded_models: int | None = None
    """How many models may be loaded at once. None: as many as the memory budget holds."""

    max_queued_requests: int = 1024
    """Requests that may wait at one model beyond the ones being answered."""

    load_timeout_seconds: float = 600.0
    """How long a worker may take to load its model."""

    room_timeout_seconds: float = 60.0
    """How long a request may wait for others to let go of a model, so that its own fits into memory."""

    abandoned_load_seconds: float = 15.0
    """How long a load goes on for which nobody waits any more: who came with a short deadline may come back."""


@dataclass(frozen=True)
class WorkerSettings:
    """What is done about a worker that hangs or dies."""

    hang_seconds: float = 30.0
    """A worker that has work and takes no step for so long is killed; for longer where its steps take long."""

    max_restarts: int = 8
    """So many times in a row is a worker started again that gets nowhere before it is given up with its requests."""

    first_pause_seconds: float = 0.5
    """How long the second restart in a row waits; the first one does not. Each further pause is twice as long."""

    longest_pause_seconds: float = 30.0
    """Where the pauses stop growing."""


@dataclass(frozen=True)
class ServerConfig:
    """All that `llamawire-server serve` is told."""

    grpc_address: str = "127.0.0.1:50051"
    """HOST:PORT; port 0 takes a free one."""

    http_address: str | None = "127.0.0.1:8080"
    """HOST:PORT of the HTTP side; None: there is none."""

    sources: ModelSources = field(default_factory=ModelSources)
    """Where models come from."""

    pool: PoolSettings = field(default_factory=PoolSettings)
    """How many models may be loaded, and how much work may wait at one."""

    worker: WorkerSettings = field(default_factory=WorkerSettings)
    """What is done about a worker that hangs or dies."""

    preload: tuple[str, ...] = ()
    """Names of models to load before the server says that it is ready."""

    max_message_bytes: int = 16 * 1024 * 1024
    """The largest request, on either side."""

    allow_unknown_fields: bool = False
    """Whether HTTP requests may have fields that neither OpenAI nor llamawire knows; they are ignored."""

    allowed_origins: tuple[str, ...] = ()
    """Origins of web pages whose scripts may call the HTTP side, such as https://app.example; `*`: every one."""

    max_kept_responses: int = 1024
    """Responses of /v1/responses that are kept for others to go on from, those that were used last. 0: none."""

    max_kept_response_bytes: int = 64 * 1024 * 1024
    """What they may take up together, their conversations included."""

    drain_seconds: float = 30.0
    """How long running requests may take to finish after SIGTERM."""

    log_level: str = "INFO"
    """How much is logged to standard error: DEBUG, INFO, WARNING or ERROR. Workers log as much."""
