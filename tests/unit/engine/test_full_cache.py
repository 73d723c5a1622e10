"""A KV cache that is not what it was taken for: everything is computed again, and every answer is what it was."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_cells import KvCells
from sampling import GREEDY

from llamawire_server.engine.decode_errors import CacheFullError, DecodeError
from llamawire_server.engine.drafting.prompt_lookup import PromptLookup
from llamawire_server.engine.engine import Engine
from llamawire_server.engine.sequence import FinishReason, Sequence
from llamawire_server.engine.step import Limits, Move, Sampled, Slice

LIMITS = Limits(
    num_slots=3, kv_cache_tokens=200, context_length=150, batch_tokens=64, num_cache_slots=3, shelf_tokens=400
)
WHOLE = replace(LIMITS, can_cut=False, shelf_tokens=0)


def next_token(held: list[int]) -> int:
    """Something that depends on all that came before; now and then the end, 0."""
    return crc32(bytes(token % 256 for token in held)) % 30


class Faulty(KvCells):
    """Fails at the moves and batches of these numbers, some of a batch's cells being there by then."""

    def __init__(self, limits: Limits, moves: frozenset[int], batches: frozenset[int]) -> None:
        super().__init__(limits, next_token)
        self._moves, self._batches = moves, batches
        self.num_moves = self.num_batches = self.num_clears = 0
        self.forgotten: list[Sequence] = []

    def move(self, move: Move) -> None:
        self.num_moves += 1
        if self.num_moves in self._moves:
            raise CacheFullError
        super().move(move)

    def run(self, slices: list[Slice]) -> Mapping[Sequence, Sampled]:
        self.num_batches += 1
        if self.num_batches not in self._batches:
            return super().run(slices)
        super().run(slices[: len(slices) // 2])
        raise CacheFullError if self.num_batches % 2 else DecodeError

    def clear(self) -> None:
        self.num_clears += 1
        self.cells.clear()
        self.shelf.clear()

    def forget(self, sequence: Sequence) -> None:
        self.forgotten.append(sequence)


def sequence(request_id: int, prompt: list[int], max_tokens: int, index: int = 0) -> Sequence:
    return Sequence(request_id, index, list(prompt), len(prompt), max_tokens, GREEDY, drafter=PromptLookup())


def expected(prompt: list[int], max_tokens: int) -> list[int]:
    tokens = list(prompt)
    while len(tokens) < len(prompt) + max_tokens:
        tokens.append(next_token(tokens))
        if tokens[-1] == 0:
            break
    return tokens


def finish(engine: Engine, num_steps: int = 2000) -> None:
    for _ in range(num_steps):
        if not engine.has_work:
            return
        engine.run(engine.schedule())
    raise AssertionError("it does not come to an end")


@pytest.fixture(autouse=True)
def _silence() -> object:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_a_cache_that_can_not_be_moved_is_cleared_and_all_of_it_computed_again() -> None:
    cells = Faulty(LIMITS, moves=frozenset({1}), batches=frozenset())
    engine = Engine(cells)
    prompt = [token % 7 + 1 for token in range(60)]
    both = [sequence(1, prompt, 10, index) for index in range(2)]
    engine.add(both)
    engine.run(engine.schedule())
    assert both[0].num_output_tokens == 1
    assert engine.run(engine.schedule()) == [], "the copy for the second choice fails"
    assert cells.num_clears == 1
    assert cells.cells == []
    finish(engine)
    assert [one.tokens for one in both] == [expected(prompt, 10)] * 2
    assert not any(one.finish_reason is FinishReason.FAILED for one in both)


def test_what_was_on_the_shelf_is_gone_with_the_rest() -> None:
    cells = Faulty(LIMITS, moves=frozenset(), batches=frozenset())
    engine = Engine(cells)
    for number in range(4):
        engine.add([sequence(number, [number + 1] * 90, 1)])
        finish(engine)
    assert cells.shelf
    cells._moves = frozenset({cells.num_moves + 1})
    again = sequence(9, [1] * 90, 1)
    engine.add([again])
    finish(engine)
    assert cells.num_clears == 1
    assert again.tokens == expected([1] * 90, 1)
    for number in range(4):
        engine.add([sequence(10 + number, [number + 1] * 90, 1)])
        finish(engine)


@given(
    requests=st.lists(
        st.tuples(
            st.integers(0, 90),  # how much of the common beginning
            st.lists(st.integers(1, 3), min_size=1, max_size=30),  # what follows
            st.integers(1, 25),  # max_tokens
            st.integers(1, 3),  # choices
            st.integers(0, 20),  # the step at which it comes
        ),
        min_size=1,
        max_size=8,
    ),
    moves=st.frozensets(st.integers(1, 40), max_size=4),
    batches=st.frozensets(st.integers(1, 60), max_size=4),
    limits=st.sampled_from([LIMITS, WHOLE]),
)
@settings(max_examples=150)
def test_faults_cost_time_and_no_answers(
    requests: list[tuple[int, list[int], int, int, int]],
    moves: frozenset[int],
    batches: frozenset[int],
    limits: Limits,
) -> None:
    cells = Faulty(limits, moves, batches)
    engine = Engine(cells)
    beginning = [token % 5 + 1 for token in range(100)]
    groups = []
    for number, (length, rest, max_tokens, n, _) in enumerate(requests):
        prompt = [*beginning[:length], *rest]
        groups.append([sequence(number, prompt, max_tokens, index) for index in range(n)])
    for now in range(3000):
        for group, (*_, arrival) in zip(groups, requests, strict=True):
            if now == arrival:
                engine.add(group)
        if engine.has_work:
            engine.run(engine.schedule())
        elif now > 20:
            break
    assert not engine.has_work, "nothing starves"
    for one in (one for group in groups for one in group):
        assert one in cells.forgotten
        if one.finish_reason is FinishReason.FAILED:
            # A batch that fails a second time, alone, fails its sequences.
            assert len(batches) > 1
        else:
            prompt = one.tokens[: one.num_prompt_tokens]
            assert one.tokens == expected(prompt, min(one.max_tokens, 150 - len(prompt)))
    assert len(cells.cells) == engine.scheduler.num_kv_tokens, "every cell is accounted for"
