"""What requests that begin alike share, against cells that are checked one by one."""

from __future__ import annotations

from dataclasses import replace
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_cells import KvCells
from sampling import GREEDY

from llamawire_server.engine.scheduler import Scheduler
from llamawire_server.engine.sequence import FinishReason, Sequence
from llamawire_server.engine.step import Draft, Limits

LIMITS = Limits(num_slots=4, kv_cache_tokens=400, context_length=200, batch_tokens=64, num_cache_slots=4)
SYSTEM = list(range(1, 61))


def next_token(held: list[int]) -> int:
    """Something that depends on all that came before; now and then the end, 0."""
    return crc32(bytes(token % 256 for token in held)) % 40


def endless(held: list[int]) -> int:
    return 1000 + len(held)


def sequence(request_id: int, prompt: list[int], max_tokens: int = 3, index: int = 0) -> Sequence:
    return Sequence(request_id, index, list(prompt), len(prompt), max_tokens, GREEDY)


def finish(scheduler: Scheduler, cells: KvCells, *prompts: list[int], max_tokens: int = 3) -> list[Sequence]:
    """Answer the prompts, all at once."""
    added = [sequence(1000 + number, prompt, max_tokens) for number, prompt in enumerate(prompts)]
    for one in added:
        scheduler.add([one])
    while any(one.finish_reason is None for one in added):
        cells.advance(scheduler)
    return added


def test_a_second_turn_computes_only_what_is_new() -> None:
    scheduler, cells = Scheduler(LIMITS), KvCells(LIMITS, endless)
    (first,) = finish(scheduler, cells, SYSTEM)
    before = cells.num_computed_tokens
    (second,) = finish(scheduler, cells, [*first.tokens, 7, 8, 9], max_tokens=1)
    # The last token of an answer is sampled, and computed only if something follows.
    assert cells.num_computed_tokens - before == 4
    assert second.num_cached_tokens == len(first.tokens) - 1


def test_the_second_of_two_identical_prompts_waits_for_the_first() -> None:
    scheduler, cells = Scheduler(LIMITS), KvCells(LIMITS, endless)
    both = finish(scheduler, cells, SYSTEM, SYSTEM, max_tokens=1)
    assert cells.num_computed_tokens == len(SYSTEM) + 1
    assert [one.num_cached_tokens for one in both] == [0, len(SYSTEM) - 1]


def test_a_burst_computes_its_common_prefix_once_and_keeps_its_cells_once() -> None:
    scheduler, cells = Scheduler(LIMITS), KvCells(LIMITS, endless)
    prompts = [[*SYSTEM, 100 + number, 200 + number] for number in range(4)]
    added = finish(scheduler, cells, *prompts, max_tokens=1)
    assert cells.num_computed_tokens == len(SYSTEM) + 4 * 2
    assert scheduler.num_kv_tokens == len(SYSTEM) + 4 * 2
    assert [one.num_cached_tokens for one in added] == [0, 60, 60, 60]


def test_who_waits_for_a_prefix_keeps_nobody_else_waiting() -> None:
    scheduler, cells = Scheduler(LIMITS), KvCells(LIMITS, endless)
    first, second, other = sequence(1, SYSTEM), sequence(2, SYSTEM), sequence(3, [99] * 5)
    for one in (first, second, other):
        scheduler.add([one])
    step = scheduler.schedule(16)
    assert {piece.sequence for piece in step.slices} == {first, other}
    cells.commit(scheduler, step)
    assert second.slot is None


@pytest.mark.parametrize("is_lost", [False, True])
def test_who_waits_for_a_prompt_that_is_cancelled_goes_on_from_where_it_was(is_lost: bool) -> None:
    scheduler, cells = Scheduler(LIMITS), KvCells(LIMITS, endless)
    first, second = sequence(1, SYSTEM, 1), sequence(2, SYSTEM, 1)
    scheduler.add([first])
    scheduler.add([second])
    cells.advance(scheduler, budget=40)
    scheduler.finish(first, FinishReason.FAILED if is_lost else FinishReason.STOP)
    while second.finish_reason is None:
        cells.advance(scheduler)
    assert second.num_cached_tokens == (0 if is_lost else 40)


def test_the_least_recently_used_goes_first_and_only_as_far_as_needed() -> None:
    limits = replace(LIMITS, kv_cache_tokens=200)
    scheduler, cells = Scheduler(limits), KvCells(limits, endless)
    old, young = [50] * 80, [51] * 80
    finish(scheduler, cells, old, max_tokens=1)
    finish(scheduler, cells, young, max_tokens=1)
    finish(scheduler, cells, [52] * 50, max_tokens=1)
    (again,) = finish(scheduler, cells, [*young, 1], max_tokens=1)
    assert again.num_cached_tokens == 80, "what was used later stays"
    (again,) = finish(scheduler, cells, [*old, 1], max_tokens=1)
    assert again.num_cached_tokens is not None
    assert 0 < again.num_cached_tokens < 80, "of what was used first, the end went"


