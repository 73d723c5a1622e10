"""A sequence: one choice of one request being generated."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import msgspec

from llamawire_server.engine.constraint import Constraint
from llamawire_server.engine.logprobs import TokenLogprobs

# llama.cpp attends in tiles of so many tokens from a tile's tokens in a batch on. That is 1.3 to 1.7 times as fast;
# but its last bits depend on where the cells lie, and with quantised weights a last bit grows to tenths of a logit.
# In narrow batches a token's logits are the same bits whoever shares the batch, so that most answers don't depend on
# their company. Where speed matters more, in prompts from `WIDE_TOKENS` on, whole tiles are computed in wide ones.
TILE_TOKENS = 64
WIDE_TOKENS = 512


class FinishReason(Enum):
    """Why a sequence ended."""

    STOP = "stop"
    """An end-of-generation token, a stop token, or (found by whoever reads the text) a stop string."""

    LENGTH = "length"
    """Its token limit or the context was reached."""

    FAILED = "failed"
    """Its tokens could not be computed, or its constraint can't say what may come."""


class DraftSource(Protocol):
    """Who guessed, and is told how right that was."""

    def note(self, num_drafted: int, num_accepted: int, num_tokens: int) -> None:
        """Of a draft, so many tokens were right; the sequence has `num_tokens` by now."""
        ...


class Drafter(DraftSource, Protocol):
    """Guesses the tokens that a sequence goes on with, from nothing but what is known of it."""

    @property
    def acceptance(self) -> float:
        """How likely the next token of a draft is right."""
        ...

    def draft(self, tokens: list[int], most: int) -> list[int]:
        """What may come after `tokens`, the sequence's own: `most` tokens or fewer, or none."""
        ...

    def watch(self, ahead: list[int]) -> None:
        """A draft, of one token at least, would not pay to compute; but how right it is can be seen all the same."""
        ...

    def follow(self, tokens: list[int], num_new_tokens: int) -> None:
        """The sequence, which has `tokens` by now, got the last `num_new_tokens` of them."""
        ...


class SamplingParameters(msgspec.Struct, frozen=True, kw_only=True):
    """How the next token is chosen; every field is set. Ranges are those of ChatCompletionRequest.

    Travels to the worker as it is, hence a msgspec type.
    """

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    frequency_penalty: float
    presence_penalty: float
    repeat_penalty: float
    seed: int
    logit_bias: dict[int, float]


@dataclass(eq=False)
class PromptScores:
    """How likely the tokens of a prompt were, as far as they are computed. The choices of a request share one."""

    num_top: int
    """How many of the likeliest tokens of each place are wanted with that."""

    num_places: int
    """Places that the prompt has a token after: one less than it has tokens."""

    logprobs: list[TokenLogprobs] = field(default_factory=list)
    """Of the tokens from the second one on. Place i says how likely the token after it was."""

    @property
    def is_complete(self) -> bool:
        return len(self.logprobs) == self.num_places


@dataclass(eq=False)
class Sequence:
    """Tokens so far, and how many of them are computed.

    Prefill and decode are one thing: whatever is not computed yet is what the next steps have to do. A sequence
    that decodes has exactly one such token, the one sampled last.
    """

    request_id: int
    index: int
    """Which choice of its request this is, from 0."""

    tokens: list[int]
    """The prompt, then what was generated."""

    num_prompt_tokens: int
    max_tokens: int
    """The most tokens to generate. At least 1."""

    sampling: SamplingParameters
    stop_token_ids: frozenset[int] = frozenset()

    rank: float = 0.0
    """Its place in line: lower goes first, and is preempted last."""

    drafter: Drafter | None = None
    """Guesses what comes next; None where nobody does."""

    constraint: Constraint | None = None
    """What its tokens may be; None where they may be anything. Who gives it has told it of the tokens that were
    generated so far, if any."""

    num_top_logprobs: int | None = None
    """How many of the likeliest tokens of each place are wanted with how likely they are; None where nobody wants to
    know of any."""

    prompt_scores: PromptScores | None = None
    """How likely its prompt's tokens were; None where nobody wants to know."""

    forced_tokens: list[int] = field(default_factory=list)
    """What comes next, whatever is likely; the scheduler takes away what has come."""

    num_free_tokens: int | None = None
    """How many tokens may come until somebody has to look at them; None: any number. At least 1."""

    num_computed_tokens: int = 0
    """Tokens whose keys and values are in the KV cache."""

    num_cached_tokens: int | None = None
    """Tokens of the prompt that were there when the sequence was first admitted; None until then."""

    num_accepted_draft_tokens: int = 0
    """Tokens that were guessed and right."""

    num_rejected_draft_tokens: int = 0
    """Tokens that were guessed and wrong, or came after such a one or after its end."""

    accepted_end: int = 0
    """Where in its tokens those of the last draft end that were right."""

    slot: int | None = None
    """The sequence's number in the KV cache; None while it waits and once it has ended."""

    finish_reason: FinishReason | None = None

    ended_by_token: bool = False
    """Whether its last token is one that ends a sequence, and is no text."""

    failure: str = ""
    """Why it failed, where that is for its caller to know."""

    @property
    def num_output_tokens(self) -> int:
        return len(self.tokens) - self.num_prompt_tokens

    @property
    def is_complete(self) -> bool:
        """Whether all is said that its constraint allows."""
        return self.constraint is not None and self.constraint.is_complete

    @property
    def num_wide_tokens(self) -> int:
        """Leading tokens of the prompt that are computed in wide batches.

        A prompt that is scored has none: each of its tokens takes a row of logits, and a narrow batch has few.
        """
        if self.prompt_scores is not None:
            return 0
        num_tokens = self.num_prompt_tokens
        return num_tokens - num_tokens % TILE_TOKENS if num_tokens >= WIDE_TOKENS else 0

    @property
    def num_reusable_tokens(self) -> int:
        """How many of its first tokens need not be computed where they are in a cache: nothing is wanted of them but
        what comes after."""
        scores = self.prompt_scores
        return len(self.tokens) if scores is None or scores.is_complete else len(scores.logprobs)

    @property
    def num_pending_tokens(self) -> int:
        """Tokens that are still to be computed."""
        return len(self.tokens) - self.num_computed_tokens

    def note_draft(self, num_drafted: int, num_accepted: int) -> None:
        """Of a draft after its tokens of now, so many were right."""
        self.num_accepted_draft_tokens += num_accepted
        self.num_rejected_draft_tokens += num_drafted - num_accepted
        self.accepted_end = len(self.tokens) + num_accepted

    def settle(self) -> None:
        """It has ended: what was guessed right beyond its last token is no part of it."""
        num_beyond = max(0, self.accepted_end - len(self.tokens))
        self.accepted_end -= num_beyond
        self.num_accepted_draft_tokens -= num_beyond
        self.num_rejected_draft_tokens += num_beyond

    @property
    def sort_key(self) -> tuple[float, int, int]:
        """Its rank, and its age: requests are numbered in the order in which they came."""
        return (self.rank, self.request_id, self.index)
