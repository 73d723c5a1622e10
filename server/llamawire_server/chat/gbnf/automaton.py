"""The automaton of a regular part: what its texts may begin with, and how they may go on.

Its states are the part's characters, each where it stands. Counted repetitions are taken for uncounted ones: it knows
all texts of the part, and some more.
"""

from __future__ import annotations

from collections.abc import Iterator

from llamawire_server.chat.gbnf.characters import Ranges, first_bytes, overlap
from llamawire_server.chat.gbnf.nodes import Characters, Node
from llamawire_server.chat.gbnf.order import Budget, Ends, Order, bits


class Automaton(Order):
    """Sets of states are integers: bit n for state n, which are in the order of `leaves`."""

    def __init__(self, part: Node, budget: Budget) -> None:
        """part: as a lexeme has it."""
        super().__init__(budget)
        self.leaves: list[Characters] = []
        self._first_bytes: list[int] = []
        self.is_nullable, self.first, self.last = self._ends(part)
        self.first_bytes = self.bytes_of(self.first)
        """The first bytes of its texts: bit n for byte n."""

    def bytes_of(self, states: int) -> int:
        """The first bytes of these states' characters: bit n for byte n."""
        found = 0
        for state in bits(states):
            found |= self._first_bytes[state]
        return found

    def ranges(self, state: int) -> Ranges:
        return self.leaves[state].ranges

    def after(self, state: int) -> int:
        return self._follow[state]

    def _ends(self, node: Node) -> Ends:
        if not isinstance(node, Characters):
            return super()._ends(node)
        self._budget.spend(1 + len(self.leaves) // 1024 + len(node.ranges))
        state = 1 << len(self.leaves)
        self.leaves.append(node)
        self._first_bytes.append(first_bytes(node.ranges))
        self._follow.append(0)
        return Ends(False, state, state)


class Meeting:
    """What two automata, which read one text from one place on, may do together."""

    def __init__(self, one: Automaton, other: Automaton, budget: Budget) -> None:
        self.end_together = False
        """Whether a text that is not empty is one of both's."""
        self.goes_on = 0
        """The other's states that may come where the one's text ends."""
        waiting = list(_common(one, one.first, other, other.first, budget))
        seen = set(waiting)
        while waiting:
            mine, its = waiting.pop()
            if one.last >> mine & 1:
                self.goes_on |= other.after(its)
                self.end_together |= bool(other.last >> its & 1)
            for pair in _common(one, one.after(mine), other, other.after(its), budget):
                if pair not in seen:
                    seen.add(pair)
                    waiting.append(pair)


def _common(
    one: Automaton, mine: int, other: Automaton, its: int, budget: Budget
) -> Iterator[tuple[int, int]]:
    """The pairs of states that one character leads to."""
    wide: list[int] = []
    narrow: dict[int, list[int]] = {}
    for another in bits(its):
        budget.spend()
        (first, last), *more = other.ranges(another)
        if first == last and not more:
            narrow.setdefault(first, []).append(another)
        else:
            wide.append(another)
    for state in bits(mine):
        ranges = one.ranges(state)
        budget.spend(len(ranges))
        for first, last in ranges:
            if first == last:
                found = narrow.get(first, ())
                budget.spend(len(found))
                yield from ((state, another) for another in found)
            else:
                budget.spend(len(narrow))
                for character, found in narrow.items():
                    if first <= character <= last:
                        yield from ((state, another) for another in found)
        for another in wide:
            its_ranges = other.ranges(another)
            budget.spend(len(ranges) + len(its_ranges))
            if overlap(ranges, its_ranges):
                yield state, another
