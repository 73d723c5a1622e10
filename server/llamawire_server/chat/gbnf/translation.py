"""GBNF as a grammar in llguidance's dialect of Lark, of the same texts."""

from __future__ import annotations

from llamawire_server.chat.gbnf.lark import write
from llamawire_server.chat.gbnf.lexing import Lexing
from llamawire_server.chat.gbnf.merging import merge, split
from llamawire_server.chat.gbnf.nodes import Characters, Lexeme, Node, walk
from llamawire_server.chat.gbnf.order import Budget, ExpenseError
from llamawire_server.chat.gbnf.parser import ROOT, parse
from llamawire_server.chat.gbnf.recursion import as_repetition
from llamawire_server.grammar_errors import GrammarError
from llamawire_server.grammar_limits import PARSER_LIMITS

# What is tried, one after the other: as many characters in a lexeme, and as many steps, of about a microsecond, to
# find out which can be told from each other; none for the whole as one lexeme. What is left after these is a lexeme
# for each character.
_ATTEMPTS = ((100_000, 0), (4000, 200_000), (100, 100_000))

# The compiler takes no more.
_MOST_LEXEMES: int = PARSER_LIMITS["max_grammar_size"]


def to_lark(text: str) -> str:
    """A grammar whose rule `start` is all that GBNF's `root` derives: character by character, as llama.cpp reads it.

    What is regular is matched as a whole, where that makes no difference. Raises GrammarError, with the place.
    """
    rules = {name: as_repetition(name, rule) for name, rule in parse(text).items()}
    num_characters = sum(isinstance(node, Characters) for rule in rules.values() for node in walk(rule))
    for most_characters, num_steps in _ATTEMPTS:
        if num_steps and num_characters > num_steps // 2:
            continue  # to look at each takes more
        try:
            return write(_merged(rules, most_characters, Budget(num_steps)), ROOT)
        except ExpenseError:
            continue
    merged = merge(rules, ROOT, 0)
    if sum(1 for rule in merged.values() for node in walk(rule) if isinstance(node, Lexeme)) > _MOST_LEXEMES:
        raise GrammarError(f"it has more than {_MOST_LEXEMES} characters which can't be told from each other")
    return write(merged, ROOT)


def _merged(rules: dict[str, Node], most_characters: int, budget: Budget) -> dict[str, Node]:
    """The rules with lexemes that a lexer keeps apart."""
    merged = merge(rules, ROOT, most_characters)
    if isinstance(merged[ROOT], Lexeme):
        return merged  # the whole
    while conflicts := Lexing(merged, ROOT, budget).conflicts():
        merged = {name: split(rule, conflicts) for name, rule in merged.items()}
    return merged
