"""How long it takes from a cancel until somebody else has the sequence.

A server doesn't say when a sequence is free, so it is asked by somebody who waits for it. All slots are held by
streams, one more caller is in line; a stream is cancelled, and the clock runs until the one in line gets its first
token. Of that time, what a caller who finds a free slot waits as well (its median, measured in the same way) is taken
off: the rest is what the cancel itself cost. A free slot is found at the border of two steps, so a cancel that is
obeyed before the next step costs nothing, give or take half a step for the moment at which it comes; one that is
obeyed a step late costs one.

- *decode*: the cancelled one was generating.
- *prefill*: it was computing a long prompt.
- *queue*: it was first in line, and left it before; then a running stream was cancelled. A server that still takes
  care of who has left lets the next one wait for it.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import deque

from bench.asks import ask
from bench.figures import gaps, gaps_touching, percentile
from bench.prompts import Prompts
from bench.setups.setup import Setup
from bench.streams import Call
from bench.workloads.workload import Figure, Values, Workload, milliseconds

_RUNNING_TOKENS = 1500
_LONG_PROMPT_TOKENS = 2000
_QUITTER_PROMPT_TOKENS = 600
# For a server to take notice of what was sent.
_SETTLE_SECONDS = 0.15
_SEED = 7


def _cost(key: str, title: str) -> Figure:
    # A difference of two times, and so perhaps below zero.
    return Figure(key, title, "ms", 1000.0, is_compared=False)


class Cancellation(Workload):
    """Cancels come at random moments of a step."""

    name = "cancellation"
    title = "from a cancel to a free sequence"
    figures = (
        milliseconds("step", "a step: between tokens, p50"),
        milliseconds("free_slot", "first token with a slot free, median"),
        _cost("decode_p50", "cancelled in decode, p50"),
        _cost("decode_p99", "cancelled in decode, p99"),
        _cost("prefill_p50", "cancelled in prefill, p50"),
        _cost("prefill_p99", "cancelled in prefill, p99"),
        _cost("queue_p50", "cancelled in the queue, p50"),
        _cost("queue_p99", "cancelled in the queue, p99"),
        Figure("steps_p99", "the worst p99, in steps", "x", decimals=2, is_compared=False),
    )

    def __init__(self, prompts: Prompts, cancels: int) -> None:
        self._prompts = prompts
        self._cancels = cancels

    def suits(self, setup: Setup) -> bool:
        return setup.num_slots > 1

    async def measure(self, setup: Setup) -> Values:
        house = FullHouse(setup, self._prompts)
        try:
            await house.fill()
            free = [await house.replace_later() for _ in range(self._cancels)]
            decode = [await house.replace_at_once() for _ in range(self._cancels)]
            # A server that computes long prompts in one step, or for nobody, takes seconds for each of these.
            queue = [await house.replace_after_quitter() for _ in range(max(1, self._cancels // 2))]
            prefill = [await house.replace_prefill() for _ in range(max(1, self._cancels // 3))]
        finally:
            await house.clear()
        normal = statistics.median(free)
        step = percentile(house.gaps, 50)
        longest_steps = {"decode": step, "queue": step, "prefill": percentile(house.prefill_gaps, 50)}
        values = {"step": step, "free_slot": normal}
        worst = []
        for name, waits in (("decode", decode), ("prefill", prefill), ("queue", queue)):
            costs = [wait - normal for wait in waits]
            values[f"{name}_p50"] = percentile(costs, 50)
            values[f"{name}_p99"] = percentile(costs, 99)
            worst.append(values[f"{name}_p99"] / longest_steps[name])
        values["steps_p99"] = max(worst)
        return values


class FullHouse:
    """All slots held by streams that go on, the oldest of which makes room for each newcomer."""

    def __init__(self, setup: Setup, prompts: Prompts) -> None:
        self.gaps: list[float] = []
        """Between the tokens of all who ran, without those who computed a prompt."""

        self.prefill_gaps: list[float] = []
        """Between the others' tokens while a long prompt was computed."""

        self._setup = setup
        self._prompts = prompts
        self._running: deque[Call] = deque()
        self._random = random.Random(_SEED)

    async def fill(self) -> None:
        """Take all slots."""
        for _ in range(self._setup.num_slots):
            self._running.append(self._newcomer())
        for call in self._running:
            await call.begin()

    async def replace_later(self) -> float:
        """A newcomer finds a slot that has been free for a while; gives its wait."""
        self._cancel_oldest()
        await self._settle()
        await self._settle()
        return await self._seat(self._newcomer())

    async def replace_at_once(self) -> float:
        """A newcomer waits for a stream that is cancelled; gives the time from the cancel."""
        newcomer = self._newcomer()
        await self._settle()
        return await self._seat(newcomer, self._cancel_oldest())

    async def replace_after_quitter(self) -> float:
        """The same, with somebody before the newcomer in line who has left it."""
        quitter = self._asking(_QUITTER_PROMPT_TOKENS)
        await self._settle()
        newcomer = self._newcomer()
        await self._settle()
        quitter.cancel()
        await quitter.gone()
        await self._settle()
        return await self._seat(newcomer, self._cancel_oldest())

    async def replace_prefill(self) -> float:
        """The same, with a slot that computes a long prompt when it is cancelled."""
        self._cancel_oldest()
        await self._settle()
        long = self._asking(_LONG_PROMPT_TOKENS)
        begin = long.stream.asked_at
        newcomer = self._newcomer()
        await self._settle()
        cancelled_at = time.perf_counter()
        long.cancel()
        wait = await self._seat(newcomer, cancelled_at)
        for call in self._running:
            self.prefill_gaps += gaps_touching(call.stream.chunk_times, (begin, cancelled_at))
        return wait

    async def clear(self) -> None:
        """Let go of everything."""
        while self._running:
            self._cancel_oldest()
        await self._settle()

    async def _seat(self, newcomer: Call, since: float | None = None) -> float:
        await newcomer.begin()
        self._running.append(newcomer)
        begin = newcomer.stream.asked_at if since is None else since
        return newcomer.stream.chunk_times[0] - begin

    def _cancel_oldest(self) -> float:
        oldest = self._running.popleft()
        self.gaps += gaps(oldest.stream.chunk_times)
        now = time.perf_counter()
        oldest.cancel()
        return now

    def _newcomer(self) -> Call:
        return Call(self._setup.call, ask(self._prompts.short(), _RUNNING_TOKENS, goes_on=True))

    def _asking(self, prompt_tokens: int) -> Call:
        prompt = self._prompts.facts(prompt_tokens)
        return Call(self._setup.call, ask(prompt, _RUNNING_TOKENS, goes_on=True))

    async def _settle(self) -> None:
        await asyncio.sleep(_SETTLE_SECONDS * (1 + self._random.random()))
