"""What a step is: the sequences' tokens to compute, and what is to be done to the KV cache before."""

from __future__ import annotations

from dataclasses import dataclass, field

from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.engine.sequence import DraftSource, Sequence


@dataclass(frozen=True)
class Limits:
    """What the model's context allows."""

    num_slots: int
    """Sequences that can be computed at once."""

    kv_cache_tokens: int
    """Cells of the KV cache, shared by all slots."""

    context_length: int
    """The most tokens of one sequence. At most `kv_cache_tokens`."""

    batch_tokens: int
    """The most tokens of one step. At least `num_slots`."""

    num_cache_slots: int = 0
    """Slots beside those, in which what was computed can stay when its sequence has ended."""

    shelf_tokens: int = 0
    """Tokens of ended sequences that can be kept outside of the KV cache."""

    idle_tokens: int = 1 << 31
    """Cells that ended sequences may have while others run: every step looks at all, if only to pass them by."""

    can_cut: bool = True
    """Whether a slot's tokens can be shared and dropped from any place on. What recurrent models remember is that
    of all tokens together, and what a sliding window has left behind is lost: a slot can be shared as it stands, and
    dropped whole."""

    @property
    def num_all_slots(self) -> int:
        """What llama.cpp calls sequences."""
        return self.num_slots + self.num_cache_slots


@dataclass(frozen=True)
class Copy:
    """Let `target`, which is empty, have the first `num_tokens` tokens of `source` too. No cell is copied."""

    source: int
    target: int
    num_tokens: int


@dataclass(frozen=True)
class Cut:
    """Drop all but the slot's first `num_tokens` tokens; cells that other slots have too stay theirs."""

    slot: int
    num_tokens: int


@dataclass(frozen=True)
class Store:
    """Put the slot's tokens in [start, end) on the shelf, under `key`."""

    slot: int
    key: int
    start: int
    end: int


@dataclass(frozen=True)
class Load:
    """Give the slot, which ends at `start`, what the shelf has under `key` of the places in [start, end). For the
    moment it takes as many cells as the key has tokens."""

    key: int
    slot: int
    start: int
    end: int


@dataclass(frozen=True)
class Discard:
    """Drop from the shelf what is there under `key`."""

    key: int


Move = Copy | Cut | Store | Load | Discard


@dataclass(frozen=True)
class Draft:
    """What a sequence may go on with."""

    tokens: tuple[int, ...] = ()
    source: DraftSource | None = None
    """Who guessed it, to be told how right that was."""


@dataclass(eq=False)
class Slice:
    """Tokens of one sequence that a step computes: `sequence.tokens[start:start + length]`, then `draft`."""

    sequence: Sequence
    slot: int
    start: int
    length: int
    samples: tuple[Sequence, ...]
    """Who samples a token from the last position's logits: nobody in the middle of a prompt; the sequence
    itself; at a prompt's end also the siblings, which go on from there."""

    draft: tuple[int, ...] = ()
    """Tokens that may be what comes next. Each is kept if it is what is sampled in its place."""

    drafted_by: DraftSource | None = None
    """Who is told how much of the draft was right."""

    logprobs: list[TokenLogprobs] = field(default_factory=list)
    """How likely the tokens after its `scored_places` were: noted by who computes it."""

    @property
    def is_wide(self) -> bool:
        """Whether it is to be computed in a wide batch; it is so as a whole or not at all."""
        return self.start < self.sequence.num_wide_tokens

    @property
    def scored_places(self) -> range:
        """Its places of which it is wanted how likely the prompt's next token was."""
        scores = self.sequence.prompt_scores
        if scores is None:
            return range(0)
        begin = max(self.start, len(scores.logprobs))
        return range(begin, max(begin, min(self.start + self.length, scores.num_places)))

    @property
    def num_tokens(self) -> int:
        """All that is computed, what is only guessed included."""
        return self.length + len(self.draft)

    @property
    def tokens(self) -> list[int]:
        return [*self.sequence.tokens[self.start : self.start + self.length], *self.draft]


@dataclass(frozen=True)
class Sampled:
    """What a sequence goes on with."""

    tokens: list[int]
    """A token, and one more for each token of its draft that is what was sampled in its place; none where it
    failed."""

    logprobs: list[TokenLogprobs] = field(default_factory=list)
    """One a token; none where nobody wants to know."""

    failure: str = ""
    """Why the sequence can't go on; empty where it can."""


@dataclass(eq=False)
class Step:
    """What to do next: the moves in their order, then the slices."""

    moves: list[Move] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)

    suspects: tuple[Sequence, ...] = ()
    """Whose the step is alone, since a batch failed that they were in; nobody mostly."""

    @property
    def num_tokens(self) -> int:
        return sum(piece.num_tokens for piece in self.slices)

    @property
    def num_single_tokens(self) -> int:
        """Those of sequences that decode, what is guessed for them included."""
        return sum(piece.num_tokens for piece in self.slices if piece.length == 1)
