"""A draft model's guesses, against cells that are checked one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from zlib import crc32

import pytest
from draft_cells import DraftCells
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_cells import KvCells
from sampling import GREEDY

from llamawire_server.engine.decode_errors import CacheFullError, DecodeError
from llamawire_server.engine.drafting.model import ModelDrafting
from llamawire_server.engine.drafting.speculation import Speculation
from llamawire_server.engine.scheduler import Scheduler
from llamawire_server.engine.sequence import FinishReason, Sequence
from llamawire_server.engine.step import Limits

LIMITS = Limits(num_slots=4, kv_cache_tokens=400, context_length=200, batch_tokens=64)
PROMPT = list(range(1, 41))


def count_up(held: list[int]) -> int:
    return held[-1] + 1


def hashed(held: list[int]) -> int:
    """Something that depends on all that came before; now and then the end, 0."""
    return crc32(bytes(token % 256 for token in held)) % 40


def sequence(prompt: list[int], max_tokens: int = 50, request_id: int = 0, index: int = 0) -> Sequence:
    return Sequence(request_id, index, list(prompt), len(prompt), max_tokens, GREEDY)


def drafting(cells: DraftCells, token_seconds: float = 0.001) -> ModelDrafting:
    return ModelDrafting(cells, token_seconds, clock=cells.clock)


def guesses(made: ModelDrafting, *wanted: tuple[Sequence, int]) -> list[tuple[int, ...]]:
    """As in a step in which all of them decode."""
    made.begin([one for one, _ in wanted])
    return [draft.tokens for draft in made.draft(list(wanted))]


def caught_up(made: ModelDrafting, *sequences: Sequence) -> None:
    """Let the model have seen all tokens but the last ones."""
    while not all(guesses(made, *((one, 1) for one in sequences))):
        pass


def test_a_prompt_is_caught_up_with_in_batches_before_anything_is_guessed() -> None:
    cells = DraftCells(LIMITS, count_up)
    made, one = drafting(cells, token_seconds=0.02), sequence(list(range(1, 151)))
    assert guesses(made, (one, 4)) == [()], "a step has time for 64 tokens"
    assert guesses(made, (one, 4)) == [()]
    assert guesses(made, (one, 4)) == [(151, 152, 153, 154)]
    sizes = [sum(len(run.tokens) for run in batch) for batch in cells.batches]
    assert sizes == [64, 64, 21, 1, 1, 1, 1], "each token once, and the last one where it is gone on from"


def test_nobody_is_computed_who_does_not_decode() -> None:
    cells = DraftCells(LIMITS, count_up)
    made, one, other = drafting(cells), sequence(PROMPT), sequence([9] * 30)
    caught_up(made, one)
    assert cells.num_computed_tokens == len(PROMPT)
    made.begin([other])
    assert cells.num_computed_tokens == len(PROMPT), "and nobody for whom nothing is wanted"


def test_all_sequences_are_guessed_for_together() -> None:
    cells = DraftCells(LIMITS, count_up)
    made = drafting(cells)
    sequences = [sequence([first] * 20) for first in (100, 200, 300)]
    caught_up(made, *sequences)
    before = len(cells.batches)
    found = guesses(made, (sequences[0], 3), (sequences[1], 1), (sequences[2], 3))
    assert found == [(101, 102, 103), (201,), (301, 302, 303)]
    assert [len(batch) for batch in cells.batches[before:]] == [3, 2, 2]


def test_what_was_wrong_is_cut_and_what_was_right_is_kept() -> None:
    cells = DraftCells(LIMITS, count_up)
    made, one = drafting(cells), sequence(PROMPT)
    caught_up(made, one)
    assert guesses(made, (one, 4)) == [(41, 42, 43, 44)]
    before = cells.num_computed_tokens
    one.tokens += [41, 42, 70]
    assert guesses(made, (one, 2)) == [(71, 72)]
    assert cells.num_computed_tokens - before == 2, "the token that came in place of a guess, and a guess"
    assert cells.held[0] == [*PROMPT, 41, 42, 70, 71]
    one.tokens += [71, 72, 73]
    before = cells.num_computed_tokens
    assert guesses(made, (one, 2)) == [(74, 75)]
    assert cells.num_computed_tokens - before == 3, "the last guess was not computed, nor what came after it"


def test_guessing_stops_at_an_end_and_where_the_context_ends() -> None:
    cells = DraftCells(LIMITS, lambda held: 0 if held[-1] == 42 else held[-1] + 1)
    made, one = drafting(cells), sequence(PROMPT)
    caught_up(made, one)
    assert guesses(made, (one, 8)) == [(41, 42, 0)]
    short = DraftCells(replace(LIMITS, context_length=42), count_up)
    made = drafting(short)
    caught_up(made, one)
    assert guesses(made, (one, 8)) == [(41, 42)]
    one.tokens += [41, 42]
    assert made.acceptance(one) == 0


def test_siblings_and_later_turns_begin_with_what_was_computed() -> None:
    cells = DraftCells(LIMITS, count_up)
    made = drafting(cells)
    siblings = [sequence([*PROMPT, number], index=number) for number in range(3)]
    caught_up(made, *siblings)
    assert cells.num_computed_tokens < 2 * len(PROMPT)
    assert cells.num_copied_tokens == 2 * len(PROMPT)
    for one in siblings:
        made.forget(one)
    before = cells.num_computed_tokens
    caught_up(made, sequence([*PROMPT, 2, 3, 4]))
    assert cells.num_computed_tokens - before <= 4


def test_a_conversation_that_begins_alike_leaves_the_other_what_it_has() -> None:
    cells = DraftCells(LIMITS, count_up)
    made = drafting(cells)
    first = sequence([*PROMPT, *[7] * 60])
    caught_up(made, first)
    made.forget(first)
    before = cells.num_computed_tokens
    other = sequence([*PROMPT, *[8] * 20])
    caught_up(made, other)
    assert cells.num_computed_tokens - before <= 20
    assert first.tokens in cells.held.values()
    made.forget(other)
    caught_up(made, sequence([*first.tokens, 1, 2]))
    assert cells.num_computed_tokens - before <= 24


def test_a_memory_that_cannot_be_cut_there_is_emptied() -> None:
    cells = DraftCells(LIMITS, count_up, can_cut=False)
    made, one = drafting(cells), sequence(PROMPT)
    caught_up(made, one)
    assert guesses(made, (one, 4)) == [(41, 42, 43, 44)]
    one.tokens += [41, 70]
    caught_up(made, one)
    assert guesses(made, (one, 2)) == [(71, 72)]


def test_where_cells_run_out_the_least_recently_used_go() -> None:
    cells = DraftCells(replace(LIMITS, kv_cache_tokens=100), count_up)
    made = drafting(cells)
    oldest, old, new = (sequence([first] * 30) for first in (100, 200, 300))
    caught_up(made, oldest)
    caught_up(made, old)
    made.forget(oldest)
    caught_up(made, new)
    assert sum(map(len, cells.held.values())) == 90
    fourth = sequence([400] * 40)
    caught_up(made, fourth)
    assert sorted(held[0] for held in cells.held.values() if held) == [300, 400]
    caught_up(made, old)
    assert [200] * 30 in cells.held.values(), "it is computed again when it is its turn"


def test_who_finds_no_cells_gets_no_guesses() -> None:
    cells = DraftCells(replace(LIMITS, kv_cache_tokens=100), count_up)
    made = drafting(cells)
    sequences = [sequence([first] * 40) for first in (100, 200, 300)]
    caught_up(made, *sequences[:2])
    assert guesses(made, *((one, 2) for one in sequences)) == [(101, 102), (201, 202), ()]


def test_a_sequence_that_was_away_longest_gives_its_row_up_and_gets_another() -> None:
    cells = DraftCells(replace(LIMITS, num_slots=2), count_up)
    made = drafting(cells)
    first, second, third = (sequence([number] * 20) for number in (100, 200, 300))
    caught_up(made, first)
    caught_up(made, second)
    caught_up(made, second, third)
    assert sorted(held[0] for held in cells.held.values()) == [200, 300]
    made.forget(second)
    caught_up(made, first)
    assert guesses(made, (first, 1), (third, 1)) == [(101,), (301,)]


def test_who_is_guessed_for_badly_pauses_and_the_others_do_not() -> None:
    cells = DraftCells(LIMITS, count_up)
    made = drafting(cells)
    good, bad = sequence(PROMPT), sequence([9] * 20)
    for _ in range(30):
        made.begin([good, bad])
        for one, num_right in ((good, 4), (bad, 0)):
            if made.acceptance(one):
                (draft,) = made.draft([(one, 4)])
                if draft.source is not None:
                    draft.source.note(4, num_right, len(one.tokens))
    assert made.acceptance(good) > 0.9
    assert made.acceptance(bad) == 0
    bad.tokens += [9] * 16
    assert made.acceptance(bad) > 0


def test_a_new_sequence_is_taken_to_be_like_those_before() -> None:
    made = drafting(DraftCells(LIMITS, count_up))

    def rate(num_right: int) -> None:
        one = sequence(PROMPT)
        caught_up(made, one)
        made.begin([one])
        (draft,) = made.draft([(one, 4)])
        assert draft.source is not None
        draft.source.note(4, num_right, len(one.tokens))
        made.forget(one)

    for _ in range(10):
        rate(3)
    assert made.acceptance(sequence(PROMPT)) == pytest.approx(0.75, abs=0.02)
    waits = []
    for _ in range(9):
        while made.acceptance(sequence(PROMPT)):
            rate(0)
        waits.append(0)
        while not made.acceptance(sequence(PROMPT)):
            made.begin([sequence([5])])
            waits[-1] += 1
    assert waits[0] <= 16 < waits[2] <= 64 < waits[-1] <= 512


def test_what_guessing_takes_is_measured_and_catching_up_counts() -> None:
    cells = DraftCells(LIMITS, count_up, token_seconds=0.05)
    made, one, new = drafting(cells, token_seconds=0.001), sequence(PROMPT), sequence([9] * 30)
    caught_up(made, one)
    for _ in range(20):
        guesses(made, (one, 8))
    made.begin([one, new])
    assert made.seconds([one], 4) == pytest.approx(4 * 0.05, rel=0.1)
    assert made.seconds([one], 8) == pytest.approx(8 * 0.05, rel=0.1)
    assert made.seconds([new], 4) > made.seconds([one], 4)


def test_what_was_found_slow_is_tried_again_after_ever_longer_rests() -> None:
    cells = DraftCells(LIMITS, count_up, token_seconds=9.0)
    made, one = drafting(cells, token_seconds=0.001), sequence(PROMPT, max_tokens=10_000)
    caught_up(made, one)
    rests = []
    for _ in range(7):
        guesses(made, (one, 2))
        assert made.seconds([one], 2) > 1
        rests.append(0)
        while made.seconds([one], 2) > 1:
            made.rest()
            rests[-1] += 1
    assert rests == [16, 32, 64, 128, 256, 512, 512]
    cells.token_seconds = 0.001
    for _ in range(16):
        guesses(made, (one, 2))
    cells.token_seconds = 9.0
    while made.seconds([one], 2) < 0.1:  # a single slow step says little
        guesses(made, (one, 2))
    for _ in range(16):
        assert made.seconds([one], 2) > 0.1
        made.rest()
    assert made.seconds([one], 2) < 0.1


def test_without_cells_all_is_forgotten_and_after_a_fault_nothing_is_guessed_any_more() -> None:
    cells = DraftCells(LIMITS, count_up)
    made, one = drafting(cells), sequence(PROMPT)
    caught_up(made, one)
    cells.failure = CacheFullError()
    assert guesses(made, (one, 2)) == [()]
    assert not any(cells.held.values())
    assert guesses(made, (one, 2)) == [(41, 42)]
    cells.failure = DecodeError()
    assert guesses(made, (one, 2)) == [()]
    assert made.acceptance(one) == 0


def answer(
    cells: DraftCells, next_token: Callable[[list[int]], int], token_seconds: float, num_steps: int = 400
) -> tuple[Sequence, int]:
    """Answer a prompt; gives the sequence and the number of steps that it took."""
    scheduler, main = Scheduler(LIMITS), KvCells(LIMITS, next_token)
    speculation = Speculation(token_seconds, drafting(cells))
    one = sequence(PROMPT, max_tokens=100)
    scheduler.add([one])
    for step in range(num_steps):
        if one.finish_reason is not None:
            return one, step
        main.advance(scheduler, 64, speculation)
    raise AssertionError("it does not end")


def test_a_good_and_fast_draft_model_saves_steps() -> None:
    one, num_steps = answer(DraftCells(LIMITS, count_up, 0.001), count_up, token_seconds=1.0)
    assert one.tokens == list(range(1, 141))
    assert num_steps < 50
    assert one.num_accepted_draft_tokens > 50
    assert one.num_rejected_draft_tokens == 0


def test_a_slow_draft_model_is_hardly_ever_asked() -> None:
    one, num_steps = answer(DraftCells(LIMITS, count_up, 2.0), count_up, token_seconds=1.0)
    assert one.tokens == list(range(1, 141))
    assert num_steps > 90
    assert one.num_accepted_draft_tokens < 10


def test_a_bad_draft_model_pauses_by_itself() -> None:
    one, _ = answer(DraftCells(LIMITS, lambda held: 7, 0.001), count_up, token_seconds=1.0)
    assert one.tokens == list(range(1, 141))
    assert one.num_accepted_draft_tokens == 0
    assert 0 < one.num_rejected_draft_tokens < 150


@given(
    requests=st.lists(
        st.tuples(
            st.lists(st.integers(1, 3), min_size=1, max_size=90),  # prompt
            st.integers(1, 40),  # max_tokens
            st.integers(1, 3),  # choices
            st.integers(0, 30),  # the step at which it comes
            st.one_of(st.none(), st.integers(0, 30)),  # how many steps later it is cancelled
        ),
        max_size=8,
    ),
    kv_cache_tokens=st.integers(160, 400),
    draft_cells=st.integers(100, 400),
    draft_context=st.integers(40, 150),
    num_kinds_wrong=st.integers(0, 12),
    can_cut=st.booleans(),
    preempts=st.booleans(),
)
@settings(max_examples=200)
def test_a_draft_model_never_changes_an_answer(
    requests: list[tuple[list[int], int, int, int, int | None]],
    kv_cache_tokens: int,
    draft_cells: int,
    draft_context: int,
    num_kinds_wrong: int,
    can_cut: bool,
    preempts: bool,
) -> None:
    limits = Limits(4, kv_cache_tokens, 150, 64, 2)
    scheduler, main = Scheduler(limits), KvCells(limits, hashed)
    cells = DraftCells(
        replace(limits, kv_cache_tokens=draft_cells, context_length=draft_context, num_cache_slots=0),
        lambda held: hashed(held) if hashed(held) >= num_kinds_wrong else 50,
        can_cut=can_cut,
    )
    made = drafting(cells)
    speculation = Speculation(1.0, made)
    groups = [
        [sequence(prompt, max_tokens, number, index) for index in range(num_choices)]
        for number, (prompt, max_tokens, num_choices, _, _) in enumerate(requests)
    ]
    cancelled: set[Sequence] = set()
    for now in range(3000):
        for group, (_, _, _, arrival, patience) in zip(groups, requests, strict=True):
            if now == arrival:
                scheduler.add(group)
            if patience is not None and now == arrival + patience:
                cancelled |= {one for one in group if one.finish_reason is None}
                for one in group:
                    scheduler.finish(one, FinishReason.STOP)
                    speculation.forget(one)
        if preempts and now % 7 == 6:
            scheduler.preempt_last()
        if now == 20:
            main.cells.clear()
            scheduler.restart_all()
        for one in main.advance(scheduler, 64, speculation):
            if one.finish_reason is not None:
                speculation.forget(one)
        if now > 70 and not scheduler.has_work:
            break
    assert not scheduler.has_work, "nothing starves"
    for one in (one for group in groups for one in group if one not in cancelled):
        expected = one.tokens[: one.num_prompt_tokens]
        while True:
            expected.append(hashed(expected))
            if expected[-1] == 0 or len(expected) in (150, one.num_prompt_tokens + one.max_tokens):
                break
        assert one.tokens == expected
