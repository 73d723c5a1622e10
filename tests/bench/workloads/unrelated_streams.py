"""Streams that have nothing in common, all begun at once."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.asks import ask, rendered
from bench.bare_loop import BareLoop
from bench.figures import Times, decode_rate, gaps, percentile
from bench.prompts import Prompts
from bench.setups.setup import Setup
from bench.streams import run_together
from bench.workloads.workload import Values, Workload, milliseconds, tokens_per_second


class UnrelatedStreams(Workload):
    """So many stories. Where there are more streams than slots, the rest wait in line."""

    figures = (
        tokens_per_second("decode", "decode, while all slots are busy"),
        milliseconds("first_token", "first token, median"),
        milliseconds("between_p50", "between tokens, p50"),
        milliseconds("between_p99", "between tokens, p99"),
    )

    def __init__(
        self, prompts: Prompts, count: int, answer_tokens: int, *, name: str = "", title: str = ""
    ) -> None:
        self.name = name or f"streams-{count}"
        self.title = title or f"{count} unrelated stream{'s' if count > 1 else ''}"
        self._prompts = prompts
        self._count = count
        self._answer_tokens = answer_tokens

    async def measure(self, setup: Setup) -> Values:
        asks = [ask(self._prompts.story(), self._answer_tokens) for _ in range(self._count)]
        streams = await run_together(setup.call, asks)
        chunks = sum(len(stream.chunk_times) for stream in streams)
        tokens = sum(stream.num_tokens for stream in streams)
        return _values(
            [stream.chunk_times for stream in streams],
            [stream.first_token_seconds for stream in streams],
            min(self._count, setup.num_slots),
            tokens / chunks,
        )

    def measure_bare(self, loop: BareLoop) -> Values:
        asks = [ask(self._prompts.story(), self._answer_tokens) for _ in range(self._count)]
        times = loop.run([rendered(asked) for asked in asks], self._answer_tokens).token_times
        together = min(self._count, loop.num_slots)
        return _values(times, [stream[0] for stream in times], together, 1.0)


def _values(
    streams: Sequence[Times],
    first_token_seconds: Sequence[float],
    num_together: int,
    tokens_per_chunk: float,
) -> Values:
    between = [gap for times in streams for gap in gaps(times)]
    return {
        "decode": decode_rate(streams, num_together, tokens_per_chunk),
        "first_token": statistics.median(first_token_seconds),
        "between_p50": percentile(between, 50),
        "between_p99": percentile(between, 99),
    }
