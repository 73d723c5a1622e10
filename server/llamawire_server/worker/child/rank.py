"""Who goes first."""

from __future__ import annotations

# What a step of priority is worth: nobody waits for ever, however many come that are more urgent.
PRIORITY_SECONDS = 10.0


def rank(arrived: float, priority: int) -> float:
    """A request's place in line: lower goes first. arrived: in seconds. priority: lower is more urgent."""
    return arrived + PRIORITY_SECONDS * priority
