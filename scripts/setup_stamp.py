"""What the set-up did to an environment, so that it need not be done twice."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "llamawire-setup.json"


@dataclass(frozen=True)
class Stamp:
    """An environment's state. It is written when a stage is complete, and replaced in one step."""

    python: str
    """The interpreter that the environment's own leads to: an upgrade of the system's Python replaces it."""

    cpu: str
    """A digest of the CPU's features: another machine may need another build."""

    cmake_args: str
    """The user's own CMAKE_ARGS that llama.cpp was built with; empty for none."""

    project: str = ""
    """A digest of pyproject.toml as it was installed; empty before it was."""

    extras: tuple[str, ...] = ()
    """The extras that were installed, sorted."""

    def covers(self, wanted: Stamp) -> bool:
        """Whether nothing is left to do for `wanted`."""
        return (
            (self.python, self.cpu, self.cmake_args, self.project)
            == (wanted.python, wanted.cpu, wanted.cmake_args, wanted.project)
        ) and set(self.extras) >= set(wanted.extras)


def read_stamp(environment: Path) -> Stamp | None:
    """The stamp of an environment; None where there is none that can be read."""
    try:
        fields = json.loads((environment / NAME).read_text(encoding="utf-8"))
        return Stamp(**{**fields, "extras": tuple(fields["extras"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_stamp(environment: Path, stamp: Stamp) -> None:
    """Replace an environment's stamp; an interrupt leaves the old one or the new one."""
    draft = environment / f"{NAME}.{os.getpid()}"
    draft.write_text(json.dumps(asdict(stamp), indent=2) + "\n", encoding="utf-8")
    draft.replace(environment / NAME)


def digest(text: str) -> str:
    """A short digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
