"""Conversations that go on side by side, each turn with the whole history so far."""

from __future__ import annotations

import asyncio
import itertools
import statistics

from bench.asks import Ask, ask
from bench.figures import percentile
from bench.prompts import Prompts
from bench.setups.setup import Setup
from bench.streams import Call, Stream
from bench.workloads.workload import Values, Workload, seconds, share

CONVERSATIONS = 8


class Conversations(Workload):
    """Eight of them. What a turn sends again is the prompt before it and the answer to that."""

    name = "conversations"
    figures = (
        share("cached", "repeated tokens that were cached"),
        seconds("first_token", "first token of a turn, median"),
        seconds("turn", "a whole turn, median"),
        seconds("turn_p99", "a whole turn, p99"),
    )

    def __init__(self, prompts: Prompts, turns: int, answer_tokens: int) -> None:
        self.title = f"{CONVERSATIONS} conversations of {turns} turns"
        self._prompts = prompts
        self._turns = turns
        self._answer_tokens = answer_tokens

    async def measure(self, setup: Setup) -> Values:
        asks = [ask(self._prompts.story(), self._answer_tokens, goes_on=True) for _ in range(CONVERSATIONS)]
        told = await asyncio.gather(*(self._talk(setup, asked) for asked in asks))
        # The first turns repeat nothing.
        later = [stream for streams in told for stream in streams[1:]]
        times = [stream.chunk_times[-1] - stream.asked_at for stream in later]
        values = {
            "first_token": statistics.median(stream.first_token_seconds for stream in later),
            "turn": statistics.median(times),
            "turn_p99": percentile(times, 99),
        }
        if all(stream.usage.prompt_tokens for stream in later):
            values["cached"] = cached_share(told)
        return values

    async def _talk(self, setup: Setup, asked: Ask) -> list[Stream]:
        streams = [await Call(setup.call, asked).end()]
        while len(streams) < self._turns:
            asked = asked.after(streams[-1].text, self._prompts.short())
            streams.append(await Call(setup.call, asked).end())
        return streams


def cached_share(conversations: list[list[Stream]]) -> float:
    """Of the tokens that a conversation sends again, those that its server had kept, by the server's own count."""
    repeated = cached = 0
    for streams in conversations:
        for before, after in itertools.pairwise(streams):
            known = before.usage.prompt_tokens + before.usage.completion_tokens
            repeated += known
            cached += min(known, after.usage.cached_tokens)
    return cached / repeated
