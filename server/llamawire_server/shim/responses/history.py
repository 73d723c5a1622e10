"""What a conversation of kept responses consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from pydantic import TypeAdapter

from llamawire_server.shim.http.response_types import Json
from llamawire_server.shim.responses import items
from llamawire_server.shim.responses.item_schema import ResponseItem
from llamawire_server.shim.responses.placed_items import PlacedItem
from llamawire_server.shim.responses.store import Turn

_ITEMS: TypeAdapter[list[ResponseItem]] = TypeAdapter(list[ResponseItem])


@dataclass(frozen=True)
class KeptInput:
    """A request's own input as it is kept."""

    items: bytes
    """A JSON array."""
    item_ids: tuple[str, ...]
    """Of its items, those that others may refer to. A caller's own names are not among them: two callers may use the
    same one, and neither is to get the other's item."""


def kept_input(given: Sequence[PlacedItem]) -> KeptInput:
    """A request's own items as they are kept, what they refer to included."""
    kept = [items.of_input(placed.item) for placed in given]
    return KeptInput(
        msgspec.json.encode(kept),
        tuple(
            item["id"]
            for placed, item in zip(given, kept, strict=True)
            if not (placed.is_written and placed.item.id)
        ),
    )


def keepable(given: KeptInput, response: Json, previous: Turn | None) -> Turn:
    """A response as it is kept. given: its request's own input. previous: what it went on from."""
    output_ids = tuple(item["id"] for item in response["output"])
    return Turn(previous, given.items, msgspec.json.encode(response), given.item_ids + output_ids)


def num_bytes(turn: Turn | None) -> int:
    """What the whole conversation up to this turn takes up; 0 where there is none."""
    return 0 if turn is None else sum(each.num_bytes for each in turn.conversation())


def referred_items(holders: Mapping[str, Turn]) -> dict[str, ResponseItem]:
    """Items by their ids. holders: by these ids, the turns that have the items."""
    found: dict[str, Json] = {}
    for turn in set(holders.values()):
        for item in _own_items(turn):
            if holders.get(item["id"]) is turn:
                # The first one: what a caller gave the same id comes later.
                found.setdefault(item["id"], item)
    return dict(zip(found, _ITEMS.validate_python(list(found.values())), strict=True))


def parsed_items(turn: Turn | None) -> list[ResponseItem]:
    """The items of the whole conversation up to this turn, oldest first, its outputs included."""
    return [] if turn is None else _ITEMS.validate_python(_items(turn))


def input_items(turn: Turn) -> list[Json]:
    """What a response was generated from, oldest first: earlier turns' inputs and outputs, and its own input."""
    earlier = [] if turn.previous is None else _items(turn.previous)
    return earlier + msgspec.json.decode(turn.input, type=list[Json])


def _items(turn: Turn) -> list[Json]:
    turns = list(turn.conversation())
    return [item for each in reversed(turns) for item in _own_items(each)]


def _own_items(turn: Turn) -> list[Json]:
    """Its own input and its output."""
    own: list[Json] = msgspec.json.decode(turn.input)
    own += msgspec.json.decode(turn.response)["output"]
    return own
