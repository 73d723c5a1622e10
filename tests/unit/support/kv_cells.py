"""A KV cache that believes nothing: it knows which token is in each cell, and whose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from llamawire_server.engine.scheduler import Scheduler, Speculation
from llamawire_server.engine.sequence import Sequence
from llamawire_server.engine.step import Copy, Cut, Limits, Load, Move, Sampled, Slice, Step, Store


@dataclass(eq=False)
class Cell:
    """What a token left behind."""

    position: int
    token: int
    slots: set[int] = field(default_factory=set)


class KvCells:
    """Carries out steps as llama.cpp does, and checks that they can be carried out."""

    end_token_ids: frozenset[int] = frozenset({0})

    def __init__(self, limits: Limits, next_token: Callable[[list[int]], int]) -> None:
        """next_token: what comes after so many tokens."""
        self.limits = limits
        self.cells: list[Cell] = []
        self.shelf: dict[int, dict[int, int]] = {}
        """What is stored, by key: tokens by position."""
        self.num_computed_tokens = 0
        """All that was computed so far, whether it was of use or not."""
        self._next_token = next_token

    def held(self, slot: int) -> list[int]:
        """The slot's tokens."""
        cells = sorted((cell for cell in self.cells if slot in cell.slots), key=lambda cell: cell.position)
        assert [cell.position for cell in cells] == list(range(len(cells))), "a slot has every place once"
        return [cell.token for cell in cells]

    def move(self, move: Move) -> None:
        if isinstance(move, Copy):
            assert not self.held(move.target), "only what is empty can get what another one has"
            held = self.held(move.source)
            assert len(held) >= move.num_tokens
            assert self.limits.can_cut or len(held) == move.num_tokens, "it can't be cut"
            for cell in self.cells:
                if move.source in cell.slots and cell.position < move.num_tokens:
                    cell.slots.add(move.target)
        elif isinstance(move, Cut):
            assert self.cut(move.slot, move.num_tokens), "it can't be cut"
        elif isinstance(move, Store):
            held = self.held(move.slot)
            assert move.end <= len(held)
            self.shelf[move.key] = dict(list(enumerate(held))[move.start : move.end])
            assert sum(map(len, self.shelf.values())) <= self.limits.shelf_tokens
        elif isinstance(move, Load):
            stored = self.shelf[move.key]
            assert len(self.cells) + len(stored) <= self.limits.kv_cache_tokens, "there are no more cells"
            assert len(self.held(move.slot)) == move.start
            self.cells += [Cell(at, stored[at], {move.slot}) for at in range(move.start, move.end)]
        else:
            del self.shelf[move.key]

    def cut(self, slot: int, num_tokens: int) -> bool:
        if not self.limits.can_cut and num_tokens and num_tokens < len(self.held(slot)):
            return False
        for cell in self.cells:
            if cell.position >= num_tokens:
                cell.slots.discard(slot)
        self.cells = [cell for cell in self.cells if cell.slots]
        return True

    def forget(self, sequence: Sequence) -> None:
        pass

    def run(self, slices: list[Slice]) -> Mapping[Sequence, Sampled]:
        assert sum(piece.num_tokens for piece in slices) <= self.limits.batch_tokens
        sampled: dict[Sequence, Sampled] = {}
        for piece in slices:
            held = self.held(piece.slot)
            assert piece.length > 0
            assert held == piece.sequence.tokens[: piece.start], "a slot holds what its sequence has computed"
            for token in piece.tokens:
                self.cells.append(Cell(len(held), token, {piece.slot}))
                held.append(token)
            self.num_computed_tokens += piece.num_tokens
            assert len(self.cells) <= self.limits.kv_cache_tokens, "there are no more cells"
            for sequence in piece.samples:
                assert held[: len(held) - len(piece.draft)] == sequence.tokens, "nothing is left out"
                sampled[sequence] = Sampled(self._sample(held, piece.draft))
        return sampled

    def advance(
        self, scheduler: Scheduler, budget: int = 64, speculation: Speculation | None = None
    ) -> list[Sequence]:
        """A whole step; gives the sequences that grew."""
        return self.commit(scheduler, scheduler.schedule(budget, speculation))

    def commit(self, scheduler: Scheduler, step: Step) -> list[Sequence]:
        """Carry out a step that was scheduled."""
        for move in step.moves:
            self.move(move)
        grown = scheduler.commit(step, self.run(step.slices), self.end_token_ids)
        return [sequence for sequence, _ in grown]

    def _sample(self, held: list[int], draft: tuple[int, ...]) -> list[int]:
        begun = held[: len(held) - len(draft)]
        tokens = [self._next_token(begun)]
        for token in draft:
            if token != tokens[-1]:
                break
            begun = [*begun, token]
            tokens.append(self._next_token(begun))
        return tokens
