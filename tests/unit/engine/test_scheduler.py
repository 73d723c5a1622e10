"""The scheduler against a fake runner: who computes what, when, and in which slot."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_cells import KvCells
from sampling import GREEDY

from llamawire_server.engine.scheduler import Scheduler
from llamawire_server.engine.sequence import FinishReason, Sequence
from llamawire_server.engine.step import Limits, Sampled, Slice, Step

END = 0


def sequences(request_id: int, prompt: int, max_tokens: int = 4, n: int = 1) -> list[Sequence]:
    return [
        Sequence(
            request_id=request_id,
            index=index,
            tokens=[request_id * 1000 + position for position in range(1, prompt + 1)],
            num_prompt_tokens=prompt,
            max_tokens=max_tokens,
            sampling=GREEDY,
        )
        for index in range(n)
    ]


def next_token(held: list[int]) -> int:
    return 100_000 + held[0] // 1000 * 100 + len(held)


def start(limits: Limits) -> tuple[Scheduler, KvCells]:
    return Scheduler(limits), KvCells(limits, next_token)


def advance(scheduler: Scheduler, cells: KvCells, budget: int = 64) -> list[Sequence]:
    return cells.advance(scheduler, budget)


def lengths(step: Step) -> list[tuple[int, int]]:
    return [(piece.sequence.request_id, piece.length) for piece in step.slices]


LIMITS = Limits(num_slots=4, kv_cache_tokens=200, context_length=100, batch_tokens=64)


def test_a_prompt_is_split_over_steps_and_decodes_from_then_on() -> None:
    scheduler, cells = start(LIMITS)
    (sequence,) = sequences(1, prompt=50, max_tokens=3)
    scheduler.add([sequence])
    assert advance(scheduler, cells, budget=20) == []
    assert advance(scheduler, cells, budget=20) == []
    assert advance(scheduler, cells, budget=20) == [sequence]
    assert (sequence.num_computed_tokens, sequence.num_output_tokens) == (50, 1)
    advance(scheduler, cells)
    advance(scheduler, cells)
    assert sequence.finish_reason is FinishReason.LENGTH
    assert sequence.num_output_tokens == 3


def test_a_new_prompt_shares_its_steps_with_running_streams() -> None:
    """Failure 5 of other servers: one long prompt stops every running stream."""
    scheduler, cells = start(LIMITS)
    (running,) = sequences(1, prompt=4, max_tokens=50)
    scheduler.add([running])
    advance(scheduler, cells)
    scheduler.add(sequences(2, prompt=40))
    step = scheduler.schedule(16)
    assert lengths(step) == [(1, 1), (2, 16)]
    cells.commit(scheduler, step)
    assert running.num_output_tokens == 2


def test_prompts_are_computed_in_the_order_they_came() -> None:
    scheduler = Scheduler(LIMITS)
    scheduler.add(sequences(1, prompt=10))
    scheduler.add(sequences(2, prompt=10))
    assert lengths(scheduler.schedule(15)) == [(1, 10), (2, 5)]


def test_a_short_prompt_does_not_wait_for_a_long_one() -> None:
    scheduler, cells = start(LIMITS)
    scheduler.add(sequences(1, prompt=60))
    advance(scheduler, cells, budget=16)
    short = sequences(2, prompt=6)
    scheduler.add(short)
    step = scheduler.schedule(16)
    assert lengths(step) == [(2, 6), (1, 10)]
    assert cells.commit(scheduler, step) == short


def test_short_prompts_leave_half_of_each_step_to_the_oldest() -> None:
    scheduler, cells = start(LIMITS)
    scheduler.add(sequences(1, prompt=60))
    advance(scheduler, cells, budget=16)
    for request_id in (2, 3):
        scheduler.add(sequences(request_id, prompt=12))
    assert lengths(scheduler.schedule(16)) == [(2, 8), (1, 8)]


def test_an_ended_sequence_makes_room_for_the_next_at_the_next_step() -> None:
    limits = Limits(num_slots=1, kv_cache_tokens=200, context_length=100, batch_tokens=64)
    scheduler, cells = start(limits)
    first, second = sequences(1, prompt=5, max_tokens=1), sequences(2, prompt=5, max_tokens=1)
    scheduler.add(first)
    scheduler.add(second)
    assert advance(scheduler, cells) == first
    assert scheduler.num_waiting == 1
    assert advance(scheduler, cells) == second


def test_choices_compute_their_prompt_once() -> None:
    scheduler, cells = start(LIMITS)
    choices = sequences(1, prompt=30, max_tokens=5, n=3)
    scheduler.add(choices)
    step = scheduler.schedule(64)
    assert step.num_tokens == 30
    assert cells.commit(scheduler, step) == choices
    assert scheduler.num_kv_tokens == 30, "the shared prompt's cells count once"
    step = scheduler.schedule(64)
    assert step.num_tokens == 3
    cells.commit(scheduler, step)
    assert scheduler.num_kv_tokens == 33


def test_choices_wait_until_there_is_a_slot_for_each() -> None:
    scheduler, cells = start(LIMITS)
    scheduler.add(sequences(1, prompt=5, max_tokens=50, n=3))
    advance(scheduler, cells)
    scheduler.add(sequences(2, prompt=5, n=2))
    assert lengths(scheduler.schedule(64)) == [(1, 1)] * 3
    assert scheduler.num_waiting == 2


@pytest.mark.parametrize("cancelled", [0, 1])
def test_a_choice_that_leaves_during_prefill_does_not_lose_what_is_computed(cancelled: int) -> None:
    scheduler, cells = start(LIMITS)
    choices = sequences(1, prompt=40, max_tokens=3, n=2)
    scheduler.add(choices)
    advance(scheduler, cells, budget=30)
    scheduler.finish(choices.pop(cancelled), FinishReason.STOP)
    step = scheduler.schedule(64)
    assert lengths(step) == [(1, 10)]
    assert cells.commit(scheduler, step) == choices


def test_end_tokens_and_stop_tokens_end_a_sequence() -> None:
    scheduler = Scheduler(LIMITS)
    ended, stopped = sequences(1, prompt=3), sequences(2, prompt=3)
    stopped[0].stop_token_ids = frozenset({77})
    scheduler.add(ended)
    scheduler.add(stopped)
    step = scheduler.schedule(64)
    sampled = {ended[0]: Sampled([END]), stopped[0]: Sampled([77])}
    grown = scheduler.commit(step, sampled, frozenset({END}))
    assert [s.finish_reason for s, _ in grown] == [FinishReason.STOP] * 2
    assert scheduler.schedule(64).slices == []


def test_the_context_ends_a_sequence() -> None:
    scheduler, cells = start(LIMITS)
    (sequence,) = sequences(1, prompt=98, max_tokens=50)
    scheduler.add([sequence])
    while scheduler.has_work:
        advance(scheduler, cells)
    assert sequence.finish_reason is FinishReason.LENGTH
    assert len(sequence.tokens) == LIMITS.context_length


@pytest.mark.parametrize("place", ["queue", "prefill", "decode"])
def test_a_cancel_frees_the_slot_for_the_very_next_step(place: str) -> None:
    limits = Limits(num_slots=1, kv_cache_tokens=200, context_length=100, batch_tokens=64)
    scheduler, cells = start(limits)
    (cancelled,) = sequences(1, prompt=40, max_tokens=50)
    scheduler.add([cancelled])
    if place != "queue":
        advance(scheduler, cells, budget=20 if place == "prefill" else 64)
    scheduler.finish(cancelled, FinishReason.STOP)
    assert cancelled.slot is None
    scheduler.add(sequences(2, prompt=10))
    step = scheduler.schedule(64)
    assert lengths(step) == [(2, 10)]
    cells.commit(scheduler, step)
    scheduler.finish(cancelled, FinishReason.STOP)  # twice is as good as once
    assert cancelled.finish_reason is FinishReason.STOP


def test_the_last_in_line_is_preempted_when_cells_run_out_and_loses_nothing() -> None:
    limits = Limits(num_slots=2, kv_cache_tokens=100, context_length=100, batch_tokens=64)
    scheduler, cells = start(limits)
    old, young = sequences(1, prompt=20, max_tokens=60)[0], sequences(2, prompt=20, max_tokens=60)[0]
    scheduler.add([old])
    scheduler.add([young])
    preemptions = 0
    for _ in range(500):
        if not scheduler.has_work:
            break
        had_slot = young.slot is not None
        advance(scheduler, cells)
        preemptions += had_slot and young.slot is None and young.finish_reason is None
        assert scheduler.num_kv_tokens <= limits.kv_cache_tokens
    assert preemptions >= 1
    assert [s.finish_reason for s in (old, young)] == [FinishReason.LENGTH] * 2
    assert young.num_output_tokens == 60


def test_what_can_never_run_is_refused() -> None:
    scheduler = Scheduler(LIMITS)
    for impossible in (
        sequences(1, prompt=100),
        sequences(1, prompt=0),
        sequences(1, prompt=5, n=5),
    ):
        with pytest.raises(ValueError, match=r"prompt|slots"):
            scheduler.add(impossible)
    assert not scheduler.has_work


@given(
    requests=st.lists(
        st.tuples(
            st.integers(1, 60),  # prompt
            st.integers(1, 30),  # max_tokens
            st.integers(1, 3),  # choices
            st.integers(0, 40),  # the step at which it comes
            st.one_of(st.none(), st.integers(0, 30)),  # how many steps later it is cancelled
        ),
        max_size=12,
    ),
    budget=st.integers(1, 64),
    kv_cache_tokens=st.integers(70, 250),
)
@settings(max_examples=200)
def test_whatever_comes_every_sequence_gets_exactly_its_tokens(
    requests: list[tuple[int, int, int, int, int | None]], budget: int, kv_cache_tokens: int
) -> None:
    limits = Limits(num_slots=3, kv_cache_tokens=kv_cache_tokens, context_length=70, batch_tokens=64)
    scheduler, cells = start(limits)
    groups = [sequences(i, prompt, m, n) for i, (prompt, m, n, _, _) in enumerate(requests)]
    cancelled: set[Sequence] = set()
    for now in range(5000):
        for group, (_, _, _, arrival, patience) in zip(groups, requests, strict=True):
            if now == arrival:
                scheduler.add(group)
            if patience is not None and now == arrival + patience:
                cancelled |= {s for s in group if s.finish_reason is None}
                for sequence in group:
                    scheduler.finish(sequence, FinishReason.STOP)
        advance(scheduler, cells, budget)
        held = [s.slot for group in groups for s in group if s.slot is not None]
        assert len(held) == len(set(held)), "no slot belongs to two sequences"
        assert len(held) <= limits.num_slots
        if now > 80 and not scheduler.has_work:
            break
    assert not scheduler.has_work, "nothing starves"
    assert len(cells.cells) == scheduler.num_kv_tokens, "every cell is accounted for"
    scheduler.free_cells()
    advance(scheduler, cells)
    assert cells.cells == [], "every cell can be freed"
    for sequence in (s for group in groups for s in group):
        expected = min(sequence.max_tokens, limits.context_length - sequence.num_prompt_tokens)
        if sequence not in cancelled:
            assert sequence.num_output_tokens == expected


def test_a_slice_of_a_waiting_sequence_is_never_scheduled() -> None:
    scheduler = Scheduler(Limits(num_slots=2, kv_cache_tokens=100, context_length=90, batch_tokens=64))
    scheduler.add(sequences(1, prompt=60))
    scheduler.add(sequences(2, prompt=60))
    step = scheduler.schedule(64)
    assert [type(piece) for piece in step.slices] == [Slice]
    assert lengths(step) == [(1, 60)], "two such prompts do not fit into 100 cells"
