"""How a worker's process ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Death:
    """How a process ended that was not told to."""

    cause: str
    """Goes on from "the worker"."""

    is_from_outside: bool
    """Whether somebody ended or stopped it, and it was no fault of its own."""
