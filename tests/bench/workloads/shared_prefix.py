"""Eight callers at once with one long system prompt, which nobody has sent before, and then once more."""

from __future__ import annotations

import statistics

from bench.asks import Ask, ask, rendered
from bench.bare_loop import BareLoop, LoopRun, Prefix
from bench.prompts import Prompts
from bench.setups.setup import Setup
from bench.streams import Stream, run_together
from bench.workloads.workload import Values, Workload, seconds, tokens_per_second

CALLERS = 8


class SharedPrefix(Workload):
    """Cold: nobody has sent the system prompt before. Warm: the same one with other questions."""

    name = "shared-prefix"
    title = f"a system prompt of 660 tokens shared by {CALLERS}"
    figures = (
        seconds("cold_first", "cold: first token, median"),
        seconds("cold_last_first", "cold: first token, the last"),
        tokens_per_second("cold_rate", "cold: from the asking to the end"),
        seconds("warm_first", "warm: first token, median"),
        seconds("warm_last_first", "warm: first token, the last"),
        tokens_per_second("warm_rate", "warm: from the asking to the end"),
    )

    def __init__(self, prompts: Prompts, answer_tokens: int) -> None:
        self._prompts = prompts
        self._answer_tokens = answer_tokens

    async def measure(self, setup: Setup) -> Values:
        rules = self._prompts.house_rules()
        cold = await run_together(setup.call, self._asks(rules))
        warm = await run_together(setup.call, self._asks(rules))
        return {**_of_streams("cold", cold), **_of_streams("warm", warm)}

    def measure_bare(self, loop: BareLoop) -> Values:
        """The prefix is computed once, and is then there for everybody."""
        rules = self._prompts.house_rules()
        cold = self._run(loop, rules, Prefix.SHARED)
        warm = self._run(loop, rules, Prefix.KEPT)
        return {**_of_run("cold", cold), **_of_run("warm", warm)}

    def _asks(self, rules: str) -> list[Ask]:
        return [
            ask(self._prompts.question(), self._answer_tokens, system=rules, goes_on=True)
            for _ in range(CALLERS)
        ]

    def _run(self, loop: BareLoop, rules: str, prefix: Prefix) -> LoopRun:
        return loop.run([rendered(asked) for asked in self._asks(rules)], self._answer_tokens, prefix)


def _of_streams(name: str, streams: list[Stream]) -> Values:
    begin = min(stream.asked_at for stream in streams)
    end = max(stream.chunk_times[-1] for stream in streams)
    tokens = sum(stream.num_tokens for stream in streams)
    return _values(name, [stream.first_token_seconds for stream in streams], tokens / (end - begin))


def _of_run(name: str, run: LoopRun) -> Values:
    tokens = sum(len(times) for times in run.token_times)
    rate = tokens / max(times[-1] for times in run.token_times)
    return _values(name, [times[0] for times in run.token_times], rate)


def _values(name: str, first_token_seconds: list[float], rate: float) -> Values:
    return {
        f"{name}_first": statistics.median(first_token_seconds),
        f"{name}_last_first": max(first_token_seconds),
        f"{name}_rate": rate,
    }
