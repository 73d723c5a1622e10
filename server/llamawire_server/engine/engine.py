"""The loop's body: schedule, run, commit."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from llamawire_server.engine.budget import PromptBudget, StepTargets
from llamawire_server.engine.decode_errors import CacheFullError, DecodeError
from llamawire_server.engine.drafting.speculation import BatchDrafter, Speculation
from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.engine.scheduler import Scheduler
from llamawire_server.engine.sequence import FinishReason, Sequence
from llamawire_server.engine.step import Limits, Move, Sampled, Slice, Step

log = logging.getLogger(__name__)


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

    def run(self, slices: list[Slice]) -> Mapping[Sequence, Sampled]:
        """Compute the slices, and sample for whoever samples. Notes on each slice what is wanted of its prompt.

        Raises DecodeError, after which the cells of these slices may or may not be there.
        """
        ...

    def move(self, move: Move) -> None:
        """Change what is in the KV cache. Raises CacheFullError."""
        ...

    def cut(self, slot: int, num_tokens: int) -> bool:
        """Forget all but the slot's first `num_tokens` tokens; False where the model's memory can't be cut there."""
        ...

    def clear(self) -> None:
        """Forget all that is in the KV cache and on the shelf."""
        ...

    def forget(self, sequence: Sequence) -> None:
        """Drop what is kept for sampling the sequence: it has ended."""
        ...


@dataclass(frozen=True)
class Queue:
    """How much there is to do, as whoever comes now finds it."""

    num_running: int
    """Sequences that have a slot."""

    num_ahead: int
    """Of those that wait, how many go before whoever asks."""

    num_waiting: int
    num_waiting_tokens: int
    """Of their prompts."""

    prompt_token_seconds: float
    """How long a token of a prompt takes to compute."""


@dataclass(frozen=True)
class Output:
    """The tokens that a step added to a sequence."""

    sequence: Sequence
    tokens: list[int]
    """None where the sequence failed. Several where some were guessed."""

    logprobs: list[TokenLogprobs] = field(default_factory=list)
    """One a token; none where nobody wants to know."""

    @property
    def text_tokens(self) -> list[int]:
        """Those that are text: the token that ended the sequence is not."""
        return self.tokens[:-1] if self.sequence.ended_by_token else self.tokens


class Engine:
    """Sequences in, tokens out; one step at a time, on one thread."""

    def __init__(
        self,
        runner: Runner,
        targets: StepTargets | None = None,
        token_seconds: float = 0.004,
        *,
        keeps_prefixes: bool = True,
        draft_model: BatchDrafter | None = None,
    ) -> None:
        """token_seconds: how long a token takes that is computed by itself; in a prompt it takes less.
        keeps_prefixes: whether what was computed is kept for later sequences that begin alike. draft_model: guesses
        where sequences have nothing of their own to guess from."""
        self._runner = runner
        self.scheduler = Scheduler(runner.limits, keeps_prefixes=keeps_prefixes)
        self._budget = PromptBudget(targets or StepTargets(), runner.limits.batch_tokens, token_seconds)
        self._speculation = Speculation(token_seconds, draft_model)

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do in a step."""
        return self.scheduler.has_work

    def add(self, sequences: list[Sequence]) -> None:
        """Queue the choices of one request. Raises ValueError for what could never run."""
        self.scheduler.add(sequences)

    def queue(self, rank: float) -> Queue:
        """How much there is to do, as somebody of this rank finds it who comes now."""
        scheduler = self.scheduler
        return Queue(
            scheduler.num_running,
            scheduler.num_ahead(rank),
            scheduler.num_waiting,
            scheduler.num_waiting_tokens,
            self._budget.token_seconds,
        )

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        """End a sequence now; its slot is free for the next step. Does nothing if it has ended."""
        self.scheduler.finish(sequence, reason)
        self._forget(sequence)

    def schedule(self) -> Step:
        """What is to be computed next, with `run`."""
        num_decoding = self.scheduler.num_decoding
        return self.scheduler.schedule(
            self._budget.tokens(num_decoding),
            self._speculation,
            wide_budget=self._budget.tokens(num_decoding, is_wide=True),
        )

    def run(self, step: Step) -> list[Output]:
        """Compute a step that was just scheduled; gives the tokens it produced, and the sequences that failed."""
        try:
            for move in step.moves:
                self._runner.move(move)
        except CacheFullError:
            log.exception("the KV cache is not what it should be; all that runs is computed again")
            self._runner.clear()
            self.scheduler.restart_all()
            return []
        if not step.slices:
            return []
        started = time.monotonic()
        failed: list[Sequence] = []
        try:
            sampled = self._runner.run(step.slices)
        except CacheFullError:
            # The scheduler's count and llama.cpp's disagree (a sliding window's padding, for one).
            self._undo(step)
            if self.scheduler.free_cells() or self.scheduler.preempt_last(needs_all=True):
                self.scheduler.free_cells()
                return []
            sampled, failed = self._run_alone(step)
        except DecodeError:
            log.exception("a batch of %d tokens failed; its sequences are tried alone", step.num_tokens)
            self._undo(step)
            sampled, failed = self._run_alone(step)
        else:
            seconds = time.monotonic() - started
            self._budget.observe(step.num_tokens, seconds, step.num_single_tokens)
            self._speculation.times.observe(step.num_tokens, seconds)
        for sequence in failed:
            self.finish(sequence, FinishReason.FAILED)
        step.slices = [piece for piece in step.slices if piece.sequence not in failed]
        outputs = [
            Output(sequence, tokens, sampled[sequence].logprobs[: len(tokens)])
            for sequence, tokens in self.scheduler.commit(step, sampled, self._runner.end_token_ids)
        ]
        for output in outputs:
            if output.sequence.finish_reason is not None:
                self._forget(output.sequence)
        failed += self._fail(sampled)
        return outputs + [Output(sequence, []) for sequence in failed]

    def _fail(self, sampled: Mapping[Sequence, Sampled]) -> list[Sequence]:
        """End those that can't go on, though their tokens were computed; gives them."""
        failed = [sequence for sequence, what in sampled.items() if what.failure]
        for sequence in failed:
            sequence.failure = sampled[sequence].failure
            self.finish(sequence, FinishReason.FAILED)
        return failed

    def _forget(self, sequence: Sequence) -> None:
        self._runner.forget(sequence)
        self._speculation.forget(sequence)

    def _undo(self, step: Step) -> None:
        """Drop what a failed batch may have stored. Slices of which only all could be dropped leave the step."""
        left = []
        for piece in step.slices:
            if self._runner.cut(piece.slot, piece.start):
                left.append(piece)
            else:
                self.scheduler.restart(piece.sequence)
        step.slices = left

    def _run_alone(self, step: Step) -> tuple[dict[Sequence, Sampled], list[Sequence]]:
        """Each slice by itself, so that only those fail that must; gives tokens and the failed sequences."""
        if step.suspects:
            return {}, [*step.suspects]  # they were by themselves
        sampled: dict[Sequence, Sampled] = {}
        failed: list[Sequence] = []
        for piece in step.slices:
            try:
                sampled.update(self._runner.run([piece]))
            except DecodeError:
                self._runner.cut(piece.slot, piece.start)
                failed += piece.samples or (piece.sequence,)
        return sampled, failed
