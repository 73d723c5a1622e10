"""What a conversation of kept responses consists of."""

from __future__ import annotations

import msgspec
from pydantic import TypeAdapter

from llamawire_server.shim.http.response_types import Json
from llamawire_server.shim.responses.item_schema import ResponseItem
from llamawire_server.shim.responses.store import Turn

_ITEMS: TypeAdapter[list[ResponseItem]] = TypeAdapter(list[ResponseItem])


def encoded(items: list[Json]) -> bytes:
    """A request's own input as it is kept."""
    return msgspec.json.encode(items)


def keepable(kept_input: bytes, response: Json, previous: Turn | None) -> Turn:
    """A response as it is kept. previous: what it went on from."""
    return Turn(previous, kept_input, msgspec.json.encode(response))


def num_bytes(turn: Turn | None) -> int:
    """What the whole conversation up to this turn takes up; 0 where there is none."""
    return 0 if turn is None else sum(each.num_bytes for each in turn.conversation())


def parsed_items(turn: Turn | None) -> list[ResponseItem]:
    """The items of the whole conversation up to this turn, oldest first, its outputs included."""
    return [] if turn is None else _ITEMS.validate_python(_items(turn))


def input_items(turn: Turn) -> list[Json]:
    """What a response was generated from, oldest first: earlier turns' inputs and outputs, and its own input."""
    earlier = [] if turn.previous is None else _items(turn.previous)
    return earlier + msgspec.json.decode(turn.input, type=list[Json])


def _items(turn: Turn) -> list[Json]:
    turns = list(turn.conversation())
    items: list[Json] = []
    for each in reversed(turns):
        items += msgspec.json.decode(each.input)
        items += msgspec.json.decode(each.response)["output"]
    return items
