"""What llamawire is to reach, and whether it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from bench.results import Results
from bench.setups.setup import BARE_LOOP, GRPC, HTTP, LLAMA_SERVER

MIB = 2**20
STREAM_COUNTS = (1, 2, 4, 8, 16)

Measure = Callable[[Results], float | None]


class Bound(Enum):
    """Which side of its value is good."""

    AT_LEAST = "≥"
    AT_MOST = "≤"


@dataclass(frozen=True)
class Goal:
    """One thing to reach."""

    title: str
    bound: Bound
    value: float
    measure: Measure
    unit: str = ""

    def is_met(self, measured: float) -> bool:
        """Whether what was measured is good enough."""
        return measured >= self.value if self.bound is Bound.AT_LEAST else measured <= self.value


def _ratio(workload: str, figure: str, over: str, under: str) -> Measure:
    return lambda results: results.ratio(workload, figure, over, under)


def _own(workload: str, figure: str, setup: str = GRPC, scale: float = 1.0) -> Measure:
    def measure(results: Results) -> float | None:
        value = results.median(workload, setup, figure)
        return None if value is None else value * scale

    return measure


def _lowest_share_of_bare(results: Results) -> float | None:
    ratios = [results.ratio(f"streams-{count}", "decode", GRPC, BARE_LOOP) for count in STREAM_COUNTS]
    return min((ratio for ratio in ratios if ratio is not None), default=None)


def _worker_over_bare(results: Results) -> float | None:
    difference = results.difference("memory", "engine_pss", GRPC, BARE_LOOP)
    return None if difference is None else difference / MIB


GOALS = (
    Goal(
        "decode over gRPC / bare loop, 1 to 16 streams, the worst",
        Bound.AT_LEAST,
        0.95,
        _lowest_share_of_bare,
    ),
    Goal(
        "8 unrelated streams over gRPC / llama-server",
        Bound.AT_LEAST,
        1.1,
        _ratio("streams-8", "decode", GRPC, LLAMA_SERVER),
    ),
    Goal(
        "8 unrelated streams over HTTP / llama-server",
        Bound.AT_LEAST,
        1.05,
        _ratio("streams-8", "decode", HTTP, LLAMA_SERVER),
    ),
    Goal(
        "cold burst of 8 on one prefix / llama-server: first token",
        Bound.AT_MOST,
        0.25,
        _ratio("shared-prefix", "cold_first", GRPC, LLAMA_SERVER),
    ),
    Goal(
        "cold burst of 8 on one prefix / llama-server: token/s",
        Bound.AT_LEAST,
        3.5,
        _ratio("shared-prefix", "cold_rate", GRPC, LLAMA_SERVER),
    ),
    Goal(
        "conversations: repeated tokens that were cached",
        Bound.AT_LEAST,
        95,
        _own("conversations", "cached", scale=100),
        "%",
    ),
    Goal(
        "a long prompt arrives: p99 between tokens / llama-server",
        Bound.AT_MOST,
        0.1,
        _ratio("long-prompt", "between_p99", GRPC, LLAMA_SERVER),
    ),
    Goal(
        "a long prompt arrives: its first token / llama-server",
        Bound.AT_MOST,
        1.3,
        _ratio("long-prompt", "first_token", GRPC, LLAMA_SERVER),
    ),
    Goal(
        "an edit that repeats its input: prediction on / off",
        Bound.AT_LEAST,
        1.5,
        _own("repeating-edit", "speedup"),
    ),
    Goal(
        "from a cancel to a free sequence: p99, in steps",
        Bound.AT_MOST,
        1.0,
        _own("cancellation", "steps_p99"),
    ),
    Goal("crowd: answers lost", Bound.AT_MOST, 0, _own("crowd", "lost")),
    Goal(
        "crowd: longest wait / median wait (2: first come, first served)",
        Bound.AT_MOST,
        2.5,
        _own("crowd", "unfairness"),
    ),
    Goal(
        "crowd: memory gained by the server",
        Bound.AT_MOST,
        16,
        _own("crowd", "memory_growth", scale=1 / MIB),
        "MiB",
    ),
    Goal(
        "tiny model, 64 streams over gRPC / llama-server",
        Bound.AT_LEAST,
        1.0,
        _ratio("ceiling", "decode", GRPC, LLAMA_SERVER),
    ),
    Goal(
        "tiny model, 64 streams over HTTP / llama-server",
        Bound.AT_LEAST,
        0.8,
        _ratio("ceiling", "decode", HTTP, LLAMA_SERVER),
    ),
    Goal("memory of a worker over the bare loop's", Bound.AT_MOST, 120, _worker_over_bare, "MiB"),
    Goal("memory of the parent", Bound.AT_MOST, 120, _own("memory", "rest_pss", scale=1 / MIB), "MiB"),
)
