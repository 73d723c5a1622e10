"""The prefix tree against a plain list of what each slot holds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamawire_server.engine.prefixes.tree import PrefixTree


@dataclass
class Cells:
    """What the tree stands for: for each slot, a list of cells; shared ones are the same objects."""

    slots: dict[int, list[list[int]]] = field(default_factory=dict)
    pinned: set[int] = field(default_factory=set)

    def tokens(self, slot: int) -> list[int]:
        return [token for (token,) in self.slots.get(slot, [])]

    def distinct(self, slots: set[int]) -> int:
        return len({id(cell) for slot in slots for cell in self.slots.get(slot, [])})


def check(tree: PrefixTree, cells: Cells) -> None:
    everyone = set(cells.slots)
    assert tree.num_tokens == cells.distinct(everyone)
    assert tree.num_pinned_tokens == cells.distinct(cells.pinned)
    for slot in range(SLOTS):
        assert tree.tokens(slot) == cells.tokens(slot)
        assert tree.length(slot) == len(cells.tokens(slot))
        mine = {id(cell) for cell in cells.slots.get(slot, [])}
        covered = any(
            mine <= {id(cell) for cell in cells.slots[other]} for other in everyone if other != slot
        )
        if mine:
            assert tree.is_covered(slot) == covered


SLOTS = 5
tokens = st.lists(st.integers(1, 3), max_size=8)
operations = st.one_of(
    st.tuples(st.just("extend"), st.integers(0, SLOTS - 1), tokens),
    st.tuples(st.just("share"), st.integers(0, SLOTS - 1), st.integers(0, SLOTS - 1), st.integers(0, 12)),
    st.tuples(st.just("cut"), st.integers(0, SLOTS - 1), st.integers(0, 12)),
    st.tuples(st.just("pin"), st.integers(0, SLOTS - 1)),
    st.tuples(st.just("touch"), st.integers(0, SLOTS - 1)),
    st.tuples(st.just("find"), tokens, st.integers(0, 9), st.booleans()),
)


@given(st.lists(operations, max_size=40))
@settings(max_examples=400)
def test_the_tree_says_what_the_slots_hold(steps: list[tuple[object, ...]]) -> None:
    tree, cells = PrefixTree(), Cells()
    for step in steps:
        match step:
            case ("extend", int(slot), list(new)):
                tree.extend(slot, new)
                if new:
                    cells.slots.setdefault(slot, []).extend([token] for token in new)
            case ("share", int(source), int(target), int(length)):
                length = min(length, len(cells.tokens(source)))
                if source != target and not cells.tokens(target):
                    tree.share(source, target, length)
                    if length:
                        cells.slots[target] = cells.slots[source][:length]
            case ("cut", int(slot), int(length)):
                before = tree.num_tokens
                freed = tree.cut(slot, length)
                assert freed == before - tree.num_tokens
                if left := cells.slots.pop(slot, [])[:length]:
                    cells.slots[slot] = left
            case ("pin", int(slot)):
                if slot in cells.pinned:
                    cells.pinned.remove(slot)
                    tree.unpin(slot)
                else:
                    cells.pinned.add(slot)
                    tree.pin(slot)
            case ("touch", int(slot)):
                tree.touch(slot)
            case ("find", list(wanted), int(limit), bool(whole)):
                check_find(tree, cells, wanted, min(limit, len(wanted)), whole)
        check(tree, cells)


def check_find(tree: PrefixTree, cells: Cells, wanted: list[int], limit: int, whole: bool) -> None:
    found = tree.find(wanted, limit, whole_slots=whole)
    lengths = {}
    for slot in cells.slots:
        held = cells.tokens(slot)
        same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(held, wanted[:limit], strict=False))
        common = len(list(same))
        if not whole or common == len(held):
            lengths[slot] = common
    assert found.num_tokens == max(lengths.values(), default=0)
    if found.num_tokens:
        assert found.slot is not None
        assert lengths[found.slot] == found.num_tokens
        shared = {id(cell) for cell in cells.slots[found.slot][: found.num_tokens]}
        pinned = {id(cell) for slot in cells.pinned for cell in cells.slots.get(slot, [])}
        assert found.num_unpinned_tokens == len(shared - pinned)


def test_what_ended_sequences_share_with_others_was_used_when_the_others_were() -> None:
    tree = PrefixTree()
    tree.extend(0, [1, 2, 3, 4])
    tree.touch(0)
    tree.share(0, 1, 2)
    tree.extend(1, [5])
    tree.touch(1)
    assert tree.last_used(0) < tree.last_used(1), "the end that only slot 0 has was not used since"
    assert tree.own_last_used(0) == tree.last_used(0)
    tree.cut(1, 0)
    assert tree.own_last_used(0) > tree.last_used(0) - 1


def test_runs_are_joined_again_so_that_the_tree_stays_flat() -> None:
    tree = PrefixTree()
    tree.extend(0, list(range(1000)))
    for length in range(1, 1000):
        tree.share(0, 1, length)
        tree.cut(1, 0)
    assert tree.end_start(0) == 0, "all of it is one run"


@pytest.mark.parametrize("limit", [0, 1, 500, 999, 1000])
def test_long_runs_are_compared_to_the_last_token(limit: int) -> None:
    tree = PrefixTree()
    tree.extend(0, list(range(1000)))
    assert tree.find(list(range(1000)), limit).num_tokens == limit
    for different in (0, 1, 499, 998, 999):
        wanted = list(range(1000))
        wanted[different] = -1
        assert tree.find(wanted, limit).num_tokens == min(limit, different)