def test_a_prefix_that_is_in_use_outlives_what_ended_beside_it() -> None:
    limits = replace(LIMITS, kv_cache_tokens=200, num_cache_slots=1)
    scheduler, cells = Scheduler(limits), KvCells(limits, endless)
    for number in range(20):
        (one,) = finish(scheduler, cells, [*SYSTEM, 100 + number, *[number] * 30], max_tokens=1)
        assert one.num_cached_tokens == (len(SYSTEM) if number else 0)


def test_sequences_that_came_to_the_same_are_kept_once() -> None:
    scheduler, cells = Scheduler(LIMITS), KvCells(LIMITS, endless)
    choices = [sequence(1, SYSTEM, 10, index) for index in range(4)]
    scheduler.add(choices)
    while scheduler.has_work:
        cells.advance(scheduler)
    assert scheduler.num_kv_tokens == len(choices[0].tokens) - 1


def test_nothing_is_shared_where_prefixes_are_not_kept() -> None:
    scheduler, cells = Scheduler(LIMITS, keeps_prefixes=False), KvCells(LIMITS, endless)
    finish(scheduler, cells, SYSTEM, SYSTEM, max_tokens=1)
    assert cells.num_computed_tokens == 2 * len(SYSTEM)
    cells.advance(scheduler)
    assert cells.cells == []


def test_without_a_slot_to_spare_what_is_found_is_taken_over() -> None:
    limits = Limits(num_slots=1, kv_cache_tokens=400, context_length=200, batch_tokens=64)
    scheduler, cells = Scheduler(limits), KvCells(limits, endless)
    finish(scheduler, cells, [*SYSTEM, 1, 2, 3])
    (second,) = finish(scheduler, cells, [*SYSTEM, 4, 5, 6])
    assert second.num_cached_tokens == len(SYSTEM)


def test_what_left_the_cache_is_put_back_from_the_shelf() -> None:
    limits = replace(LIMITS, kv_cache_tokens=200, shelf_tokens=1000)
    scheduler, cells = Scheduler(limits), KvCells(limits, endless)
    prompts = [[*SYSTEM, *[number] * 50] for number in range(100, 106)]
    for _ in range(3):
        before = cells.num_computed_tokens
        for prompt in prompts:
            finish(scheduler, cells, prompt, max_tokens=1)
    assert cells.num_computed_tokens - before == len(prompts), "of each its last token, which is never shared"
    assert sum(map(len, cells.shelf.values())) < 6 * 60 + 60, "what is shared is stored once"


def test_while_others_run_what_is_idle_is_cleared_away() -> None:
    limits = replace(LIMITS, shelf_tokens=1000, idle_tokens=20)
    scheduler, cells = Scheduler(limits), KvCells(limits, endless)
    finish(scheduler, cells, [5] * 150, max_tokens=1)
    assert scheduler.num_kv_tokens == 150, "nobody minds"
    finish(scheduler, cells, [6] * 10, max_tokens=20)
    assert scheduler.num_kv_tokens < 60
    (again,) = finish(scheduler, cells, [5] * 150, max_tokens=1)
    assert again.num_cached_tokens == 149


def test_long_answers_of_before_are_gone_before_the_next_prompt_is_computed() -> None:
    limits = replace(LIMITS, kv_cache_tokens=4000, context_length=4000, shelf_tokens=100, idle_tokens=0)
    now = 0.0
    scheduler, cells = Scheduler(limits, clock=lambda: now), KvCells(limits, endless)
    for token in (5, 6, 7):
        finish(scheduler, cells, [token] * 1000, max_tokens=1)
    now = 1000.0
    scheduler.add([sequence(99, [8] * 50)])
    assert scheduler.schedule(64).slices
    assert scheduler.num_kv_tokens == 0, "nothing is passed by in the first step already"


def test_what_is_warm_is_not_lost_for_the_sake_of_those_who_run_and_what_is_cold_is() -> None:
    limits = replace(LIMITS, shelf_tokens=150, idle_tokens=20)
    now = 0.0
    scheduler, cells = Scheduler(limits, clock=lambda: now), KvCells(limits, endless)
    finish(scheduler, cells, [4] * 100, max_tokens=1)
    finish(scheduler, cells, [5] * 100, max_tokens=1)
    finish(scheduler, cells, [6] * 10, max_tokens=20)
    assert 100 <= scheduler.num_kv_tokens <= 200, "there is room on the shelf for one of them"
    for prompt in ([4] * 100, [5] * 100):
        (again,) = finish(scheduler, cells, prompt, max_tokens=1)
        assert again.num_cached_tokens == 99
    now = 100.0
    finish(scheduler, cells, [7] * 10, max_tokens=20)
    assert scheduler.num_kv_tokens < 60


