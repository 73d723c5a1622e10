"""Every setting of the server: its key in the configuration file, what it may be, and its place in `ServerConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

from llamawire_server.config import ServerConfig
from llamawire_server.configuration.kinds import (
    Address,
    Boolean,
    ByteSize,
    Choice,
    FilePath,
    Integer,
    Kind,
    MemoryBudget,
    NamedFiles,
    Names,
    Nullable,
    Origins,
    Plain,
    Seconds,
)

ENVIRONMENT_PREFIX = "LLAMAWIRE_"
SECTIONS = ("pool", "worker")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Setting:
    """One setting."""

    key: str
    """`name`, or `section.name` where it is in a section of the file."""

    kind: Kind
    place: str = ""
    """The attributes that lead to it from a `ServerConfig`, with dots. Empty: they are the key."""

    @property
    def section(self) -> str:
        """Empty at the top level."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The key within its section."""
        return self.key.rpartition(".")[2]

    @property
    def path(self) -> tuple[str, ...]:
        """The attributes that lead to it from a `ServerConfig`."""
        return tuple((self.place or self.key).split("."))

    @property
    def environment_name(self) -> str:
        """The variable of the environment that sets it."""
        return ENVIRONMENT_PREFIX + self.key.upper().replace(".", "_")

    @cached_property
    def default(self) -> object:
        """Its value where nobody sets it."""
        return self.of(ServerConfig())

    def of(self, config: ServerConfig) -> object:
        """Its value there."""
        return reduce(getattr, self.path, config)

    def plain(self, value: object) -> Plain:
        """How a file would have this value."""
        return self.kind.plain(value)


SETTINGS = (
    Setting("grpc_address", Address()),
    Setting("http_address", Nullable(Address())),
    Setting("models_yaml", FilePath(), "sources.models_yaml"),
    Setting("models_dir", FilePath(), "sources.models_dir"),
    Setting("models", NamedFiles(), "sources.named"),
    Setting("models_poll_seconds", Seconds(0.01, _DAY_SECONDS), "sources.poll_seconds"),
    Setting("preload", Names()),
    # gRPC counts a message's bytes in 32 bits.
    Setting("max_message_bytes", ByteSize(1024, 2**31 - 1)),
    Setting("allow_unknown_fields", Boolean()),
    Setting("allowed_origins", Origins()),
    Setting("max_kept_responses", Integer(0)),
    Setting("max_kept_response_bytes", ByteSize(0, 2**40)),
    Setting("drain_seconds", Seconds(0, _DAY_SECONDS)),
    Setting("log_level", Choice(LOG_LEVELS)),
    Setting("pool.memory_budget", MemoryBudget()),
    Setting("pool.max_loaded_models", Nullable(Integer(1))),
    Setting("pool.max_queued_requests", Integer(0)),
    Setting("pool.load_timeout_seconds", Seconds(0.01, _DAY_SECONDS)),
    Setting("pool.room_timeout_seconds", Seconds(0, _DAY_SECONDS)),
    Setting("pool.abandoned_load_seconds", Seconds(0, _DAY_SECONDS)),
    Setting("worker.hang_seconds", Seconds(0.01, _DAY_SECONDS)),
    Setting("worker.max_restarts", Integer(0)),
    Setting("worker.first_pause_seconds", Seconds(0, _DAY_SECONDS)),
    Setting("worker.longest_pause_seconds", Seconds(0, _DAY_SECONDS)),
)
BY_KEY = {setting.key: setting for setting in SETTINGS}


def assemble(values: Mapping[str, object]) -> ServerConfig:
    """The configuration that these values, by key, make; what is left out keeps its default."""
    config = ServerConfig()
    for key, value in values.items():
        config = _replaced(config, BY_KEY[key].path, value)
    return config


def _replaced(whole: Any, path: tuple[str, ...], value: object) -> Any:
    name, *rest = path
    return replace(whole, **{name: _replaced(getattr(whole, name), tuple(rest), value) if rest else value})
