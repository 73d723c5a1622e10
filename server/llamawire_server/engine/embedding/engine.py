"""Jobs in, vectors out; one batch at a time."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Protocol

from llamawire_server.engine.budget import PromptBudget, StepTargets
from llamawire_server.engine.decode_errors import DecodeError
from llamawire_server.engine.embedding.job import EmbeddingLimits, Job, Piece
from llamawire_server.engine.embedding.scheduler import EmbeddingScheduler

log = logging.getLogger(__name__)

# A batch may always have so many tokens. Fewer than a prompt's step: who waits for the batch waits for a step, too.
LEAST_TOKENS = 16


class Embedder(Protocol):
    """What computes: llama.cpp, or a fake in tests."""

    @property
    def limits(self) -> EmbeddingLimits:
        """What its context allows."""
        ...

    def embed(self, batch: list[Piece]) -> list[bytes | None]:
        """Compute the pieces; gives the vector of each input that ends with its piece, and None for the others.

        A vector is packed little-endian float32 of Euclidean length 1. What is computed of an input that does not end
        here is kept for its next piece. Raises DecodeError, after which nothing is kept of any.
        """
        ...

    def forget(self, job: Job) -> None:
        """Drop what is kept of the job's inputs."""
        ...

    @property
    def has_context(self) -> bool:
        """Whether it has memory that only computing needs."""
        ...

    def close_context(self) -> None:
        """Give that memory back, until there is something to compute again. Nothing may be kept of any input."""
        ...


@dataclass
class Outcome:
    """What a batch brought a job."""

    job: Job
    vectors: list[bytes] = field(default_factory=list)
    """Those of the inputs that are done now, in their order."""

    num_tokens: int = 0
    """Of those inputs."""

    is_failed: bool = False
    """Whether it can't be computed; it is dropped then."""


class EmbeddingEngine:
    """The jobs of one model."""

    def __init__(
        self, embedder: Embedder, targets: StepTargets | None = None, token_seconds: float = 0.004
    ) -> None:
        """targets: how long a batch should last. token_seconds: how long a token takes that is computed by itself."""
        self._embedder = embedder
        self.scheduler = EmbeddingScheduler(embedder.limits)
        self._budget = PromptBudget(
            targets or StepTargets(),
            embedder.limits.batch_tokens,
            token_seconds,
            LEAST_TOKENS,
        )

    @property
    def limits(self) -> EmbeddingLimits:
        """What the model's embedding context allows."""
        return self._embedder.limits

    @property
    def token_seconds(self) -> float:
        """How long a token takes among others, about."""
        return self._budget.token_seconds

    @property
    def has_work(self) -> bool:
        """Whether there is anything to compute."""
        return self.scheduler.has_work

    @property
    def num_tokens_left(self) -> int:
        """Tokens of all jobs that are not computed yet."""
        return self.scheduler.num_tokens_left

    @property
    def can_rest(self) -> bool:
        """Whether it holds memory without having anything to compute."""
        return not self.has_work and self._embedder.has_context

    def rest(self) -> None:
        """Give back what only computing needs. To be called where it can rest."""
        self._embedder.close_context()

    def add(self, job: Job) -> None:
        """Let a job line up. Raises ValueError for one that could never be computed to its end."""
        self.scheduler.add(job)

    def drop(self, request_id: int) -> None:
        """Be done with a request's job, wherever it stands. One that is not there is no error."""
        job = self.scheduler.find(request_id)
        if job is not None:
            self.scheduler.remove(job)
            self._embedder.forget(job)

    def schedule(self, *, is_shared: bool) -> list[Piece]:
        """What to compute next, with `run`. is_shared: whether somebody else waits for the batch to be over."""
        return self.scheduler.schedule(self._budget.tokens(int(is_shared)))

    def run(self, batch: list[Piece]) -> list[Outcome]:
        """Compute a batch that was just scheduled; gives what it brought each job."""
        if not batch:
            return []
        started = time.monotonic()
        try:
            vectors = self._embedder.embed(batch)
        except DecodeError:
            log.exception("a batch of %d inputs could not be embedded", len(batch))
            return self._note_failure(batch)
        self._budget.observe(sum(piece.num_tokens for piece in batch), time.monotonic() - started)
        self.scheduler.commit(batch)
        outcomes: dict[Job, Outcome] = {}
        for piece, vector in zip(batch, vectors, strict=True):
            outcome = outcomes.setdefault(piece.job, Outcome(piece.job))
            if vector is not None:
                outcome.vectors.append(vector)
                outcome.num_tokens += piece.input_length
        return list(outcomes.values())

    def _note_failure(self, batch: list[Piece]) -> list[Outcome]:
        """Only who fails alone fails: the jobs of the batch are tried again, an input at a time."""
        self.scheduler.restart()
        if len(batch) > 1 or not batch[0].job.goes_alone:
            for piece in batch:
                piece.job.goes_alone = True
            return []
        self.scheduler.remove(batch[0].job)
        return [Outcome(batch[0].job, is_failed=True)]
