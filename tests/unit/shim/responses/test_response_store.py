"""Kept responses: so many, so many bytes, those used last, and each turn of a conversation once."""

from __future__ import annotations

import tracemalloc
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.shim.responses.store import ResponseStore, Turn


def turn(num_bytes: int = 10, previous: Turn | None = None, item_ids: tuple[str, ...] = ()) -> Turn:
    """num_bytes: without what its items' ids take up."""
    return Turn(previous, b"i" * (num_bytes // 2), b"r" * (num_bytes - num_bytes // 2), item_ids)


def roomy() -> ResponseStore:
    """A store with room for all that a test keeps."""
    return ResponseStore(max_responses=9, max_bytes=1000)


def test_what_is_kept_is_found_until_it_is_forgotten() -> None:
    store, kept = roomy(), turn()
    store.keep("a", kept)
    assert store.find("a") is kept
    assert store.find("b") is None
    assert store.num_bytes == 10
    assert store.forget("a")
    assert not store.forget("a")
    assert store.find("a") is None
    assert store.num_bytes == 0


def test_what_was_not_used_for_longest_goes_first() -> None:
    store = ResponseStore(max_responses=2, max_bytes=1000)
    for name in "ab":
        store.keep(name, turn())
    assert store.find("a") is not None
    store.keep("c", turn())
    assert [name for name in "abc" if store.find(name)] == ["a", "c"]


def test_bytes_have_a_bound_too() -> None:
    store = ResponseStore(max_responses=9, max_bytes=25)
    for name in "abc":
        store.keep(name, turn(10))
    assert [name for name in "abc" if store.find(name)] == ["b", "c"]
    store.keep("d", turn(26))
    assert len(store) == 0, "it has no room by itself, and the others were older"
    assert store.num_bytes == 0


@pytest.mark.parametrize(("max_responses", "max_bytes"), [(0, 1000), (9, 0)])
def test_without_room_nothing_is_kept(max_responses: int, max_bytes: int) -> None:
    store, first = ResponseStore(max_responses, max_bytes), turn()
    assert not store.keeps_any
    store.keep("a", first)
    store.keep("b", turn(10, first))
    assert (store.find("a"), store.find("b")) == (None, None)
    assert (len(store), store.num_bytes) == (0, 0)
    assert roomy().keeps_any


def test_earlier_turns_are_kept_once_and_as_long_as_later_ones() -> None:
    store = roomy()
    first = turn(10)
    second = turn(20, first)
    fork = turn(40, first)
    for name, each in (("first", first), ("second", second), ("fork", fork)):
        store.keep(name, each)
    assert store.num_bytes == 70
    store.forget("first")
    assert store.num_bytes == 70, "others go on from it"
    assert list(second.conversation()) == [second, first]
    store.forget("second")
    assert store.num_bytes == 50
    store.forget("fork")
    assert store.num_bytes == 0


def test_a_conversation_can_go_on_from_what_went_meanwhile() -> None:
    store, first = roomy(), turn(10)
    store.keep("first", first)
    store.forget("first")
    store.keep("second", turn(20, first))
    assert store.num_bytes == 30


def test_items_are_found_by_their_ids_until_their_turn_goes() -> None:
    store, first, second = roomy(), turn(item_ids=("a", "b")), turn(item_ids=("c",))
    store.keep("first", first)
    store.keep("second", second)
    assert [store.find_item(name) for name in "abcd"] == [first, first, second, None]
    store.forget("first")
    assert [store.find_item(name) for name in "abc"] == [None, None, second]
    store.forget("second")
    assert store.find_item("c") is None
    assert store.num_bytes == 0


def test_items_are_found_for_as_long_as_later_turns_hold_theirs() -> None:
    store, first = roomy(), turn(item_ids=("a",))
    second = turn(previous=first, item_ids=("b",))
    store.keep("first", first)
    store.keep("second", second)
    store.forget("first")
    assert store.find("first") is None
    assert store.find_item("a") is first
    store.forget("second")
    assert (store.find_item("a"), store.find_item("b")) == (None, None)
    store.keep("third", turn(previous=second))
    assert (store.find_item("a"), store.find_item("b")) == (first, second), "it went meanwhile"


def test_an_item_of_several_turns_is_there_for_as_long_as_one_of_them() -> None:
    store, turns = ResponseStore(9, 10_000), {name: turn(item_ids=("a",)) for name in ("x", "y", "z")}
    for name, each in turns.items():
        store.keep(name, each)
    assert store.find_item("a") is turns["z"], "the latest"
    store.forget("y")
    assert store.find_item("a") is turns["z"]
    store.forget("z")
    assert store.find_item("a") is turns["x"]
    store.forget("x")
    assert store.find_item("a") is None


def test_finding_an_item_is_a_use_of_its_response() -> None:
    store = ResponseStore(max_responses=2, max_bytes=1000)
    for name in "ab":
        store.keep(name, turn(item_ids=(f"item of {name}",)))
    assert store.find_item("item of a") is not None
    store.keep("c", turn())
    assert [name for name in "abc" if store.find(name)] == ["a", "c"]


@pytest.mark.parametrize("items_per_turn", [1, 3, 2_000])
def test_what_finding_items_takes_up_is_counted(items_per_turn: int) -> None:
    store = ResponseStore(max_responses=10**6, max_bytes=10**9)
    turns = [Turn(None, b"", b"") for _ in range(6_000 // items_per_turn)]
    tracemalloc.start()
    try:
        for number, each in enumerate(turns):
            each.item_ids = tuple(f"msg_{uuid.uuid4().hex}" for _ in range(items_per_turn))
            store.keep(str(number), each)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    kept_by_id = 200 * len(turns)
    assert used - kept_by_id <= store.num_bytes <= 2 * used


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["keep", "keep", "find", "find item", "forget"]),
            st.integers(0, 800),
            st.integers(0, 12),
        ),
        max_size=60,
    )
)
def test_the_bounds_hold_whatever_is_kept(steps: list[tuple[str, int, int]]) -> None:
    store = ResponseStore(max_responses=5, max_bytes=1500)
    turns: dict[str, Turn] = {}
    order: list[str] = []  # what should be kept, in the order of its use
    for number, (step, size, other) in enumerate(steps):
        if step == "keep":
            previous = turns[order[other % len(order)]] if order and other % 3 else None
            item_ids = (f"own{number}", f"shared{size % 3}")[: other % 3]
            turns[f"r{number}"] = turn(size, previous, item_ids)
            store.keep(f"r{number}", turns[f"r{number}"])
            order.append(f"r{number}")
        elif step == "find" and order:
            found = order.pop(other % len(order))
            assert store.find(found) is turns[found]
            order.append(found)
        elif step == "find item":
            holder = store.find_item(f"shared{size % 3}")
            if holder is not None and (used := [name for name in order if turns[name] is holder]):
                order.remove(used[0])
                order += used
        elif step == "forget" and order:
            gone = order.pop(other % len(order))
            assert store.forget(gone)
        while len(order) > 5 or held_bytes([turns[kept] for kept in order]) > 1500:
            del order[0]
        assert len(store) == len(order)
        assert store.num_bytes == held_bytes([turns[kept] for kept in order])
    for name in turns:
        assert (store.find(name) is not None) == (name in order)
    held = [each for name in order for each in turns[name].conversation()]
    for item_id in {item_id for each in turns.values() for item_id in each.item_ids}:
        holders = [each for each in held if item_id in each.item_ids]
        found = store.find_item(item_id)
        assert found in holders if holders else found is None


def held_bytes(kept: list[Turn]) -> int:
    return sum({id(each): each.num_bytes for one in kept for each in one.conversation()}.values())
