"""GBNF as llama.cpp reads it (its grammars/README.md and src/llama-grammar.cpp), as a tree."""

from __future__ import annotations

import re
from typing import NoReturn

from llamawire_server.chat.gbnf.beginnings import shared
from llamawire_server.chat.gbnf.characters import ANY, Ranges, complement, is_character, union
from llamawire_server.chat.gbnf.nodes import (
    Characters,
    Node,
    Reference,
    Sequence,
    choice,
    repeat,
    sequence,
    walk,
)
from llamawire_server.grammar_errors import GrammarError, error_at

ROOT = "root"
"""The rule that is the whole text."""

# Rules and groups within each other, added up over all rules, as one may stand in the other's groups.
_MOST_LEVELS = 500

# Groups within each other in one rule: each takes the parser some frames.
_MOST_GROUPS = 64

# Operators after one part that can't be said as one.
_MOST_OPERATORS = 4

# A number of repetitions. llama.cpp takes 2,000.
_MOST_REPETITIONS = 100_000

_NAME = re.compile(r"[A-Za-z0-9_\-]+")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_COUNTS = re.compile(r"\{[ \t]*([0-9]+)[ \t]*(?:(,)[ \t]*([0-9]+)?[ \t]*)?\}")
_NUMBERED = {"x": 2, "u": 4, "U": 8}
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", **{character: character for character in '\\"[]-'}}


