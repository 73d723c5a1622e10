"""The scheduler: which tokens the next step computes.

Pure Python without I/O. A step is `schedule` → (somebody runs it) → `commit`. Decoding sequences come first, one
token each; what the step's budget leaves goes to prompts, so that they share their steps with running streams and
with each other. A request waits until a slot is free and its prompt fits into the KV cells that are left.
Cells are not reserved for tokens that may never come: when they run out, the last in line is preempted, and
what it had is computed again once there is room.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from llamawire_server.engine.prefill import Awaited, Prefill, shares
from llamawire_server.engine.prefixes.cache import LEAST_KEPT_TOKENS, Found, PrefixCache
from llamawire_server.engine.prefixes.tree import common_length
from llamawire_server.engine.sequence import FinishReason, Sequence
from llamawire_server.engine.step import Draft, Limits, Sampled, Slice, Step

# Cells that must stay free for each decoding sequence when another prompt is admitted: without them a new
# prompt would be preempted again within a few steps.
HEADROOM_TOKENS = 16


class Speculation(Protocol):
    """Says what to guess."""

    def drafts(self, decoding: list[tuple[Sequence, int]], room: int) -> list[Draft]:
        """What to compute beside the next token of each sequence of a step that has no others.

        decoding: each with the most tokens that it has use for. room: the most tokens of all drafts together.
        """
        ...


class Scheduler:
    """Waiting prompts, prompts being computed, and sequences that decode."""

    def __init__(
        self, limits: Limits, *, keeps_prefixes: bool = True, clock: Callable[[], float] | None = None
    ) -> None:
        """keeps_prefixes, clock: as those of `PrefixCache`."""
        self.limits = limits
        self._cache = PrefixCache(limits, keeps_prefixes=keeps_prefixes, clock=clock)
        self._waiting: list[Prefill] = []
        self._prefilling: list[Prefill] = []
        self._decoding: list[Sequence] = []

    @property
    def has_work(self) -> bool:
        """Whether there is anything to compute, or to be done to the KV cache."""
        return bool(self._waiting or self._prefilling or self._decoding or self._cache.has_moves)

    @property
    def num_waiting(self) -> int:
        """Sequences that have no slot yet."""
        return sum(len(prefill.sequences) for prefill in self._waiting)

    @property
    def num_waiting_tokens(self) -> int:
        """Tokens of the prompts that have no slot yet."""
        return sum(len(prefill.leader.tokens) for prefill in self._waiting)

    def num_ahead(self, rank: float) -> int:
        """Sequences that have no slot yet and get one before a newcomer of this rank."""
        place = bisect.bisect_right(self._waiting, rank, key=lambda prefill: prefill.leader.rank)
        return sum(len(prefill.sequences) for prefill in self._waiting[:place])

    @property
    def num_running(self) -> int:
        """Sequences that have a slot."""
        return len(self._decoding) + sum(len(prefill.sequences) for prefill in self._prefilling)

    @property
    def num_decoding(self) -> int:
        """Sequences that generate."""
        return len(self._decoding)

    @property
    def num_kv_tokens(self) -> int:
        """Cells in use, those of ended sequences included. A shared one counts once."""
        return self._cache.num_tokens

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
        self._line_up(Prefill(list(sequences)))

    def schedule(
        self, prompt_budget: int, speculation: Speculation | None = None, *, wide_budget: int = 0
    ) -> Step:
        """The next step. At most `prompt_budget` of its tokens belong to prompts.

        speculation: says how many tokens are to be guessed; without it, none are. wide_budget: what prompts may
        have together where a long one is among them, if that is more.
        """
        self._make_room_to_decode()
        self._admit()
        suspect = next((entry for entry in self._prefilling if entry.goes_alone), None)
        if suspect is not None:
            step = Step(suspects=tuple(suspect.sequences))
        else:
            step = Step(slices=[self._slice(sequence, 1, (sequence,)) for sequence in self._decoding])
        if speculation is not None and self.limits.can_cut and self._decoding and not self._prefilling:
            self._draft(step, speculation)
        if any(entry.leader.num_computed_tokens < entry.leader.num_wide_tokens for entry in self._prefilling):
            prompt_budget = max(prompt_budget, wide_budget)
        budget = min(prompt_budget, self.limits.batch_tokens - step.num_tokens)
        for prefill, length in shares([suspect] if suspect else self._prefilling, budget):
            is_last = length == prefill.leader.num_pending_tokens
            samples = tuple(prefill.sequences) if is_last else ()
            step.slices.append(self._slice(prefill.leader, length, samples))
        self._cache.make_room(step.num_tokens)
        if step.slices:
            self._cache.clear_away()
        step.moves = self._cache.take_moves()
        return step

    def commit(
        self, step: Step, sampled: Mapping[Sequence, Sampled], end_token_ids: frozenset[int]
    ) -> list[tuple[Sequence, list[int]]]:
        """Take over what a step computed; gives the sequences that have new tokens, in the step's order, with them.

        sampled: what each sequence goes on with. One that failed stays as it is, for whoever ends it.
        A sequence that ends here keeps its last token, has its `finish_reason` set, and has left its slot.
        """
        grown = []
        for piece in step.slices:
            leader = piece.sequence
            num_right = max(0, len(sampled[leader].tokens) - 1) if piece.draft else 0
            computed = leader.tokens[piece.start : piece.start + piece.length]
            self._cache.extend(
                piece.slot, [*computed, *piece.draft[:num_right]], len(piece.draft) - num_right
            )
            leader.num_computed_tokens = piece.start + piece.length + num_right
            if leader.prompt_scores is not None:
                leader.prompt_scores.logprobs += piece.logprobs
            if not piece.samples:
                continue
            for prefill in self._prefilling:
                if prefill.leader is leader:
                    self._begin_to_decode(prefill)
                    break
            if piece.draft:
                leader.note_draft(len(piece.draft), num_right)
                if piece.drafted_by is not None:
                    piece.drafted_by.note(len(piece.draft), num_right, len(leader.tokens) + num_right + 1)
            growing = [sequence for sequence in piece.samples if not sampled[sequence].failure]
            grown += [(one, self._append(one, sampled[one].tokens, end_token_ids)) for one in growing]
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
        self._release(sequence, keeps=reason is not FinishReason.FAILED)

    def preempt_last(self, *, needs_all: bool = False) -> bool:
        """Take the prompt or sequence that is last in line out of the KV cache and put it back in line.

        needs_all: what is free is not what it is taken for, so that it comes back when nobody else is there.
        False where at most one is there: then nothing would be won.
        """
        if len(self._prefilling) + len(self._decoding) <= 1:
            return False
        last = max(self._live(), key=lambda sequence: sequence.sort_key)
        if last in self._decoding:
            self._decoding.remove(last)
            prefill = Prefill([last])
        else:
            prefill = next(entry for entry in self._prefilling if last in entry.sequences)
            self._prefilling.remove(prefill)
        for sequence in prefill.sequences:
            self._release(sequence)
        prefill.needs_all |= needs_all
        self._line_up(prefill)
        return True

    def restart(self, sequence: Sequence, *, goes_alone: bool = True) -> None:
        """Nothing of a sequence is in the KV cache any more: its slot is to be emptied, and all computed again.

        goes_alone: up to its next token nobody else is computed with it, as it may be why a batch failed.
        """
        prefill = next((entry for entry in self._prefilling if sequence in entry.sequences), None)
        if prefill is None:
            self._decoding.remove(sequence)
            prefill = Prefill([sequence])
        else:
            self._prefilling.remove(prefill)
        for entry in prefill.sequences:
            self._release(entry, keeps=False)
        prefill.goes_alone = goes_alone
        self._line_up(prefill)

    def restart_all(self) -> None:
        """Nothing at all is in the KV cache any more."""
        for sequence in [*self._decoding, *(entry.leader for entry in self._prefilling)]:
            self.restart(sequence, goes_alone=False)
        self._cache.forget_all()

    def free_cells(self) -> bool:
        """Let go of all that is kept of ended sequences; False where nothing was."""
        num_kept = self._cache.num_tokens - self._cache.num_pinned_tokens
        self._cache.make_room(self.limits.kv_cache_tokens)
        return num_kept > 0

    def _line_up(self, prefill: Prefill) -> None:
        bisect.insort(self._waiting, prefill, key=lambda entry: entry.leader.sort_key)

    def _slice(self, sequence: Sequence, length: int, samples: tuple[Sequence, ...]) -> Slice:
        assert sequence.slot is not None  # admitted sequences have one
        return Slice(sequence, sequence.slot, sequence.num_computed_tokens, length, samples)

    def _draft(self, step: Step, speculation: Speculation) -> None:
        """Add to the slices of decoding sequences what they may go on with, as far as there is room for guesses."""
        room = self.limits.kv_cache_tokens - self._cache.num_pinned_tokens - self._num_promised_tokens()
        room = min(room, self.limits.batch_tokens - len(step.slices))
        decoding = [(piece.sequence, self._num_left(piece.sequence)) for piece in step.slices]
        drafts = speculation.drafts(decoding, max(0, room))
        for piece, draft in zip(step.slices, drafts, strict=True):
            piece.draft, piece.drafted_by = draft.tokens, draft.source

    def _num_left(self, sequence: Sequence) -> int:
        """How long a draft may be. The last token that a sequence may have is sampled after the draft, and so needs
        no place in it."""
        num_tokens = min(sequence.max_tokens + sequence.num_prompt_tokens, self.limits.context_length)
        if sequence.num_free_tokens is not None:
            num_tokens = min(num_tokens, len(sequence.tokens) + sequence.num_free_tokens)
        return max(0, num_tokens - len(sequence.tokens) - 1)

    def _admit(self) -> None:
        """Give slots to the prompts that wait, in their order, as long as there is room.

        A prompt that begins like one that is being computed waits for that, and keeps nobody else waiting.
        """
        num_free_slots = self.limits.num_slots - self.num_running
        left = []
        for number, prefill in enumerate(self._waiting):
            if not num_free_slots:
                left += self._waiting[number:]
                break
            if self._still_awaits(prefill):
                left.append(prefill)
                continue
            found = self._cache.find(prefill.leader.tokens, prefill.leader.num_reusable_tokens)
            if self._await_more(prefill, found):
                left.append(prefill)
                continue
            if len(prefill.sequences) > num_free_slots or not self._fits(prefill, found):
                left += self._waiting[number:]
                break
            self._give_slots(prefill, found)
            num_free_slots -= len(prefill.sequences)
        self._waiting = left

    def _give_slots(self, prefill: Prefill, found: Found) -> None:
        leader = prefill.leader
        leader.slot, leader.num_computed_tokens = self._cache.claim(leader.tokens, found)
        for sequence in prefill.sequences:
            if sequence.num_cached_tokens is None:
                sequence.num_cached_tokens = min(leader.num_computed_tokens, sequence.num_prompt_tokens)
        for sequence in prefill.followers:
            sequence.slot, _ = self._cache.claim()
        self._prefilling.append(prefill)

    def _still_awaits(self, prefill: Prefill) -> bool:
        awaited = prefill.awaits
        if awaited is None:
            return False
        computes = any(entry.leader is awaited.sequence for entry in self._prefilling)
        if computes and awaited.sequence.num_computed_tokens < awaited.num_tokens:
            return True
        prefill.awaits = None
        return False

    def _await_more(self, prefill: Prefill, found: Found) -> bool:
        """Whether another prompt is computing more of this one's beginning than there is."""
        if not self._cache.keeps_prefixes:
            return False
        tokens = prefill.leader.tokens
        most = min(len(tokens) - 1, prefill.leader.num_reusable_tokens)
        best = found.num_tokens + LEAST_KEPT_TOKENS - 1
        for entry in self._prefilling:
            limit = min(most, len(entry.leader.tokens))
            num_common = common_length(tokens, entry.leader.tokens, limit)
            if num_common > max(best, entry.leader.num_computed_tokens):
                best = num_common
                prefill.awaits = Awaited(entry.leader, num_common)
        if prefill.awaits is None:
            return False
        if not self.limits.can_cut:
            for entry in self._prefilling:
                if entry.leader is prefill.awaits.sequence:
                    entry.stops.add(prefill.awaits.num_tokens)
        return True

    def _fits(self, prefill: Prefill, found: Found) -> bool:
        if not self._prefilling and not self._decoding:
            return True
        if prefill.needs_all:
            return False
        promised = sum(entry.leader.num_pending_tokens for entry in self._prefilling)
        headroom = HEADROOM_TOKENS * (len(self._decoding) + len(prefill.sequences))
        match = found.match
        needed = len(prefill.leader.tokens) - match.num_tokens + match.num_unpinned_tokens
        used = self._cache.num_pinned_tokens + promised
        return used + needed + headroom <= self.limits.kv_cache_tokens

    def _make_room_to_decode(self) -> None:
        """Every decoding sequence takes a cell, and the prompts being computed take theirs."""
        while self._cache.num_pinned_tokens + self._num_promised_tokens() > self.limits.kv_cache_tokens:
            if not self.preempt_last():
                return

    def _num_promised_tokens(self) -> int:
        return len(self._decoding) + sum(entry.leader.num_pending_tokens for entry in self._prefilling)

    def _live(self) -> Iterator[Sequence]:
        yield from self._decoding
        for prefill in self._prefilling:
            yield from prefill.sequences

    def _begin_to_decode(self, prefill: Prefill) -> None:
        """A prompt is computed: who waited for it goes on from there."""
        self._prefilling.remove(prefill)
        self._decoding += prefill.sequences
        leader = prefill.leader
        assert leader.slot is not None
        for sequence in prefill.followers:
            assert sequence.slot is not None
            self._cache.copy(leader.slot, sequence.slot, leader.num_computed_tokens)
            sequence.num_computed_tokens = leader.num_computed_tokens

    def _append(self, sequence: Sequence, tokens: list[int], end_token_ids: frozenset[int]) -> list[int]:
        """Let the sequence go on with the tokens, as far as it goes; gives those that it took."""
        for number, token in enumerate(tokens):
            sequence.tokens.append(token)
            del sequence.forced_tokens[:1]
            if sequence.drafter is not None:
                sequence.drafter.follow(sequence.tokens, 1)
            sequence.ended_by_token = token in end_token_ids or token in sequence.stop_token_ids
            # The constraint has come to the last of the tokens already.
            is_last = number + 1 == len(tokens)
            if sequence.ended_by_token or (is_last and sequence.is_complete):
                self.finish(sequence, FinishReason.STOP)
            elif (
                sequence.num_output_tokens >= sequence.max_tokens
                or len(sequence.tokens) >= self.limits.context_length
            ):
                self.finish(sequence, FinishReason.LENGTH)
            if sequence.finish_reason is not None:
                return tokens[: number + 1]
        return tokens

    def _leave_prefill(self, sequence: Sequence) -> None:
        for queue in (self._prefilling, self._waiting):
            for prefill in queue:
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

    def _release(self, sequence: Sequence, *, keeps: bool = True) -> None:
        if sequence.slot is not None:
            if keeps:
                self._cache.keep(sequence.slot)
            else:
                self._cache.drop(sequence.slot)
        sequence.slot = None
        sequence.num_computed_tokens = 0
