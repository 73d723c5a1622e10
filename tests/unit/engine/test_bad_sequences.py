"""Sequences that can't be computed: every batch that has one fails, and nobody else pays for that with an answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from zlib import crc32

import pytest
from kv_cells import KvCells
from sampling import GREEDY

from llamawire_server.engine.decode_errors import CacheFullError, DecodeError
from llamawire_server.engine.engine import Engine
from llamawire_server.engine.sequence import FinishReason, Sequence
from llamawire_server.engine.step import Limits, Sampled, Slice

LIMITS = Limits(num_slots=4, kv_cache_tokens=2000, context_length=500, batch_tokens=128, num_cache_slots=4)
WHOLE = replace(LIMITS, can_cut=False)

MOST_STEPS = 400


class Cells(KvCells):
    """Fails to compute what the bad request has from a place on, and more than there are cells for."""

    def __init__(self, limits: Limits, bad: int = -1, place: int = 0, num_cells: int = 2000) -> None:
        super().__init__(limits, lambda held: 1 + crc32(bytes(token % 256 for token in held)) % 30)
        self._bad, self._place, self._num_cells = bad, place, num_cells

    def run(self, slices: list[Slice]) -> Mapping[Sequence, Sampled]:
        if len(self.cells) + sum(piece.num_tokens for piece in slices) > self._num_cells:
            raise CacheFullError
        sampled = super().run(slices)
        for piece in slices:
            if piece.sequence.request_id == self._bad and piece.start + piece.length >= self._place:
                raise DecodeError
        return sampled

    def clear(self) -> None:
        raise AssertionError("moves don't fail here")


def sequence(request_id: int, num_tokens: int, index: int = 0) -> Sequence:
    prompt = [request_id + 1] * num_tokens
    return Sequence(request_id, index, prompt, num_tokens, 60, GREEDY)


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def finish(engine: Engine, good: list[Sequence], bad: list[Sequence]) -> None:
    """Let the bad ones come to those that run already; only they fail."""
    for one in good:
        engine.add([one])
    for _ in range(10):
        engine.run(engine.schedule())
    engine.add(bad)
    for _ in range(MOST_STEPS):
        if engine.has_work:
            engine.run(engine.schedule())
    assert not engine.has_work
    assert {one.finish_reason for one in bad} == {FinishReason.FAILED}
    assert [one.finish_reason for one in good] == [FinishReason.LENGTH] * 2
    assert [one.num_output_tokens for one in good] == [60, 60]


@pytest.mark.parametrize("num_choices", [1, 2])
@pytest.mark.parametrize(("num_tokens", "place"), [(200, 1), (200, 150), (200, 200), (40, 40), (200, 220)])
@pytest.mark.parametrize("limits", [LIMITS, WHOLE], ids=["can be cut", "can't be cut"])
def test_what_can_not_be_computed(limits: Limits, num_tokens: int, place: int, num_choices: int) -> None:
    bad = [sequence(3, num_tokens, index) for index in range(num_choices)]
    finish(Engine(Cells(limits, 3, place)), [sequence(number, 300) for number in (1, 2)], bad)


@pytest.mark.parametrize("num_tokens", [220, 350, 450])
@pytest.mark.parametrize("limits", [LIMITS, WHOLE], ids=["can be cut", "can't be cut"])
def test_what_there_are_too_few_cells_for(limits: Limits, num_tokens: int) -> None:
    """There are fewer than was believed."""
    cells = Cells(limits, num_cells=250)
    finish(Engine(cells), [sequence(number, 60) for number in (1, 2)], [sequence(3, num_tokens)])
