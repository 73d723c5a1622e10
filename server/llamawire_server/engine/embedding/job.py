"""What is to be embedded, and what of it a batch computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EmbeddingLimits:
    """What a model's embedding context allows."""

    context_length: int
    """The most tokens of one input."""

    batch_tokens: int
    """The most tokens of one batch, but for an input that must be computed whole and is longer: it goes alone."""

    batch_inputs: int
    """The most inputs of one batch."""

    takes_parts: bool
    """Whether an input may be computed a part a batch. Not where each of its tokens is to see those that follow."""


@dataclass(eq=False)
class Job:
    """The inputs of one request, computed in their order."""

    request_id: int
    inputs: list[list[int]]
    """Tokens, none of them empty."""

    rank: float
    """Its place in line; lower goes first."""

    dimensions: int | None = None
    """How many numbers of each vector are wanted; None: all."""

    num_done: int = 0
    """Inputs whose vectors are there."""

    num_begun_tokens: int = 0
    """Tokens of the next input that are computed already."""

    goes_alone: bool = False
    """Whether it shares no batch with others any more: one that it was part of failed."""

    def __post_init__(self) -> None:
        self.num_tokens_left = sum(map(len, self.inputs[self.num_done :]))
        """Tokens that are not computed yet."""

    @property
    def is_done(self) -> bool:
        """Whether all of its vectors are there."""
        return self.num_done == len(self.inputs)


@dataclass(frozen=True)
class Piece:
    """Tokens of one input that a batch computes: those in [start, stop)."""

    job: Job
    index: int
    """Of the input, among those of the job."""

    start: int
    stop: int

    @property
    def num_tokens(self) -> int:
        return self.stop - self.start

    @property
    def tokens(self) -> list[int]:
        return self.job.inputs[self.index][self.start : self.stop]

    @property
    def input_length(self) -> int:
        """Tokens of the whole input."""
        return len(self.job.inputs[self.index])

    @property
    def is_last(self) -> bool:
        """Whether the input ends with it."""
        return self.stop == self.input_length

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole input."""
        return self.start == 0 and self.is_last
