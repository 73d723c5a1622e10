"""How deep the grammar compiler has to go into a schema, on its stack: a stack that is full ends the process.

It follows each reference once, from wherever it meets it first. So how deep it goes within schemas that lead to each
other is at most what all of them have together.
"""

from __future__ import annotations

from collections.abc import Mapping

from llamawire_server.chat.schema.document import Place
from llamawire_server.grammar_errors import GrammarError

# A schema takes up to 5 KB of a stack of 8 MB.
_MOST_LEVELS = 400


class Depth:
    """Of the schemas of one document, known by their id()."""

    def __init__(self, within: Mapping[int, list[int]], references: Mapping[int, int]) -> None:
        """within: the schemas directly in a schema. references: what a schema refers to."""
        self._within = within
        self._references = references
        self._found: dict[int, tuple[int, list[int]]] = {}

    def check(self, root: int, places: Mapping[int, Place]) -> None:
        """Raises GrammarError where the compiler would have to go too deep from the root."""
        levels: dict[int, int] = {}
        for group in self._groups(root):
            behind = {other for schema in group for other in self._look(schema)[1]} - set(group)
            total = sum(self._look(schema)[0] for schema in group)
            total += max((levels[schema] for schema in behind), default=0)
            levels.update(dict.fromkeys(group, total))
            if total > _MOST_LEVELS:
                raise GrammarError(
                    f"schemas lead to each other over more than {_MOST_LEVELS} levels",
                    places[group[0]].pointer,
                )

    def _look(self, start: int) -> tuple[int, list[int]]:
        """How many levels there are in a schema, as it is written, and what is referred to."""
        if start not in self._found:
            most, targets = 0, []
            waiting = [(start, 1)]
            while waiting:
                schema, level = waiting.pop()
                most = max(most, level)
                if schema in self._references:
                    targets.append(self._references[schema])
                waiting += [(inner, level + 1) for inner in self._within.get(schema, ())]
            self._found[start] = most, targets
        return self._found[start]

    def _groups(self, root: int) -> list[list[int]]:
        """What the root leads to by references, in groups of those that lead to each other; those that a group leads
        to come before it (Tarjan's algorithm, without recursion)."""
        order: dict[int, int] = {}
        lowest: dict[int, int] = {}
        open_schemas: list[int] = []
        is_open: set[int] = set()
        groups: list[list[int]] = []
        path = [(root, 0)]
        while path:
            schema, number = path.pop()
            if number == 0:
                order[schema] = lowest[schema] = len(order)
                open_schemas.append(schema)
                is_open.add(schema)
            targets = self._look(schema)[1]
            if number:
                lowest[schema] = min(lowest[schema], lowest[targets[number - 1]])
            while number < len(targets) and targets[number] in order:
                if targets[number] in is_open:
                    lowest[schema] = min(lowest[schema], order[targets[number]])
                number += 1
            if number < len(targets):
                path += [(schema, number + 1), (targets[number], 0)]
                continue
            if lowest[schema] == order[schema]:
                at = open_schemas.index(schema)
                groups.append(open_schemas[at:])
                is_open.difference_update(open_schemas[at:])
                del open_schemas[at:]
        return groups
