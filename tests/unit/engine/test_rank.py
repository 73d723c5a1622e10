"""Who comes first, and who has to give way."""

from __future__ import annotations

from kv_cells import KvCells
from sampling import GREEDY

from llamawire_server.engine.scheduler import Scheduler
from llamawire_server.engine.sequence import FinishReason, Sequence
from llamawire_server.engine.step import Limits


def sequence(request_id: int, rank: float, prompt: int = 10, max_tokens: int = 4, index: int = 0) -> Sequence:
    tokens = [request_id * 1000 + position for position in range(1, prompt + 1)]
    return Sequence(request_id, index, tokens, prompt, max_tokens, GREEDY, rank=rank)


def start(limits: Limits) -> tuple[Scheduler, KvCells]:
    return Scheduler(limits), KvCells(limits, lambda held: 100_000 + len(held))


ONE_SLOT = Limits(num_slots=1, kv_cache_tokens=200, context_length=100, batch_tokens=64)


def turns(*added: Sequence) -> list[int]:
    """The requests in the order in which they end, where one is answered at a time."""
    scheduler, cells = start(ONE_SLOT)
    for one in added:
        scheduler.add([one])
    ended: list[int] = []
    while scheduler.has_work:
        ended += [one.request_id for one in cells.advance(scheduler) if one.finish_reason is not None]
    return ended


def test_the_lowest_rank_goes_first_and_then_who_came_first() -> None:
    assert turns(sequence(1, 5.0), sequence(2, 3.0), sequence(3, 4.0)) == [2, 3, 1]
    assert turns(sequence(2, 1.0), sequence(1, 1.0), sequence(3, 1.0)) == [1, 2, 3]


def test_who_is_urgent_overtakes_those_who_wait_and_nobody_who_runs() -> None:
    scheduler, cells = start(ONE_SLOT)
    running, waiting, urgent = sequence(1, 1.0, max_tokens=5), sequence(2, 2.0), sequence(3, 0.0)
    scheduler.add([running])
    cells.advance(scheduler)
    scheduler.add([waiting])
    scheduler.add([urgent])
    while running.finish_reason is None:
        cells.advance(scheduler)
        assert (waiting.slot, urgent.slot) == (None, None)
    cells.advance(scheduler)
    assert urgent.slot is not None
    assert waiting.slot is None


def test_who_is_ahead_of_a_newcomer_depends_on_its_rank() -> None:
    limits = Limits(num_slots=2, kv_cache_tokens=200, context_length=100, batch_tokens=64)
    scheduler, _ = start(limits)
    assert scheduler.num_ahead(5.0) == 0
    scheduler.add([sequence(1, 3.0)])
    scheduler.add([sequence(2, 5.0, index=index) for index in range(2)])
    scheduler.add([sequence(3, 7.0)])
    assert [scheduler.num_ahead(rank) for rank in (2.9, 3.0, 4.0, 5.0, 6.9, 7.0)] == [0, 1, 1, 3, 3, 4]


def test_the_highest_rank_is_preempted_however_long_it_has_been_there() -> None:
    limits = Limits(num_slots=2, kv_cache_tokens=100, context_length=100, batch_tokens=64)
    scheduler, cells = start(limits)
    patient, urgent = sequence(1, 9.0, 20, 60), sequence(2, 1.0, 20, 60)
    scheduler.add([patient])
    cells.advance(scheduler)
    scheduler.add([urgent])
    was_preempted = False
    while scheduler.has_work:
        cells.advance(scheduler)
        assert urgent.slot is not None or urgent.finish_reason is not None
        was_preempted |= patient.slot is None and patient.finish_reason is None
    assert was_preempted
    assert [one.num_output_tokens for one in (patient, urgent)] == [60, 60]


def test_who_was_preempted_comes_back_before_those_of_higher_rank() -> None:
    limits = Limits(num_slots=2, kv_cache_tokens=100, context_length=100, batch_tokens=64)
    scheduler, cells = start(limits)
    first, second, third = (sequence(number, float(number), 20, 60) for number in (1, 2, 3))
    for one in (third, second, first):
        scheduler.add([one])
    ended: list[Sequence] = []
    while scheduler.has_work:
        ended += [one for one in cells.advance(scheduler) if one.finish_reason is not None]
    assert ended == [first, second, third]


def test_the_choices_of_a_request_stay_in_their_order() -> None:
    limits = Limits(num_slots=2, kv_cache_tokens=200, context_length=100, batch_tokens=64)
    scheduler, cells = start(limits)
    choices = [sequence(2, 1.0, index=index) for index in range(2)]
    scheduler.add([sequence(1, 2.0, max_tokens=1)])
    scheduler.add(choices)
    assert cells.advance(scheduler) == choices


def test_a_prompt_that_is_awaited_does_not_keep_back_who_is_urgent() -> None:
    limits = Limits(num_slots=4, kv_cache_tokens=200, context_length=100, batch_tokens=64)
    scheduler, cells = start(limits)
    first, alike, urgent = sequence(1, 1.0, 60), sequence(1, 2.0, 60), sequence(9, 0.0, 5, 1)
    scheduler.add([first])
    cells.advance(scheduler, budget=16)
    scheduler.add([alike])
    scheduler.add([urgent])
    cells.advance(scheduler, budget=16)
    assert urgent.finish_reason is FinishReason.LENGTH
    assert (first.finish_reason, alike.slot) == (None, None)
