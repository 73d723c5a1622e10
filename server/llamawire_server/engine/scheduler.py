"""The scheduler: which tokens the next step computes.

Pure Python without I/O. A step is `schedule` → (somebody runs it) → `commit`. Decoding sequences come first, one
token each; what the step's budget leaves goes to prompts, so that they share their steps with running streams and
with each other. A request waits until a slot is free and its prompt fits into the KV cells that are left.
Cells are not reserved for tokens that may never come: when they run out, the youngest sequence is preempted, and
what it had is computed again once there is room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from llamawire_server.engine.sequence import FinishReason, Prefill, Sequence

# Cells that must stay free for each decoding sequence when another prompt is admitted: without them a new
# prompt would be preempted again within a few steps.
HEADROOM_TOKENS = 16

# llama.cpp attends in tiles of so many tokens: a wide slice of another length fills its last one for nothing.
TILE_TOKENS = 64


@dataclass(frozen=True)
class Limits:
    """What the model's context allows."""

    num_slots: int
    """Sequences that can be in the KV cache at once."""

    kv_cache_tokens: int
    """Cells of the KV cache, shared by all slots."""

    context_length: int
    """The most tokens of one sequence. At most `kv_cache_tokens`."""

    batch_tokens: int
    """The most tokens of one step. At least `num_slots`."""


@dataclass(eq=False)
class Slice:
    """Tokens of one sequence that a step computes: `sequence.tokens[start:start + length]`."""

    sequence: Sequence
    slot: int
    start: int
    length: int
    samples: tuple[Sequence, ...]
    """Who samples a token from the last position's logits: nobody in the middle of a prompt; the sequence
    itself; at a prompt's end also the siblings, which fork from it first."""

    @property
    def is_wide(self) -> bool:
        """Whether it is to be computed in a wide batch; it is so as a whole or not at all."""
        return self.start < self.sequence.num_wide_tokens


@dataclass(eq=False)
class Step:
    """What to do next: free the slots, then compute the slices in one batch."""

    released_slots: list[int] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        return sum(piece.length for piece in self.slices)