WHOLE = replace(LIMITS, can_cut=False)


def test_a_memory_that_cannot_be_cut_goes_on_where_an_answer_ended() -> None:
    scheduler, cells = Scheduler(WHOLE), KvCells(WHOLE, endless)
    (first,) = finish(scheduler, cells, SYSTEM)
    (second,) = finish(scheduler, cells, [*first.tokens, 7, 8, 9], max_tokens=1)
    assert second.num_cached_tokens == len(first.tokens) - 1
    (other,) = finish(scheduler, cells, [*SYSTEM, 70, 80], max_tokens=1)
    assert other.num_cached_tokens == 0, "what was remembered includes the answer by now"


def test_a_memory_that_cannot_be_cut_is_shared_where_prompts_part() -> None:
    scheduler, cells = Scheduler(WHOLE), KvCells(WHOLE, endless)
    prompts = [[*SYSTEM, 100 + number, 200 + number] for number in range(4)]
    finish(scheduler, cells, *prompts, max_tokens=1)
    assert cells.num_computed_tokens == len(SYSTEM) + 4 * 2


class Guess:
    """Guesses that are right mostly."""

    def drafts(self, decoding: list[tuple[Sequence, int]], room: int) -> list[Draft]:
        drafts = []
        for sequence, most in decoding:
            guessed: list[int] = []
            for _ in range(min(most, room, len(sequence.tokens) % 4)):
                guessed.append(next_token([*sequence.tokens, *guessed]))
            if len(sequence.tokens) % 3 == 0 and guessed:
                guessed[-1] += 1
            room -= len(guessed)
            drafts.append(Draft(tuple(guessed)))
        return drafts


prompts = st.tuples(
    st.integers(0, 100),  # how much of the common beginning
    st.lists(st.integers(1, 3), min_size=1, max_size=30),  # what follows
)


@given(
    requests=st.lists(
        st.tuples(
            prompts,
            st.integers(1, 30),  # max_tokens
            st.integers(1, 3),  # choices
            st.integers(0, 40),  # the step at which it comes
            st.one_of(st.none(), st.integers(0, 30)),  # how many steps later it is cancelled
        ),
        max_size=12,
    ),
    budget=st.integers(1, 64),
    kv_cache_tokens=st.integers(160, 500),
    num_cache_slots=st.integers(0, 4),
    shelf_tokens=st.sampled_from([0, 100, 1000]),
    idle_tokens=st.sampled_from([0, 100, 1000]),
    can_cut=st.booleans(),
    speculation=st.sampled_from([None, Guess()]),
)
@settings(max_examples=300)
def test_a_cache_never_changes_an_answer(
    requests: list[tuple[tuple[int, list[int]], int, int, int, int | None]],
    budget: int,
    kv_cache_tokens: int,
    num_cache_slots: int,
    shelf_tokens: int,
    idle_tokens: int,
    can_cut: bool,
    speculation: Guess | None,
) -> None:
    """Failure 2 of other servers: a request gets another's text after a cache or a slot was used again."""
    limits = Limits(3, kv_cache_tokens, 150, 64, num_cache_slots, shelf_tokens, idle_tokens, can_cut)
    scheduler, cells = Scheduler(limits), KvCells(limits, next_token)
    beginning = [token % 5 + 1 for token in range(100)]
    groups = []
    for number, ((length, rest), max_tokens, n, _, _) in enumerate(requests):
        prompt = [*beginning[:length], *rest]
        groups.append([sequence(number, prompt, max_tokens, index) for index in range(n)])
    cancelled: set[Sequence] = set()
    for now in range(5000):
        for group, (_, _, _, arrival, patience) in zip(groups, requests, strict=True):
            if now == arrival:
                scheduler.add(group)
            if patience is not None and now == arrival + patience:
                cancelled |= {one for one in group if one.finish_reason is None}
                for one in group:
                    scheduler.finish(one, FinishReason.STOP)
        cells.advance(scheduler, budget, speculation)
        if now > 80 and not scheduler.has_work:
            break
    assert not scheduler.has_work, "nothing starves"
    assert len(cells.cells) == scheduler.num_kv_tokens, "every cell is accounted for"
    for one in (one for group in groups for one in group if one not in cancelled):
        expected = one.tokens[: one.num_prompt_tokens]
        while True:
            expected.append(next_token(expected))
            if expected[-1] == 0 or len(expected) in (150, one.num_prompt_tokens + one.max_tokens):
                break
        assert one.tokens == expected
    scheduler.free_cells()
    cells.advance(scheduler)
    assert cells.cells == [], "every cell can be freed"
