"""The items of a conversation in their order, with what the caller calls each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from llamawire_server.errors import Condition, FieldViolation, ServiceError
from llamawire_server.shim.responses.item_schema import (
    InputItem,
    ResponseItem,
    ResponseItemReference,
    ResponseMessage,
)


@dataclass(frozen=True)
class PlacedItem:
    """An item, and where it came from."""

    item: ResponseItem
    path: str
    """What the caller calls it."""
    is_written: bool
    """Whether the request itself has it, with its fields below the path."""

    def names(self, **fields: str) -> dict[str, str]:
        """What the caller calls fields of the item's message. fields: the item's, by the message's; empty: itself."""
        if not self.is_written:
            return {}
        return {field: f"{self.path}.{name}" if name else self.path for field, name in fields.items()}


def remembered(items: Sequence[ResponseItem]) -> list[PlacedItem]:
    """Items of earlier responses: the request names these by the last one's id alone."""
    return [PlacedItem(item, "previous_response_id", is_written=False) for item in items]


def given(
    source: str | Sequence[InputItem] | None,
    earlier: Sequence[ResponseItem] = (),
    kept: Mapping[str, ResponseItem] | None = None,
) -> list[PlacedItem]:
    """A request's own items, with kept ones in the places of references to them.

    earlier: what comes before these. What the conversation has already does not come again: a reference to it has no
    effect. kept: by their ids, those of the kept items that are referred to. Raises ServiceError (INVALID) where
    a reference is to none of these.
    """
    if isinstance(source, str):
        return [PlacedItem(ResponseMessage(role="user", content=source), "input", is_written=False)]
    return list(_given(source or (), {item.id for item in earlier}, kept or {}))


def reference_ids(source: str | Sequence[InputItem] | None) -> list[str]:
    """The ids that a request's own items refer to others by, in their order."""
    if source is None or isinstance(source, str):
        return []
    return [item.id for item in source if isinstance(item, ResponseItemReference)]


def _given(
    source: Sequence[InputItem], known: set[str | None], kept: Mapping[str, ResponseItem]
) -> Iterator[PlacedItem]:
    for index, item in enumerate(source):
        path = f"input[{index}]"
        if not isinstance(item, ResponseItemReference):
            yield PlacedItem(item, path, is_written=True)
        elif item.id not in known:
            yield PlacedItem(_referred(item.id, path, kept), path, is_written=False)
        known.add(item.id)


def _referred(item_id: str, path: str, kept: Mapping[str, ResponseItem]) -> ResponseItem:
    if item_id in kept:
        return kept[item_id]
    # OpenAI's own words and field.
    message = f"Item with id '{item_id[:128]}' not found."
    violation = FieldViolation("input", f"{path}.id is not the id of an item that is kept")
    raise ServiceError(Condition.INVALID, "ITEM_NOT_FOUND", message, violations=[violation])
