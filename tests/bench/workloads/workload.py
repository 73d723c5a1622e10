"""One thing that servers are measured by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from bench.bare_loop import BareLoop
from bench.setups.setup import Setup

Values = dict[str, float]
"""What one setup showed in one round, by the figures' keys. Times in seconds, memory in bytes."""


@dataclass(frozen=True)
class Figure:
    """Something that a workload finds out."""

    key: str
    title: str
    unit: str
    scale: float = 1.0
    """Multiplies what was measured, for the unit that it is shown in."""

    decimals: int = 1
    is_compared: bool = True
    """Whether a ratio of two setups' values says anything: not so of shares, and of what may be 0."""


def milliseconds(key: str, title: str) -> Figure:
    return Figure(key, title, "ms", 1000.0)


def seconds(key: str, title: str) -> Figure:
    return Figure(key, title, "s", decimals=2)


def tokens_per_second(key: str, title: str) -> Figure:
    return Figure(key, title, "token/s")


def share(key: str, title: str) -> Figure:
    return Figure(key, title, "%", 100.0, is_compared=False)


def mebibytes(key: str, title: str) -> Figure:
    return Figure(key, title, "MiB", 1 / 2**20)


class Workload(ABC):
    """Asks that no setup has seen before, and what is made of the answers."""

    name: str
    """For the command line and the record."""

    title: str
    figures: tuple[Figure, ...]

    def suits(self, setup: Setup) -> bool:
        """Whether it makes sense for a setup."""
        return True

    @abstractmethod
    async def measure(self, setup: Setup) -> Values:
        """Once. Raises NoAnswerError, and ValueError where too little came to tell anything."""

    def measure_bare(self, loop: BareLoop) -> Values | None:
        """The same in the bare loop; None where it has no such thing."""
        return None
