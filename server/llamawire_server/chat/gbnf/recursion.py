"""Rules that are repetitions, written with a reference to themselves: older grammars have many.

As repetitions they are regular, and may be in one lexeme with what is around them.
"""

from __future__ import annotations

from llamawire_server.chat.gbnf.nodes import (
    Choice,
    Node,
    Reference,
    Repeat,
    Sequence,
    choice,
    repeat,
    sequence,
    walk,
)


def as_repetition(name: str, rule: Node) -> Node:
    """The rule, without its references to itself where these are all at the ends, or all at the beginnings, of its
    options: `a ::= b a | c` is `b* c`, and `a ::= a b | c` is `c b*`."""
    for is_at_end in (True, False):
        again: list[Node] = []
        once: list[Node] = []
        for option in _options(rule):
            rest = _rest(name, option, is_at_end=is_at_end)
            if rest is None:
                if _refers(name, option):
                    break
                once.append(option)
            else:
                again.append(sequence(rest[0]))
                if rest[1]:
                    once.append(sequence(rest[0]))
        else:
            if not again or not once:
                return rule
            repeated = repeat(choice(again), 0, None)
            return sequence([repeated, choice(once)] if is_at_end else [choice(once), repeated])
    return rule


def _options(rule: Node) -> list[Node]:
    match rule:
        case Choice(options):
            return [flat for option in options for flat in _options(option)]
        case Repeat(part, 0, 1):
            return [*_options(part), Sequence(())]
        case _:
            return [rule]


def _rest(name: str, option: Node, *, is_at_end: bool) -> tuple[list[Node], bool] | None:
    """What stands before the rule's name, or after it, and whether the name may be left out; None: it is not there,
    or elsewhere too."""
    parts: list[Node] = list(option.parts) if isinstance(option, Sequence) else [option]
    if not parts:
        return None
    end = parts.pop(-1 if is_at_end else 0)
    is_optional = isinstance(end, Repeat) and (end.least, end.most) == (0, 1)
    if is_optional and isinstance(end, Repeat):
        end = end.part
    if not isinstance(end, Reference) or end.name != name or any(_refers(name, part) for part in parts):
        return None
    return parts, is_optional


def _refers(name: str, node: Node) -> bool:
    return any(isinstance(each, Reference) and each.name == name for each in walk(node))
