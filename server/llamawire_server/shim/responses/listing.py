"""Lists of items, a page at a time, as OpenAI's clients ask for them."""

from __future__ import annotations

from collections.abc import Mapping

from llamawire_server.errors import invalid_field
from llamawire_server.shim.http.response_types import Json

_MAX_ITEMS = 100
_DEFAULT_ITEMS = 20
_ORDERS = ("asc", "desc")

# In the form of the OpenAPI description.
PARAMETERS = [
    {
        "name": "limit",
        "in": "query",
        "required": False,
        "description": "How many items to give.",
        "schema": {"type": "integer", "minimum": 1, "maximum": _MAX_ITEMS, "default": _DEFAULT_ITEMS},
    },
    {
        "name": "order",
        "in": "query",
        "required": False,
        "description": "Oldest first, or latest first.",
        "schema": {"type": "string", "enum": list(_ORDERS), "default": "desc"},
    },
    {
        "name": "after",
        "in": "query",
        "required": False,
        "description": "The id of the item that comes before those to give.",
        "schema": {"type": "string"},
    },
]


def page(items: list[Json], query: Mapping[str, str]) -> Json:
    """Those of the items, which are oldest first, that a query asks for.

    Raises ServiceError (INVALID) where a parameter is bad.
    """
    limit, order = _limit(query.get("limit")), query.get("order", "desc")
    if order not in _ORDERS:
        raise invalid_field("order", "must be 'asc' or 'desc'")
    if order == "desc":
        items = items[::-1]
    if (after := query.get("after")) is not None:
        items = items[_place(items, after) + 1 :]
    given = items[:limit]
    return {
        "object": "list",
        "data": given,
        "first_id": given[0]["id"] if given else None,
        "last_id": given[-1]["id"] if given else None,
        "has_more": len(items) > limit,
    }


def _limit(text: str | None) -> int:
    if text is None:
        return _DEFAULT_ITEMS
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= _MAX_ITEMS):
        raise invalid_field("limit", f"must be an integer in [1, {_MAX_ITEMS}]")
    return int(text)


def _place(items: list[Json], item_id: str) -> int:
    for place, item in enumerate(items):
        if item["id"] == item_id:
            return place
    raise invalid_field("after", "is not the id of an item of this list")
