"""How much each workload does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Of one round. What is not here is the same in every run: it is what the workload is about."""

    answer_tokens: int = 128
    burst_answer_tokens: int = 64
    turns: int = 6
    turn_answer_tokens: int = 48
    long_prompt_tokens: int = 4000
    crowd_callers: int = 256
    crowd_answer_tokens: int = 16
    cancels: int = 30
    ceiling_answer_tokens: int = 256


FULL = Sizes()

# Enough to see that everything works; not to be quoted.
QUICK = Sizes(
    answer_tokens=24,
    burst_answer_tokens=8,
    turns=3,
    turn_answer_tokens=16,
    long_prompt_tokens=1000,
    crowd_callers=32,
    crowd_answer_tokens=4,
    cancels=4,
    ceiling_answer_tokens=64,
)
