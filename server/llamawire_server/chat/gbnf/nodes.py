"""What a grammar's rules are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from llamawire_server.chat.gbnf.characters import Ranges, union


@dataclass(frozen=True, eq=False, slots=True)
class Characters:
    """One character of a set."""

    ranges: Ranges


@dataclass(frozen=True, eq=False, slots=True)
class Reference:
    """What a rule says."""

    name: str
    position: int
    """In the grammar's text."""


@dataclass(frozen=True, eq=False, slots=True)
class Sequence:
    """One after the other; of no parts: nothing."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Choice:
    """One of several."""

    options: tuple[Node, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Repeat:
    """Again and again."""

    part: Node
    least: int
    most: int | None
    """None: any number."""


@dataclass(frozen=True, eq=False, slots=True)
class Lexeme:
    """What is matched as one regular expression."""

    part: Node
    """Has no references, nor lexemes."""


Node: TypeAlias = "Characters | Reference | Sequence | Choice | Repeat | Lexeme"
"""Two are the same where they are one object."""


def sequence(parts: Iterable[Node]) -> Node:
    flat: list[Node] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Sequence) else (part,))
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def choice(options: Iterable[Node]) -> Node:
    flat: list[Node] = []
    ranges: list[tuple[int, int]] = []
    has_nothing = False
    for option in options:
        for each in option.options if isinstance(option, Choice) else (option,):
            if isinstance(each, Characters):
                ranges.extend(each.ranges)
            elif not _is_nothing(each):
                flat.append(each)
            elif not has_nothing:
                has_nothing = True
                flat.append(each)
    if ranges:
        flat.insert(0, Characters(union(ranges)))
    return flat[0] if len(flat) == 1 else Choice(tuple(flat))


def repeat(part: Node, least: int, most: int | None) -> Node:
    if most == 0 or _is_nothing(part):
        return Sequence(())
    if (least, most) == (1, 1):
        return part
    if isinstance(part, Repeat) and _is_plain(part.least, part.most) and _is_plain(least, most):
        # (x+)? and the like, so that any number of these operators takes no more than one.
        return Repeat(part.part, part.least * least, 1 if part.most == most == 1 else None)
    return Repeat(part, least, most)


def _is_plain(least: int, most: int | None) -> bool:
    """Whether it is one of * + ?."""
    return least <= 1 and (most is None or (least, most) == (0, 1))


def _is_nothing(node: Node) -> bool:
    return isinstance(node, Sequence) and not node.parts


def lexeme(part: Node) -> Node:
    """A lexeme, or nothing, where there is no character in it."""
    has_any = any(isinstance(node, Characters) for node in walk(part))
    return Lexeme(part) if has_any else Sequence(())


def children(node: Node) -> tuple[Node, ...]:
    """What it is made of; a lexeme's inside is its own."""
    match node:
        case Sequence(parts):
            return parts
        case Choice(options):
            return options
        case Repeat(part):
            return (part,)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """It and all that it is made of, from left to right."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(children(node)))
