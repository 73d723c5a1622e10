"""Which place of a schema the grammar compiler can't deal with: it only says that there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from llamawire_server.chat.schema.document import MAP_KEYWORDS, Found, Place, moved
from llamawire_server.chat.schema.keywords import LIST_KEYWORDS, SCHEMA_KEYWORDS

# Somebody waits for it, and it is only a hint.
_SEARCH_SECONDS = 0.1

# Where the whole schema stands beside a part of it that is tried.
_ROOT = "/$defs/root"

# What is tried by itself, each with the types of its schema.
_CONSTRAINTS = (
    *("pattern", "format", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("enum", "const", "oneOf", "anyOf", "allOf", "patternProperties"),
)


def find_fault(
    root: dict[str, Any],
    compiles: Callable[[dict[str, Any]], bool],
    clock: Callable[[], float] = time.monotonic,
) -> Place:
    """The innermost place found that does not compile by itself; `root` does not.

    compiles: whether a schema does.
    """
    search = _Search(root, compiles, clock)
    return search.from_place(Found(root, Place()))


class _Search:
    def __init__(
        self, root: dict[str, Any], compiles: Callable[[dict[str, Any]], bool], clock: Callable[[], float]
    ) -> None:
        self._compiles = compiles
        self._clock = clock
        self._end = clock() + _SEARCH_SECONDS
        self._root = moved({key: value for key, value in root.items() if key != "$id"}, _ROOT)

    def from_place(self, found: Found) -> Place:
        """The fault, from a place inwards that has it."""
        node, place = found
        for child in _subschemas(node, place):
            if self._fails({"$ref": f"#{_ROOT}{child.place.whole_pointer}"}):
                return self.from_place(child)
        types = {"type": node["type"]} if "type" in node else {}
        for keyword in _CONSTRAINTS:
            if keyword in node and self._fails({**types, keyword: node[keyword]}):
                return place / keyword
        return place

    def _fails(self, schema: dict[str, Any]) -> bool:
        """Whether a schema that may refer to places of the root is one that can't be compiled."""
        if self._clock() > self._end:
            return False
        return not self._compiles({"$defs": {"root": self._root}, **schema})


def _subschemas(node: dict[str, Any], place: Place) -> Iterator[Found]:
    for keyword, value in node.items():
        here = place / keyword
        if keyword in LIST_KEYWORDS or (keyword == "items" and isinstance(value, list)):
            children = [Found(item, here / number) for number, item in enumerate(value)]
        elif keyword in MAP_KEYWORDS:
            children = [Found(item, here / name) for name, item in value.items()]
        else:
            children = [Found(value, here)] if keyword in SCHEMA_KEYWORDS else []
        yield from (child for child in children if isinstance(child.value, dict))