class Scheduler:
    """Waiting prompts, prompts being computed, and sequences that decode."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._waiting: deque[Prefill] = deque()
        self._prefilling: list[Prefill] = []
        self._decoding: list[Sequence] = []
        self._free_slots = list(range(limits.num_slots - 1, -1, -1))
        self._released_slots: list[int] = []

    @property
    def has_work(self) -> bool:
        """Whether there is anything to compute, or a slot to free."""
        return bool(self._waiting or self._prefilling or self._decoding or self._released_slots)

    @property
    def num_waiting(self) -> int:
        """Sequences that have no slot yet."""
        return sum(len(prefill.sequences) for prefill in self._waiting)

    @property
    def num_decoding(self) -> int:
        """Sequences that generate."""
        return len(self._decoding)

    @property
    def num_kv_tokens(self) -> int:
        """Cells in use. A prompt shared by several sequences counts once."""
        own = 0
        shared: dict[int, int] = {}
        for sequence in self._live():
            own += sequence.num_computed_tokens - sequence.num_shared_tokens
            shared[sequence.request_id] = max(shared.get(sequence.request_id, 0), sequence.num_shared_tokens)
        return own + sum(shared.values())

    def add(self, sequences: list[Sequence]) -> None:
        """Queue the choices of one request. They have the same prompt, which is computed once.

        Raises ValueError for what could never run: more choices than slots, or a prompt without room for a
        token after it.
        """
        prompt = sequences[0].num_prompt_tokens
        if len(sequences) > self.limits.num_slots:
            raise ValueError(f"{len(sequences)} sequences, but {self.limits.num_slots} slots")
        if prompt < 1 or prompt >= self.limits.context_length:
            raise ValueError(f"a prompt of {prompt} tokens in a context of {self.limits.context_length}")
        self._waiting.append(Prefill(list(sequences)))

    def schedule(self, prompt_budget: int) -> Step:
        """The next step. At most `prompt_budget` of its tokens belong to prompts."""
        self._make_room_to_decode()
        step = Step(slices=[self._slice(sequence, 1, (sequence,)) for sequence in self._decoding])
        budget = min(prompt_budget, self.limits.batch_tokens - len(step.slices))
        self._admit()
        for prefill, length in self._shares(budget):
            is_last = length == prefill.leader.num_pending_tokens
            samples = tuple(prefill.sequences) if is_last else ()
            step.slices.append(self._slice(prefill.leader, length, samples))
        step.released_slots, self._released_slots = self._released_slots, []
        return step

    def commit(
        self, step: Step, sampled: Mapping[Sequence, int], end_token_ids: frozenset[int]
    ) -> list[Sequence]:
        """Take over what a step computed; gives the sequences that have a new token, in the step's order.

        A sequence that ends here keeps its last token, has its `finish_reason` set, and has left its slot.
        """
        grown = []
        for piece in step.slices:
            leader = piece.sequence
            leader.num_computed_tokens = piece.start + piece.length
            if not piece.samples:
                continue
            if len(piece.samples) > 1:
                for sequence in piece.samples:
                    sequence.num_computed_tokens = sequence.num_shared_tokens = leader.num_computed_tokens
            for prefill in self._prefilling:
                if prefill.leader is leader:
                    self._prefilling.remove(prefill)
                    self._decoding += prefill.sequences
                    break
            for sequence in piece.samples:
                token = sampled[sequence]
                sequence.tokens.append(token)
                grown.append(sequence)
                if token in end_token_ids or token in sequence.stop_token_ids:
                    self.finish(sequence, FinishReason.STOP)
                elif (
                    sequence.num_output_tokens >= sequence.max_tokens
                    or len(sequence.tokens) >= self.limits.context_length
                ):
                    self.finish(sequence, FinishReason.LENGTH)
        return grown

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        """End a sequence, wherever it stands; its slot is free for the next step. Does nothing if it has ended."""
        if sequence.finish_reason is not None:
            return
        sequence.finish_reason = reason
        if sequence in self._decoding:
            self._decoding.remove(sequence)
        else:
            self._leave_prefill(sequence)
        self._release(sequence)

    def preempt_youngest(self) -> bool:
        """Take the youngest prompt or sequence out of the KV cache and put it back in line.

        False where at most one is there: then nothing would be won.
        """
        if len(self._prefilling) + len(self._decoding) <= 1:
            return False
        youngest = max(self._live(), key=lambda sequence: sequence.sort_key)
        if youngest in self._decoding:
            self._decoding.remove(youngest)
            prefill = Prefill([youngest])
        else:
            prefill = next(entry for entry in self._prefilling if youngest in entry.sequences)
            self._prefilling.remove(prefill)
        for sequence in prefill.sequences:
            self._release(sequence)
        self._waiting.appendleft(prefill)
        return True

    def _slice(self, sequence: Sequence, length: int, samples: tuple[Sequence, ...]) -> Slice:
        assert sequence.slot is not None  # admitted sequences have one
        return Slice(sequence, sequence.slot, sequence.num_computed_tokens, length, samples)

    def _admit(self) -> None:
        """Give slots to the prompts that wait, first come first served, as long as there is room."""
        while self._waiting and self._fits(self._waiting[0]):
            prefill = self._waiting.popleft()
            for sequence in prefill.sequences:
                sequence.slot = self._free_slots.pop()
            self._prefilling.append(prefill)

    def _shares(self, budget: int) -> Iterator[tuple[Prefill, int]]:
        """How many tokens of a step each prompt gets.

        Those that need least come first, so that a short prompt does not wait for a long one; but half of the step
        is the oldest one's, so that it ends however many come after it.
        """
        reserved = (
            min(self._prefilling[0].leader.num_pending_tokens, (budget + 1) // 2) if self._prefilling else 0
        )
        for prefill in sorted(self._prefilling, key=lambda entry: entry.leader.num_pending_tokens):
            if prefill is self._prefilling[0]:
                reserved = 0
            length = _cut(prefill.leader, min(prefill.leader.num_pending_tokens, budget - reserved))
            if length > 0:
                yield prefill, length
                budget -= length

    def _fits(self, prefill: Prefill) -> bool:
        if len(prefill.sequences) > len(self._free_slots):
            return False
        if not self._prefilling and not self._decoding:
            return True
        promised = sum(entry.leader.num_pending_tokens for entry in self._prefilling)
        headroom = HEADROOM_TOKENS * (len(self._decoding) + len(prefill.sequences))
        needed = len(prefill.leader.tokens) + promised + headroom
        return self.num_kv_tokens + needed <= self.limits.kv_cache_tokens

    def _make_room_to_decode(self) -> None:
        """Every decoding sequence takes a cell, and the prompts being computed take theirs."""
        while self.num_kv_tokens + self._num_promised_tokens() > self.limits.kv_cache_tokens:
            if not self.preempt_youngest():
                return

    def _num_promised_tokens(self) -> int:
        return len(self._decoding) + sum(entry.leader.num_pending_tokens for entry in self._prefilling)

    def _live(self) -> Iterator[Sequence]:
        yield from self._decoding
        for prefill in self._prefilling:
            yield from prefill.sequences

    def _leave_prefill(self, sequence: Sequence) -> None:
        for queue in (self._prefilling, self._waiting):
            for prefill in list(queue):
                if sequence not in prefill.sequences:
                    continue
                if sequence is prefill.leader and prefill.followers:
                    # The cells computed so far are the leader's; the next in line takes over slot and all.
                    heir = prefill.followers[0]
                    heir.slot, sequence.slot = sequence.slot, heir.slot
                    heir.num_computed_tokens = sequence.num_computed_tokens
                    sequence.num_computed_tokens = 0
                prefill.sequences.remove(sequence)
                if not prefill.sequences:
                    queue.remove(prefill)
                return

    def _release(self, sequence: Sequence) -> None:
        if sequence.slot is not None:
            self._free_slots.append(sequence.slot)
            self._released_slots.append(sequence.slot)
        sequence.slot = None
        sequence.num_computed_tokens = sequence.num_shared_tokens = 0


def _cut(sequence: Sequence, length: int) -> int:
    """As many of the next `length` tokens as are all to be computed in wide batches, or all in narrow ones."""
    num_wide = min(length, sequence.num_wide_tokens - sequence.num_computed_tokens)
    if num_wide <= 0:
        return length
    return num_wide - num_wide % TILE_TOKENS or num_wide
