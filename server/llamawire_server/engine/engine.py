"""The loop's body: schedule, run, commit."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from llamawire_server.engine.budget import PromptBudget, StepTargets
from llamawire_server.engine.scheduler import Limits, Scheduler, Slice, Step
from llamawire_server.engine.sequence import FinishReason, Sequence

log = logging.getLogger(__name__)


# How much faster a prompt's tokens are computed than single ones, at least, as far as is known beforehand.
PROMPT_SPEEDUP = 2


class DecodeError(Exception):
    """A batch could not be computed. What it had stored in the KV cache is undone by `Runner.truncate`."""


class CacheFullError(DecodeError):
    """No cells were found for a batch."""


class Runner(Protocol):
    """What computes: llama.cpp, or a fake in tests."""

    @property
    def limits(self) -> Limits:
        """What the model's context allows."""
        ...

    @property
    def end_token_ids(self) -> frozenset[int]:
        """Tokens with which the model ends its turn."""
        ...

    def run(self, slices: list[Slice]) -> Mapping[Sequence, int]:
        """Compute the slices, fork whoever samples beside a slice's own sequence, and sample.

        Raises DecodeError, after which the cells of these slices may or may not be there.
        """
        ...

    def truncate(self, slot: int, num_tokens: int) -> None:
        """Forget all but the slot's first `num_tokens` tokens."""
        ...

    def forget(self, sequence: Sequence) -> None:
        """Drop what is kept for sampling the sequence: it has ended."""
        ...


@dataclass(frozen=True)
class TokenOutput:
    """A token that a step added to a sequence."""

    sequence: Sequence
    token: int
    """Meaningless where the sequence failed."""

    is_text: bool
    """False for the token that ended the sequence, which is no part of its text, and where it failed."""


class Engine:
    """Sequences in, tokens out; one step at a time, on one thread."""

    def __init__(
        self, runner: Runner, targets: StepTargets | None = None, token_seconds: float = 0.004
    ) -> None:
        """token_seconds: how long a token takes that is computed by itself; in a prompt it takes less."""
        self._runner = runner
        self.scheduler = Scheduler(runner.limits)
        self._budget = PromptBudget(
            targets or StepTargets(), runner.limits.batch_tokens, token_seconds / PROMPT_SPEEDUP
        )

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do in a step."""
        return self.scheduler.has_work

    def add(self, sequences: list[Sequence]) -> None:
        """Queue the choices of one request. Raises ValueError for what could never run."""
        self.scheduler.add(sequences)

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        """End a sequence now; its slot is free for the next step. Does nothing if it has ended."""
        self.scheduler.finish(sequence, reason)
        self._runner.forget(sequence)

    def schedule(self) -> Step:
        """What is to be computed next, with `run`."""
        return self.scheduler.schedule(self._budget.tokens(self.scheduler.num_decoding))

    def run(self, step: Step) -> list[TokenOutput]:
        """Compute a step that was just scheduled; gives every token it produced, and the sequences that failed."""
        for slot in step.released_slots:
            self._runner.truncate(slot, 0)
        if not step.slices:
            return []
        started = time.monotonic()
        failed: list[Sequence] = []
        try:
            sampled = self._runner.run(step.slices)
        except CacheFullError:
            # The scheduler's count and llama.cpp's disagree (a sliding window's padding, for one).
            for piece in step.slices:
                self._runner.truncate(piece.slot, piece.start)
            if self.scheduler.preempt_youngest():
                return []
            sampled, failed = self._run_alone(step.slices)
        except DecodeError:
            log.exception("a batch of %d tokens failed; its sequences are tried alone", step.num_tokens)
            sampled, failed = self._run_alone(step.slices)
        else:
            self._budget.observe(step.num_tokens, time.monotonic() - started)
        for sequence in failed:
            self.finish(sequence, FinishReason.FAILED)
        step.slices = [piece for piece in step.slices if piece.sequence not in failed]
        grown = self.scheduler.commit(step, sampled, self._runner.end_token_ids)
        for sequence in grown:
            if sequence.finish_reason is not None:
                self._runner.forget(sequence)
        outputs = [
            TokenOutput(sequence, sequence.tokens[-1], sequence.finish_reason is not FinishReason.STOP)
            for sequence in grown
        ]
        return outputs + [TokenOutput(sequence, 0, is_text=False) for sequence in failed]

    def _run_alone(self, slices: list[Slice]) -> tuple[dict[Sequence, int], list[Sequence]]:
        """Each slice by itself, so that only those fail that must; gives tokens and the failed sequences."""
        for piece in slices:
            self._runner.truncate(piece.slot, piece.start)
        sampled: dict[Sequence, int] = {}
        failed: list[Sequence] = []
        for piece in slices:
            try:
                sampled.update(self._runner.run([piece]))
            except DecodeError:
                self._runner.truncate(piece.slot, piece.start)
                failed += piece.samples or (piece.sequence,)
        return sampled, failed
