"""From the times at which tokens came to the figures that are compared."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Decoding:
    """What one run of some streams shows."""

    tokens_per_second: float
    """Over all streams, while all of them generate: from the last one's first token to the first one's last."""

    first_token_seconds: float
    """Median over the streams."""

    between_tokens_seconds: float
    """Median over all gaps of all streams, in that same time."""


def decoding(streams: Sequence[Sequence[float]], tokens_per_chunk: float = 1.0) -> Decoding:
    """streams: each stream's chunk times, in seconds since the start of the run, ascending."""
    begin = max(times[0] for times in streams)
    end = min(times[-1] for times in streams)
    together = [[time for time in times if begin <= time <= end] for times in streams]
    # Each stream's first token in the window marks where it starts: n tokens are n - 1 gaps.
    gaps = [after - before for times in together for before, after in itertools.pairwise(times)]
    rates = [(len(times) - 1) / (times[-1] - times[0]) for times in together]
    return Decoding(
        tokens_per_second=sum(rates) * tokens_per_chunk,
        first_token_seconds=statistics.median(times[0] for times in streams),
        between_tokens_seconds=statistics.median(gaps),
    )


def prefill_tokens_per_second(streams: Sequence[Sequence[float]], prompt_tokens: int) -> float:
    """prompt_tokens: of all streams together. Until the last one's first token."""
    return prompt_tokens / max(times[0] for times in streams)
