"""What may come after what: for the characters of a lexeme, and for the lexemes of a grammar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from llamawire_server.chat.gbnf.nodes import Choice, Node, Repeat, Sequence


class ExpenseError(Exception):
    """It takes too much."""


class Budget:
    """What may be spent on looking at a grammar."""

    def __init__(self, num_steps: int) -> None:
        """A step takes about a microsecond."""
        self._num_left = num_steps

    def spend(self, num_steps: int = 1) -> None:
        """Raises ExpenseError where nothing is left."""
        self._num_left -= num_steps
        if self._num_left < 0:
            raise ExpenseError


class Ends(NamedTuple):
    """Where a part of a grammar begins and ends."""

    is_nullable: bool
    """Whether it may be nothing."""
    first: int
    """The elements that it may begin with."""
    last: int
    """Those that it may end with."""


class Order:
    """Links elements to those that may follow them (Glushkov's construction).

    What an element is, whoever inherits from this says by overriding `_ends` for it. Sets of elements are integers:
    bit n for element n.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._follow: list[int] = []
        """After each element, those that may come."""

    def _ends(self, node: Node) -> Ends:
        """A node's ends; what is in it is linked. Raises ExpenseError."""
        match node:
            case Choice(options):
                is_nullable, first, last = False, 0, 0
                for option in map(self._ends, options):
                    is_nullable = is_nullable or option.is_nullable
                    first, last = first | option.first, last | option.last
                return Ends(is_nullable, first, last)
            case Sequence(parts):
                is_nullable, first, last = True, 0, 0
                for part in map(self._ends, parts):
                    self._link(last, part.first)
                    first |= part.first if is_nullable else 0
                    last = part.last | (last if part.is_nullable else 0)
                    is_nullable = is_nullable and part.is_nullable
                return Ends(is_nullable, first, last)
            case Repeat(part, least, most):
                ends = self._ends(part)
                if most is None or most > 1:
                    self._link(ends.last, ends.first)
                return ends._replace(is_nullable=ends.is_nullable or least == 0)
            case _:
                raise AssertionError(f"{node} has no place here")

    def _link(self, ends: int, begins: int) -> None:
        for element in bits(ends):
            self._budget.spend()
            self._follow[element] |= begins


def bits(number: int) -> Iterator[int]:
    """Which bits are set, the lowest first."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
