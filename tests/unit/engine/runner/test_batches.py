"""Which tokens of a step are computed together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sampling import GREEDY

from llamawire_server.engine.runner.batches import NARROW_TOKENS, batches
from llamawire_server.engine.sequence import WIDE_TOKENS, Sequence
from llamawire_server.engine.step import Slice


def a_slice(num_prompt_tokens: int, start: int, length: int) -> Slice:
    sequence = Sequence(1, 0, [0] * num_prompt_tokens, num_prompt_tokens, 100, GREEDY)
    return Slice(sequence, 0, start, length, ())


slices = st.one_of(
    st.builds(a_slice, st.integers(1, WIDE_TOKENS - 1), st.integers(0, 400), st.integers(1, 300)),
    st.builds(a_slice, st.just(2 * WIDE_TOKENS), st.just(0), st.integers(1, WIDE_TOKENS)),
)


@given(st.lists(slices, max_size=12))
def test_every_token_is_computed_once_and_in_order(step: list[Slice]) -> None:
    computed: dict[int, list[int]] = {id(piece): [] for piece in step}
    for batch in batches(step):
        assert batch
        for whole, start, stop in batch:
            assert start < stop
            computed[id(whole)] += range(start, stop)
    for piece in step:
        assert computed[id(piece)] == list(range(piece.start, piece.start + piece.length))


@given(st.lists(slices, max_size=12))
def test_narrow_batches_are_full_but_for_the_last_and_share_nothing_with_the_wide_one(
    step: list[Slice],
) -> None:
    made = list(batches(step))
    kinds = [{whole.is_wide for whole, _, _ in batch} for batch in made]
    assert all(len(kind) == 1 for kind in kinds)
    assert kinds.count({True}) <= 1
    sizes = [
        sum(stop - start for _, start, stop in batch)
        for batch, kind in zip(made, kinds, strict=True)
        if kind == {False}
    ]
    assert all(size == NARROW_TOKENS for size in sizes[:-1])
    assert all(size <= NARROW_TOKENS for size in sizes)
