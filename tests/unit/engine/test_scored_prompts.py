"""Prompts of which it is wanted how likely their tokens were: each place is looked at once, whatever happens."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_cells import KvCells
from sampling import GREEDY

from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.engine.runner.batches import NARROW_TOKENS, batches
from llamawire_server.engine.scheduler import Scheduler
from llamawire_server.engine.sequence import WIDE_TOKENS, FinishReason, PromptScores, Sequence
from llamawire_server.engine.step import Limits, Sampled, Slice

LIMITS = Limits(num_slots=4, kv_cache_tokens=400, context_length=200, batch_tokens=64, num_cache_slots=4)
PROMPT = list(range(1, 101))


class ScoringCells(KvCells):
    """Notes what the runner would, by the batches that it would compute."""

    def run(self, slices: list[Slice]) -> Mapping[Sequence, Sampled]:
        for batch in batches(slices):
            for piece in batch:
                tokens = piece.whole.sequence.tokens
                piece.whole.logprobs += [
                    TokenLogprobs(tokens[place + 1], -float(place), []) for place in piece.scored_places
                ]
        return super().run(slices)


def endless(held: list[int]) -> int:
    return 1000 + len(held)


def scored(request_id: int, prompt: list[int], max_tokens: int = 3, num_choices: int = 1) -> list[Sequence]:
    scores = PromptScores(0, len(prompt) - 1)
    return [
        Sequence(request_id, index, list(prompt), len(prompt), max_tokens, GREEDY, prompt_scores=scores)
        for index in range(num_choices)
    ]


def plain(request_id: int, prompt: list[int], max_tokens: int = 3) -> Sequence:
    return Sequence(request_id, 0, list(prompt), len(prompt), max_tokens, GREEDY)


def finish(scheduler: Scheduler, cells: KvCells, sequences: list[Sequence], budget: int = 64) -> None:
    while any(one.finish_reason is None for one in sequences):
        cells.advance(scheduler, budget)


def check(sequence: Sequence, prompt: list[int]) -> None:
    scores = sequence.prompt_scores
    assert scores is not None
    assert scores.is_complete
    assert [found.token for found in scores.logprobs] == prompt[1:]
    assert [found.logprob for found in scores.logprobs] == [-float(place) for place in range(len(prompt) - 1)]


@pytest.mark.parametrize("num_choices", [1, 3])
@pytest.mark.parametrize("budget", [7, 64])
@pytest.mark.parametrize("length", [1, 2, 63, 64, 100])
def test_each_token_but_the_first_is_scored_once(num_choices: int, budget: int, length: int) -> None:
    scheduler, cells = Scheduler(LIMITS), ScoringCells(LIMITS, endless)
    sequences = scored(1, PROMPT[:length], num_choices=num_choices)
    scheduler.add(sequences)
    finish(scheduler, cells, sequences, budget)
    for sequence in sequences:
        check(sequence, PROMPT[:length])


def test_nothing_is_taken_from_the_cache_where_it_is_wanted_what_comes_of_it() -> None:
    scheduler, cells = Scheduler(LIMITS), ScoringCells(LIMITS, endless)
    first = plain(1, PROMPT)
    scheduler.add([first])
    finish(scheduler, cells, [first])
    (again,) = scored(2, PROMPT)
    scheduler.add([again])
    finish(scheduler, cells, [again])
    assert again.num_cached_tokens == 0
    check(again, PROMPT)


def test_others_go_on_from_what_was_scored() -> None:
    scheduler, cells = Scheduler(LIMITS), ScoringCells(LIMITS, endless)
    (first,) = scored(1, PROMPT)
    second = plain(2, PROMPT)
    scheduler.add([first])
    scheduler.add([second])
    finish(scheduler, cells, [first, second])
    assert second.num_cached_tokens == len(PROMPT) - 1
    check(first, PROMPT)


def test_a_scored_prompt_does_not_wait_for_one_that_begins_alike() -> None:
    scheduler, cells = Scheduler(LIMITS), ScoringCells(LIMITS, endless)
    first = plain(1, PROMPT)
    (second,) = scored(2, PROMPT)
    scheduler.add([first])
    scheduler.add([second])
    cells.advance(scheduler)
    assert second.slot is not None
    assert first.num_pending_tokens
    finish(scheduler, cells, [first, second])
    check(second, PROMPT)


def test_what_was_scored_before_it_had_to_step_back_is_kept() -> None:
    scheduler, cells = Scheduler(LIMITS), ScoringCells(LIMITS, endless)
    first = plain(1, [7] * 5, max_tokens=50)
    (second,) = scored(2, PROMPT)
    scheduler.add([first])
    scheduler.add([second])
    for _ in range(3):
        cells.advance(scheduler, 16)
    assert second.prompt_scores is not None
    num_scored = len(second.prompt_scores.logprobs)
    assert 0 < num_scored < len(PROMPT) - 1
    before = cells.num_computed_tokens
    assert scheduler.preempt_last()
    assert second.num_reusable_tokens == num_scored
    finish(scheduler, cells, [second])
    check(second, PROMPT)
    assert cells.num_computed_tokens - before < len(PROMPT) + 10, "what is kept is not computed again"


def test_when_a_leader_goes_its_heir_has_what_was_scored() -> None:
    scheduler, cells = Scheduler(LIMITS), ScoringCells(LIMITS, endless)
    leader, heir = scored(1, PROMPT, num_choices=2)
    scheduler.add([leader, heir])
    cells.advance(scheduler, 16)
    scheduler.finish(leader, FinishReason.STOP)
    finish(scheduler, cells, [heir])
    check(heir, PROMPT)


def test_a_long_prompt_is_scored_in_narrow_batches() -> None:
    prompt = list(range(2 * WIDE_TOKENS))
    (sequence,) = scored(1, prompt)
    assert sequence.num_wide_tokens == 0
    whole = Slice(sequence, 0, 0, len(prompt), (sequence,))
    made = list(batches([whole]))
    assert all(stop - start <= NARROW_TOKENS for batch in made for _, start, stop in batch)
    places = [place for batch in made for piece in batch for place in piece.scored_places]
    assert places == list(range(len(prompt) - 1)), "the last place says what comes next"


@settings(max_examples=60)
@given(data=st.data())
def test_in_any_company(data: st.DataObject) -> None:
    limits = Limits(
        num_slots=3,
        kv_cache_tokens=data.draw(st.sampled_from([130, 400])),
        context_length=120,
        batch_tokens=64,
        num_cache_slots=data.draw(st.sampled_from([0, 3])),
        can_cut=data.draw(st.booleans()),
    )
    scheduler, cells = Scheduler(limits), ScoringCells(limits, endless)
    added: list[Sequence] = []
    for request_id in range(1, data.draw(st.integers(2, 6)) + 1):
        prompt = PROMPT[: data.draw(st.integers(1, 90))]
        max_tokens = data.draw(st.integers(1, 10))
        if data.draw(st.booleans()):
            sequences = scored(request_id, prompt, max_tokens, data.draw(st.integers(1, 2)))
        else:
            sequences = [plain(request_id, prompt, max_tokens)]
        scheduler.add(sequences)
        added += sequences
        for _ in range(data.draw(st.integers(0, 4))):
            cells.advance(scheduler, data.draw(st.sampled_from([8, 64])))
            if data.draw(st.booleans()):
                scheduler.preempt_last()
    finish(scheduler, cells, added)
    for sequence in added:
        if sequence.prompt_scores is not None:
            check(sequence, sequence.tokens[: sequence.num_prompt_tokens])
