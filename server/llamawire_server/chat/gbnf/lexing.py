"""Which lexemes of a grammar a lexer can't keep apart.

llguidance reads a text lexeme by lexeme: of all that may come at a place, it matches until none can go on, and takes
those that end there. That is exact where a lexeme that ends, and what may follow it, can't be taken for more of any
lexeme that may have begun at the same place. What may come where is told without the stack of rules that have begun:
no less than what may come, and at times more.
"""

from __future__ import annotations

from collections.abc import Mapping

from llamawire_server.chat.gbnf.automaton import Automaton, Meeting
from llamawire_server.chat.gbnf.nodes import Characters, Lexeme, Node, Reference, walk
from llamawire_server.chat.gbnf.order import Budget, Ends, Order, bits


class Lexing(Order):
    """Sets of lexemes are integers: bit n for lexeme n, in the order in which the rules have them."""

    def __init__(self, rules: Mapping[str, Node], root: str, budget: Budget) -> None:
        """rules: whose characters are all in lexemes. Raises ExpenseError."""
        self._rules = rules
        super().__init__(budget)
        self._lexemes = [node for rule in rules.values() for node in walk(rule) if isinstance(node, Lexeme)]
        self._numbers = {lexeme: number for number, lexeme in enumerate(self._lexemes)}
        self._automata = [Automaton(lexeme.part, budget) for lexeme in self._lexemes]
        self._follow = [0] * len(self._lexemes)
        self._ends_of_rules = dict.fromkeys(rules, Ends(False, 0, 0))
        while True:
            found = {name: self._ends(rule) for name, rule in rules.items()}
            if found == self._ends_of_rules:
                break
            self._ends_of_rules = found
        self._first = self._ends_of_rules[root].first
        self._meetings: dict[tuple[int, int], Meeting] = {}

    def conflicts(self) -> dict[Lexeme, set[Characters]]:
        """The lexemes that might be matched where another one's end was meant, and the characters that would be."""
        found: dict[Lexeme, set[Characters]] = {}
        following = [self._bytes_after(number) for number in range(len(self._lexemes))]
        for number, others in enumerate(self._neighbours()):
            for other in bits(others):
                automaton = self._automata[other]
                for state in bits(self._meet(number, other).goes_on):
                    if automaton.bytes_of(1 << state) & following[number]:
                        found.setdefault(self._lexemes[other], set()).add(automaton.leaves[state])
        return found

    def _ends(self, node: Node) -> Ends:
        self._budget.spend()
        match node:
            case Lexeme():
                number = self._numbers[node]
                return Ends(self._automata[number].is_nullable, 1 << number, 1 << number)
            case Reference(name):
                return self._ends_of_rules[name]
            case _:
                return super()._ends(node)

    def _bytes_after(self, number: int) -> int:
        """The first bytes of what may follow a lexeme."""
        found = 0
        for other in bits(self._follow[number]):
            self._budget.spend()
            found |= self._automata[other].first_bytes
        return found

    def _neighbours(self) -> list[int]:
        """For each lexeme, those that may begin where it begins; it is one itself."""
        neighbours = [0] * len(self._lexemes)
        waiting: list[tuple[int, int]] = []

        def add(some: int, others: int) -> None:
            for number in bits(some):
                self._budget.spend()
                new = others & ~neighbours[number]
                neighbours[number] |= new
                for other in bits(new):
                    self._budget.spend()
                    waiting.append((number, other))

        add(self._first, self._first)
        while waiting:
            number, other = waiting.pop()
            # Both have ended where what follows them begins.
            if number == other or self._meet(number, other).end_together:
                add(self._follow[number], self._follow[other])
        return neighbours

    def _meet(self, number: int, other: int) -> Meeting:
        pair = number, other
        if pair not in self._meetings:
            self._meetings[pair] = Meeting(self._automata[number], self._automata[other], self._budget)
        return self._meetings[pair]
