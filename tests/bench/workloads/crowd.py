"""Far more callers at once than there are slots: is anybody lost or forgotten, and does memory stay what it was?"""

from __future__ import annotations

import asyncio
import statistics

from bench.asks import ask
from bench.memory_use import memory_of_tree
from bench.prompts import Prompts
from bench.setups.setup import Setup
from bench.streams import Call, NoAnswerError, Stream
from bench.workloads.workload import Figure, Values, Workload, mebibytes, seconds, tokens_per_second


class Crowd(Workload):
    """Short prompts, short answers. First come, first served makes the longest wait twice the median."""

    name = "crowd"
    figures = (
        Figure("lost", "answers lost", "", decimals=0, is_compared=False),
        seconds("longest_wait", "first token, the last"),
        Figure("unfairness", "longest wait / median wait", "x", decimals=2, is_compared=False),
        tokens_per_second("rate", "from the asking to the end"),
        mebibytes("memory_before", "memory before"),
        Figure("memory_growth", "memory gained", "MiB", 1 / 2**20, is_compared=False),
    )

    def __init__(self, prompts: Prompts, callers: int, answer_tokens: int) -> None:
        self.title = f"{callers} callers at once"
        self._prompts = prompts
        self._callers = callers
        self._answer_tokens = answer_tokens

    async def measure(self, setup: Setup) -> Values:
        asks = [ask(self._prompts.short(), self._answer_tokens, goes_on=True) for _ in range(self._callers)]
        before = memory_of_tree(setup.pid).pss_bytes
        calls = [Call(setup.call, asked) for asked in asks]
        ended = await asyncio.gather(*(call.end() for call in calls), return_exceptions=True)
        after = memory_of_tree(setup.pid).pss_bytes
        for one in ended:
            if isinstance(one, BaseException) and not isinstance(one, NoAnswerError):
                raise one
        streams = [one for one in ended if isinstance(one, Stream)]
        if not streams:
            raise NoAnswerError("nobody got an answer")
        waits = [stream.first_token_seconds for stream in streams]
        begin = min(stream.asked_at for stream in streams)
        end = max(stream.chunk_times[-1] for stream in streams)
        return {
            "lost": len(ended) - len(streams),
            "longest_wait": max(waits),
            "unfairness": max(waits) / statistics.median(waits),
            "rate": sum(stream.num_tokens for stream in streams) / (end - begin),
            "memory_before": before,
            "memory_growth": after - before,
        }
