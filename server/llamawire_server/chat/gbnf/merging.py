"""Characters of a grammar that are put together to lexemes, as large as they can be.

A step of the parser is for each lexeme what it would be for each character, and masks take a tenth or less.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from llamawire_server.chat.gbnf.nodes import (
    Characters,
    Choice,
    Lexeme,
    Node,
    Reference,
    Repeat,
    Sequence,
    choice,
    lexeme,
    repeat,
    sequence,
    walk,
)

# Of nodes within each other: the compiler takes expressions of 250, groups and what is in them counted.
_MOST_LEVELS = 60

# Characters of rules that are written down where they are referred to.
_MOST_COPIED = 200_000

# Of nodes that are written down twice.
_MOST_TWICE = 50


@dataclass(frozen=True, slots=True)
class _Regular:
    """What may still become a part of a lexeme."""

    node: Node
    num_characters: int
    num_levels: int


_Part: TypeAlias = "_Regular | Node"
"""A node is closed: its characters are in lexemes, or not to be in one with what is around."""


def merge(rules: Mapping[str, Node], root: str, most_characters: int) -> dict[str, Node]:
    """The rules that are left when what is regular is in lexemes: the root, and what it refers to.

    most_characters: of a lexeme, counted as they are written, with those of rules it refers to; 0: each character is
    one by itself.
    """
    return _Merging(rules, most_characters).rules(root)


class _Merging:
    def __init__(self, rules: Mapping[str, Node], most_characters: int) -> None:
        self._bodies = rules
        self._most_characters = most_characters
        self._num_left = _MOST_COPIED
        self._parts: dict[str, _Part] = {}
        """Of rules that are not recursive."""
        users: dict[str, set[str]] = defaultdict(set)
        num_missing: dict[str, int] = {}
        for name, rule in rules.items():
            used = {node.name for node in walk(rule) if isinstance(node, Reference)}
            num_missing[name] = len(used)
            for other in used:
                users[other].add(name)
        ready = [name for name, number in num_missing.items() if not number]
        while ready:
            name = ready.pop()
            self._parts[name] = self._part(rules[name])
            for user in users[name]:
                num_missing[user] -= 1
                if not num_missing[user]:
                    ready.append(user)

    def rules(self, root: str) -> dict[str, Node]:
        found: dict[str, Node] = {}
        waiting = [root]
        while waiting:
            name = waiting.pop()
            if name not in found:
                part = self._parts[name] if name in self._parts else self._part(self._bodies[name])
                found[name] = _closed(part)
                waiting.extend(node.name for node in walk(found[name]) if isinstance(node, Reference))
        return found

    def _part(self, node: Node) -> _Part:
        match node:
            case Characters():
                return _Regular(node, 1, 1)
            case Reference(name):
                part = self._parts.get(name)
                if not isinstance(part, _Regular) or part.num_characters > self._num_left:
                    return node
                self._num_left -= part.num_characters
                return part
            case Sequence(parts):
                return self._sequence([self._part(part) for part in parts])
            case Choice(options):
                return self._choice([self._part(option) for option in options])
            case Repeat():
                return self._repeat(node, self._part(node.part))
            case _:
                return node

    def _sequence(self, parts: list[_Part]) -> _Part:
        whole = self._combined(sequence, parts)
        if whole is not None:
            return whole
        merged: list[Node] = []
        for is_regular, group in itertools.groupby(parts, lambda part: isinstance(part, _Regular)):
            run = list(group)
            merged.extend(self._packed(sequence, run) if is_regular else map(_closed, run))
        return sequence(merged)

    def _choice(self, options: list[_Part]) -> _Part:
        regular: list[_Part] = [option for option in options if isinstance(option, _Regular)]
        rest = [option for option in options if not isinstance(option, _Regular)]
        if not rest and (together := self._combined(choice, regular)):
            return together
        return choice([*self._packed(choice, regular), *rest])

    def _repeat(self, node: Repeat, part: _Part) -> _Part:
        together = self._combined(lambda nodes: repeat(nodes[0], node.least, node.most), [part])
        if together is not None:
            return together
        if node.most is None and node.least <= 1 and isinstance(part, Choice) and self._most_characters:
            regular: list[Node] = [option.part for option in part.options if isinstance(option, Lexeme)]
            rest = [option for option in part.options if not isinstance(option, Lexeme)]
            if regular and rest:
                return _alternating(choice(regular), choice(rest), node)
        return repeat(_closed(part), node.least, node.most)

    def _packed(self, make: Callable[[list[Node]], Node], parts: list[_Part]) -> list[Node]:
        """As few lexemes as these fit into, in their order."""
        packed: list[Node] = []
        run: list[_Part] = []
        num_characters = 0
        for part in parts:
            size = part.num_characters if isinstance(part, _Regular) else 0
            if run and num_characters + size > self._most_characters:
                packed.extend(self._closed_together(make, run))
                run, num_characters = [], 0
            run.append(part)
            num_characters += size
        return [*packed, *self._closed_together(make, run)]

    def _closed_together(self, make: Callable[[list[Node]], Node], parts: list[_Part]) -> list[Node]:
        together = self._combined(make, parts) if parts else None
        return [_closed(together)] if together is not None else [_closed(part) for part in parts]

    def _combined(self, make: Callable[[list[Node]], Node], parts: list[_Part]) -> _Regular | None:
        """What is made of these, if it may be in one lexeme."""
        regular = [part for part in parts if isinstance(part, _Regular)]
        num_characters = sum(part.num_characters for part in regular)
        num_levels = 1 + max((part.num_levels for part in regular), default=0)
        if len(regular) < len(parts) or num_characters > self._most_characters or num_levels > _MOST_LEVELS:
            return None
        return _Regular(make([part.node for part in regular]), num_characters, num_levels)


def _closed(part: _Part) -> Node:
    if not isinstance(part, _Regular):
        return part
    return lexeme(part.node)


def _alternating(regular: Node, rest: Node, node: Repeat) -> Node:
    """(a | b)* as a* (b a*)*, where a is regular: a run of it is one lexeme then."""
    again = Repeat(Sequence((rest, Lexeme(Repeat(regular, 0, None)))), 0, None)
    if not node.least:
        return Sequence((Lexeme(Repeat(regular, 0, None)), again))
    if sum(1 for _ in walk(rest)) > _MOST_TWICE:
        return Repeat(Choice((Lexeme(regular), rest)), 1, None)
    once = Choice((Lexeme(Repeat(regular, 1, None)), Sequence((rest, Lexeme(Repeat(regular, 0, None))))))
    return Sequence((once, again))


def split(node: Node, conflicts: Mapping[Lexeme, set[Characters]]) -> Node:
    """A rule whose lexemes are smaller, where they have one of these characters within."""
    match node:
        case Lexeme(part):
            return _split(part, conflicts[node]) if node in conflicts else node
        case Sequence(parts):
            return sequence([split(part, conflicts) for part in parts])
        case Choice(options):
            return choice([split(option, conflicts) for option in options])
        case Repeat(part, least, most):
            return repeat(split(part, conflicts), least, most)
        case _:
            return node


def _split(part: Node, characters: set[Characters]) -> Node:
    """Lexemes for what was one: those of the characters are in others than what is around them."""
    match part:
        case Sequence(parts):
            pieces: list[Node] = []
            run: list[Node] = []
            for piece in parts:
                if _has_any(piece, characters):
                    pieces.append(lexeme(sequence(run)))
                    # Where something stands before it, that is what it goes on with; or else it does so by itself.
                    pieces.extend([] if run else [lexeme(piece)])
                    run = [piece] if run else []
                else:
                    run.append(piece)
            return sequence([*pieces, lexeme(sequence(run))])
        case Choice(options):
            apart: list[Node] = [lexeme(option) for option in options if _has_any(option, characters)]
            rest = [option for option in options if not _has_any(option, characters)]
            return choice([*apart, lexeme(choice(rest))] if rest else apart)
        case Repeat(repeated, least, most):
            return Repeat(Lexeme(repeated), least, most)
        case _:
            return Lexeme(part)


def _has_any(node: Node, characters: set[Characters]) -> bool:
    return any(each in characters for each in walk(node) if isinstance(each, Characters))
