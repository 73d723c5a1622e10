"""What the shelf takes, finds again and lets go of."""

from __future__ import annotations

import itertools

from llamawire_server.engine.prefixes.shelf import LEAST_SHELVED_TOKENS, Shelf

TOKENS = list(range(100))


def reach(shelf: Shelf, tokens: list[int], start: int = 0) -> int:
    """How far the shelf leads from `start` on."""
    runs = shelf.find(tokens, start, len(tokens))
    for run, after in itertools.pairwise(runs):
        assert run.end == after.start
    return runs[-1].end if runs else start


def test_runs_that_left_the_cache_one_after_the_other_are_found_together() -> None:
    shelf = Shelf(1000)
    for start, end in ((64, 100), (32, 64), (0, 32)):
        assert shelf.put(TOKENS[:end], start) == (shelf._next_key - 1, [])
    assert reach(shelf, TOKENS) == 100
    assert reach(shelf, TOKENS, 40) == 100
    assert reach(shelf, [*TOKENS[:50], -1, -2]) == 50
    assert reach(shelf, [-1, *TOKENS]) == 0


def test_a_few_tokens_are_taken_only_where_others_are_of_no_use_without_them() -> None:
    few = LEAST_SHELVED_TOKENS - 1
    shelf = Shelf(1000)
    assert shelf.put(TOKENS[:few], 0) == (None, [])
    shelf.put(TOKENS, few)
    assert reach(shelf, TOKENS) == 0
    assert shelf.put([-1] * few, 0) == (None, [])
    assert shelf.put(TOKENS[:few], 0) == (1, [])
    assert reach(shelf, TOKENS) == 100
    assert shelf.put(TOKENS[:few], 0) == (None, []), "it is there already"


def test_the_least_recently_used_goes_first_and_nothing_is_too_much() -> None:
    shelf = Shelf(120)
    first, second = [1] * 50, [2] * 50
    assert shelf.put(first, 0) == (0, [])
    assert shelf.put(second, 0) == (1, [])
    assert reach(shelf, first) == 50
    assert shelf.put([3] * 60, 0) == (2, [1])
    assert shelf.put([4] * 121, 0) == (None, [])
    assert shelf.num_tokens == 110
    shelf.clear()
    assert (shelf.num_tokens, reach(shelf, first), shelf.has(0)) == (0, 0, False)


def test_nothing_goes_for_what_was_used_before_it() -> None:
    now = 0.0
    shelf = Shelf(120, lambda: now)
    now = 10.0
    assert shelf.put([1] * 60, 0, used_at=4.0) == (0, [])
    assert shelf.put([2] * 60, 0, used_at=5.0) == (1, [])
    assert shelf.put([3] * 60, 0, used_at=3.0) == (None, [])
    assert shelf.put([4] * 60, 0, used_at=6.0) == (2, [0])
    assert shelf.find([2] * 60, 0, 60), "which is used by that"
    assert shelf.put([5] * 60, 0) == (3, [2])
