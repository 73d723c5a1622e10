"""Seven streams run while a long prompt arrives: does it hold them up, and do they hold it up?"""

from __future__ import annotations

import asyncio

from bench.asks import ask, rendered
from bench.bare_loop import BareLoop
from bench.figures import gaps_touching, percentile
from bench.prompts import Prompts
from bench.setups.setup import Setup
from bench.streams import Call
from bench.workloads.workload import Values, Workload, milliseconds, seconds

RUNNING = 7
_RUNNING_TOKENS = 1500
_SETTLE_SECONDS = 0.5
_MOST_WAIT_SECONDS = 10.0


class LongPrompt(Workload):
    """The gaps between the running streams' tokens that the long prompt has a part in, until its first token."""

    name = "long-prompt"
    figures = (
        milliseconds("between_p50", "between tokens of the others, p50"),
        milliseconds("between_p99", "between tokens of the others, p99"),
        milliseconds("between_max", "between tokens of the others, longest"),
        seconds("first_token", "first token of the long prompt"),
    )

    def __init__(self, prompts: Prompts, prompt_tokens: int) -> None:
        self.title = f"{RUNNING} streams while a prompt of {prompt_tokens} tokens arrives"
        self._prompts = prompts
        self._prompt_tokens = prompt_tokens

    def suits(self, setup: Setup) -> bool:
        return setup.num_slots > RUNNING

    async def measure(self, setup: Setup) -> Values:
        asks = [ask(self._prompts.story(), _RUNNING_TOKENS, goes_on=True) for _ in range(RUNNING)]
        running = [Call(setup.call, asked) for asked in asks]
        try:
            for call in running:
                await call.begin()
            await asyncio.sleep(_SETTLE_SECONDS)
            long = await Call(
                setup.call, ask(self._prompts.facts(self._prompt_tokens), 1, goes_on=True)
            ).end()
            # The gap in which the first token fell is over with each stream's next chunk.
            await asyncio.gather(*(_next_chunk(call) for call in running))
        finally:
            for call in running:
                call.cancel()
                await call.gone()
        arrival = (long.asked_at, long.chunk_times[0])
        between = [gap for call in running for gap in gaps_touching(call.stream.chunk_times, arrival)]
        return {
            "between_p50": percentile(between, 50),
            "between_p99": percentile(between, 99),
            "between_max": max(between),
            "first_token": long.first_token_seconds,
        }

    def measure_bare(self, loop: BareLoop) -> Values:
        """The long prompt alone."""
        prompt = rendered(ask(self._prompts.facts(self._prompt_tokens), 1))
        return {"first_token": loop.run([prompt], 1).token_times[0][0]}


async def _next_chunk(call: Call) -> None:
    """Wait for more of a stream, or its end, but not for ever."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _MOST_WAIT_SECONDS
    seen = len(call.stream.chunk_times)
    while len(call.stream.chunk_times) == seen and not call.is_over and loop.time() < deadline:
        await asyncio.sleep(0.01)