def parse(text: str) -> dict[str, Node]:
    """A grammar's rules by their names. All that are referred to are there, and `root` is.

    A line that begins with `|` goes on with the rule above it, which llama.cpp does not take.
    Raises GrammarError, with the place.
    """
    return _Parser(text).rules()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._level = 0
        """Of groups."""
        self._most_level = 0

    def rules(self) -> dict[str, Node]:
        rules: dict[str, Node] = {}
        num_levels = 0
        self._skip(lines=True)
        while self._at < len(self._text):
            begin = self._at
            name = self._name()
            if name in rules:
                self._fail(f"the rule {name} is there twice", begin)
            self._skip()
            if not self._take("::="):
                self._fail("expected ::=")
            self._skip(lines=True)
            self._most_level = 0
            rules[name] = self._choice()
            if self._at < len(self._text) and self._text[self._at] not in "\r\n":
                self._fail("expected the end of the line")
            num_levels += 1 + self._most_level
            if num_levels > _MOST_LEVELS:
                raise GrammarError(f"it has more than {_MOST_LEVELS} rules and groups within each other")
            self._skip(lines=True)
        self._check(rules)
        return rules

    def _check(self, rules: dict[str, Node]) -> None:
        for rule in rules.values():
            for node in walk(rule):
                if isinstance(node, Reference) and node.name not in rules:
                    self._fail(f"there is no rule {node.name}", node.position)
        if ROOT not in rules:
            raise GrammarError(f"there is no rule {ROOT}")

    def _choice(self) -> Node:
        options = [self._sequence()]
        while True:
            at = self._at
            self._skip(lines=True)
            if not self._take("|"):
                # Inside of a group, line ends are nothing; outside, one ends the rule.
                self._at = self._at if self._level else at
                return choice(shared(options))
            self._skip(lines=True)
            options.append(self._sequence())

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._at < len(self._text):
            begin = self._at
            match self._text[begin]:
                case '"':
                    part = self._literal()
                case "[":
                    part = self._class()
                case "(":
                    part = self._group()
                case ".":
                    self._at += 1
                    part = Characters(ANY)
                case "<" | "!":
                    self._fail("a grammar is about text: tokens can't be named")
                case "*" | "+" | "?" | "{":
                    self._fail("there is nothing before it to repeat")
                case character if _NAME.match(character):
                    part = Reference(self._name(), begin)
                case _:
                    break
            parts.append(self._repeated(part))
        return sequence(parts)

    def _repeated(self, part: Node) -> Node:
        """What stands before as many operators as there are, and the space after it."""
        num_counts = 0
        while True:
            self._skip(lines=self._level > 0)
            begin = self._at
            match self._text[begin : begin + 1]:
                case "*":
                    part = repeat(part, 0, None)
                case "+":
                    part = repeat(part, 1, None)
                case "?":
                    part = repeat(part, 0, 1)
                case "{":
                    num_counts += 1
                    if num_counts > _MOST_OPERATORS:
                        self._fail(f"more than {_MOST_OPERATORS} repetitions of repetitions")
                    part = self._counted(part)
                    continue
                case _:
                    return part
            self._at += 1

    def _counted(self, part: Node) -> Node:
        match = _COUNTS.match(self._text, self._at)
        if match is None:
            self._fail("expected {m}, {m,} or {m,n}")
        for digits in match.group(1, 3):
            if digits is not None and (len(digits) > 9 or int(digits) > _MOST_REPETITIONS):
                self._fail(f"at most {_MOST_REPETITIONS} repetitions are taken")
        least = int(match[1])
        most = least if match[2] is None else int(match[3]) if match[3] is not None else None
        if most is not None and most < least:
            self._fail(f"it can't come {least} times at least and {most} times at most")
        self._at = match.end()
        return repeat(part, least, most)

    def _group(self) -> Node:
        begin = self._at
        self._at += 1
        self._level += 1
        self._most_level = max(self._most_level, self._level)
        if self._level > _MOST_GROUPS:
            self._fail("the groups are nested too deeply", begin)
        self._skip(lines=True)
        part = self._choice()
        if not self._take(")"):
            if self._at == len(self._text):
                self._fail("the group has no end", begin)
            self._fail("expected )")
        self._level -= 1
        return part

    def _literal(self) -> Node:
        begin = self._at
        self._at += 1
        parts: list[Node] = []
        while not self._take('"'):
            code_point = self._character("the text has no end", begin)
            parts.append(Characters(((code_point, code_point),)))
        return Sequence(tuple(parts))

    def _class(self) -> Node:
        begin = self._at
        self._at += 1
        is_negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        no_end = "the set of characters has no end"
        while not self._take("]"):
            at = self._at
            first = last = self._character(no_end, begin)
            if self._text.startswith("-", self._at) and not self._text.startswith("-]", self._at):
                self._at += 1
                last = self._character(no_end, begin)
            if last < first:
                self._fail("the range's end comes before its beginning", at)
            ranges.append((first, last))
        made: Ranges = complement(union(ranges)) if is_negated else union(ranges)
        if not made or not ranges:
            self._fail("the set of characters is empty", begin)
        return Characters(made)

    def _character(self, no_end: str, begin: int) -> int:
        """The next one, which may be escaped."""
        at = self._at
        character = self._text[at : at + 1]
        if not character:
            self._fail(no_end, begin)
        if character != "\\":
            self._at += 1
            return ord(character)
        kind = self._text[at + 1 : at + 2]
        if not kind:
            self._fail("the grammar ends in the middle of an escape")
        if kind not in _NUMBERED:
            if kind not in _ESCAPES:
                self._fail(f"there is no escape \\{kind}")
            self._at += 2
            return ord(_ESCAPES[kind])
        end = at + 2 + _NUMBERED[kind]
        digits = self._text[at + 2 : end]
        if not re.fullmatch(f"[0-9a-fA-F]{{{_NUMBERED[kind]}}}", digits):
            self._fail(f"expected {_NUMBERED[kind]} hexadecimal digits after \\{kind}")
        code_point = int(digits, 16)
        if not is_character(code_point):
            self._fail(f"\\{kind}{digits} is no character")
        self._at = end
        return code_point

    def _name(self) -> str:
        match = _NAME.match(self._text, self._at)
        if match is None:
            self._fail("expected the name of a rule")
        self._at = match.end()
        return match[0]

    def _take(self, text: str) -> bool:
        is_there = self._text.startswith(text, self._at)
        self._at += len(text) if is_there else 0
        return is_there

    def _skip(self, *, lines: bool = False) -> None:
        match = (_SPACE_AND_LINES if lines else _SPACE).match(self._text, self._at)
        assert match is not None  # it matches nothing, too
        self._at = match.end()

    def _fail(self, message: str, position: int | None = None) -> NoReturn:
        raise error_at(self._text, self._at if position is None else position, message)
