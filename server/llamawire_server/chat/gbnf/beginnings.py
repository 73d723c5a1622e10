"""Options that begin with the same characters: of long lists of words, most do."""

from __future__ import annotations

from llamawire_server.chat.gbnf.characters import Ranges
from llamawire_server.chat.gbnf.nodes import Characters, Node, Sequence, choice, sequence

# Beginnings within each other: what is left after so many is told apart soon enough.
_MOST_LEVELS = 8


def shared(options: list[Node], num_levels: int = _MOST_LEVELS) -> list[Node]:
    """The options, those that begin with the same character as one: `"ab" | "ac"` is `"a" ("b" | "c")`."""
    groups: dict[Ranges, list[Sequence]] = {}
    made: list[Node] = []
    for option in options:
        begin = option.parts[0] if isinstance(option, Sequence) and option.parts else None
        if isinstance(option, Sequence) and isinstance(begin, Characters):
            groups.setdefault(begin.ranges, []).append(option)
        else:
            made.append(option)
    for group in groups.values():
        if len(group) == 1 or not num_levels:
            made.extend(group)
        else:
            rest = shared([sequence(option.parts[1:]) for option in group], num_levels - 1)
            made.append(sequence([group[0].parts[0], choice(rest)]))
    return made
