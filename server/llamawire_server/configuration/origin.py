"""Where a value came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from llamawire_server.yaml_document import DocumentError


class Layer(Enum):
    """The places that values come from. Each goes before those above it."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Origin:
    """Where one value came from."""

    layer: Layer
    name: str = ""
    """The variable of the environment, or the option."""

    path: Path | None = None
    """The file, and `line` its line."""

    line: int | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"{self.path.name}, line {self.line}"
        return f"{self.layer.value} {self.name}".rstrip()


@dataclass(frozen=True)
class Given:
    """A value, and where it came from."""

    value: object
    origin: Origin


@dataclass
class Reading:
    """What one layer gives."""

    values: dict[str, Given] = field(default_factory=dict)
    """By key."""

    mistakes: list[DocumentError] = field(default_factory=list)
