"""Which inputs the next batch embeds.

Pure Python without I/O. A batch is `schedule` → (somebody computes it) → `commit`. Every other batch is for whoever
is first in line, and those between are for the others, who need least first; what is left of it is for everybody. So
a single question is not kept waiting by a library that is being embedded, and nobody waits for ever.
"""

from __future__ import annotations

from collections.abc import Iterable

from llamawire_server.engine.embedding.job import EmbeddingLimits, Job, Piece


class EmbeddingScheduler:
    """Jobs that have inputs to compute."""

    def __init__(self, limits: EmbeddingLimits) -> None:
        self.limits = limits
        self._jobs: dict[int, Job] = {}
        self._begun: Job | None = None
        """The one job of whose next input a part is computed: what is computed takes up room until it is done."""
        self._is_turn_of_first = False

    @property
    def has_work(self) -> bool:
        """Whether there is anything to compute."""
        return bool(self._jobs)

    @property
    def num_tokens_left(self) -> int:
        """Tokens of all jobs that are not computed yet."""
        return sum(job.num_tokens_left for job in self._jobs.values())

    def add(self, job: Job) -> None:
        """Let a job line up. Raises ValueError for one that could never be computed to its end."""
        lengths = [len(tokens) for tokens in job.inputs[job.num_done :]]
        if not lengths or min(lengths) < 1 or max(lengths) > self.limits.context_length:
            raise ValueError(f"inputs of {lengths} tokens in a context of {self.limits.context_length}")
        self._jobs[job.request_id] = job

    def find(self, request_id: int) -> Job | None:
        """The request's job, while it is not done."""
        return self._jobs.get(request_id)

    def remove(self, job: Job) -> None:
        """Drop a job. One that is not there is no error."""
        self._jobs.pop(job.request_id, None)
        if self._begun is job:
            self._begun = None

    def schedule(self, budget: int) -> list[Piece]:
        """The next batch: at most `budget` tokens, or one input that can't be divided and has more. Empty where there
        is nothing to compute."""
        if not self._jobs:
            return []
        room = max(1, min(budget, self.limits.batch_tokens))
        # Who stands in everybody's way with a long input is served as if first in line.
        first = self._begun or min(self._jobs.values(), key=lambda job: job.rank)
        others = [job for job in self._jobs.values() if job is not first and not job.goes_alone]
        others.sort(key=lambda job: job.num_tokens_left)
        self._is_turn_of_first = not (self._is_turn_of_first and others)
        if not first.goes_alone:
            return self._fill([first, *others] if self._is_turn_of_first else [*others, first], room)
        batch = [] if self._is_turn_of_first else self._fill(others, room)
        return batch or self._take(first, room, 1, may_begin=True)

    def commit(self, batch: Iterable[Piece]) -> None:
        """The pieces are computed."""
        for piece in batch:
            job = piece.job
            job.num_tokens_left -= piece.num_tokens
            job.num_done += piece.is_last
            job.num_begun_tokens = 0 if piece.is_last else piece.stop
            if not piece.is_last:
                self._begun = job
            elif self._begun is job:
                self._begun = None
            if job.is_done:
                self.remove(job)

    def restart(self) -> None:
        """What was computed of an input that is not done is lost."""
        if self._begun is not None:
            self._begun.num_tokens_left += self._begun.num_begun_tokens
            self._begun.num_begun_tokens = 0
            self._begun = None

    def _fill(self, jobs: Iterable[Job], room: int) -> list[Piece]:
        """A batch of these jobs' inputs, each job having the room that those before it have left."""
        batch: list[Piece] = []
        for job in jobs:
            may_begin = not batch and self._begun is None
            pieces = self._take(job, room, self.limits.batch_inputs - len(batch), may_begin=may_begin)
            room -= sum(piece.num_tokens for piece in pieces)
            batch += pieces
        return batch

    def _take(self, job: Job, room: int, num_inputs: int, *, may_begin: bool) -> list[Piece]:
        """Inputs of the job in their order, as long as they fit; of one that is begun as much as fits.

        may_begin: whether to begin one that does not fit, or take it whole where it can't be divided.
        """
        pieces: list[Piece] = []
        start = job.num_begun_tokens
        for index in range(job.num_done, len(job.inputs)):
            if room < 1 or len(pieces) >= num_inputs:
                break
            stop = len(job.inputs[index])
            if stop - start > room:
                if not start and (pieces or not may_begin):
                    break
                if self.limits.takes_parts:
                    stop = start + room
            pieces.append(Piece(job, index, start, stop))
            room -= stop - start
            if not pieces[-1].is_last:
                break
            start = 0
        return pieces
