"""Rules that are repetitions, written with a reference to themselves: many grammars have some.

As repetitions they are regular, if their parts are, and may be in one lexeme with what is around them; and a parser
has less to remember.
"""

from __future__ import annotations

from llamawire_server.chat.gbnf.nodes import (
    Choice,
    Node,
    Reference,
    Repeat,
    Sequence,
    children,
    choice,
    repeat,
    sequence,
)

# Of nodes that are written down once for each option, and options.
_MOST_COPIED = 1000


def as_repetition(name: str, rule: Node) -> Node:
    """The rule, without its references to itself where these are all at the ends, or all at the beginnings, of its
    options: `a ::= b a | c` is `b* c`, `a ::= b ("," a)?` is `(b ",")* b`, and `a ::= a b | c` is `c b*`."""
    recursive: set[Node] = set()
    if not _find(name, rule, recursive):
        return rule
    for is_at_end in (True, False):
        again: list[Node] = []
        once: list[Node] = []
        for parts in _options(rule, recursive, is_at_end=is_at_end):
            itself = parts[-1 if is_at_end else 0] if parts else None
            if isinstance(itself, Reference) and itself in recursive:
                parts = parts[:-1] if is_at_end else parts[1:]
                again.append(sequence(parts))
            else:
                once.append(sequence(parts))
            if any(part in recursive for part in parts):
                break  # elsewhere, too
        else:
            if again and once:
                repeated = repeat(choice(again), 0, None)
                return sequence([repeated, choice(once)] if is_at_end else [choice(once), repeated])
    return rule


def _options(node: Node, recursive: set[Node], *, is_at_end: bool) -> list[list[Node]]:
    """The sequences that it is one of: as many as it takes for the rule's name to stand at an end by itself."""
    if node not in recursive:
        return [[node]]
    match node:
        case Choice(options):
            return [found for option in options for found in _options(option, recursive, is_at_end=is_at_end)]
        case Repeat(part, 0, 1):
            return [*_options(part, recursive, is_at_end=is_at_end), []]
        case Sequence(parts):
            rest, end = (parts[:-1], parts[-1]) if is_at_end else (parts[1:], parts[0])
            ends = _options(end, recursive, is_at_end=is_at_end)
            if len(ends) * len(rest) > _MOST_COPIED:
                return [list(parts)]
            return [[*rest, *each] if is_at_end else [*each, *rest] for each in ends]
        case _:
            return [[node]]


def _find(name: str, node: Node, found: set[Node]) -> bool:
    """Whether the name is in a node; all nodes that it is in are added to the found ones."""
    has_name = isinstance(node, Reference) and node.name == name
    for child in children(node):
        has_name |= _find(name, child, found)
    if has_name:
        found.add(node)
    return has_name
