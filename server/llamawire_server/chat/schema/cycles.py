"""Schemas that say of a value only what they say of it: no grammar can be made of them."""

from __future__ import annotations

from collections.abc import Mapping

from llamawire_server.chat.schema.document import Place
from llamawire_server.grammar_errors import GrammarError


def refuse_cycles(same: Mapping[int, list[int]], places: Mapping[int, Place]) -> None:
    """Raises GrammarError for a schema that leads back to itself without a step into the value.

    same: of each schema those that hold for the same value, by `$ref` or `allOf`. places: of all of them.
    """
    done: set[int] = set()
    for start in same:
        path: list[tuple[int, int]] = [(start, 0)]
        on_path = {start}
        while path:
            schema, number = path.pop()
            following = same.get(schema, [])
            if schema in done or number == len(following):
                done.add(schema)
                on_path.discard(schema)
                continue
            path.append((schema, number + 1))
            successor = following[number]
            if successor in on_path:
                raise GrammarError(
                    "the schema leads to itself, and says nothing else", places[successor].pointer
                )
            if successor not in done:
                path.append((successor, 0))
                on_path.add(successor)
