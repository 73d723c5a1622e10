"""Grammars that can't be used, and why, for whoever wrote them."""

from __future__ import annotations

import re

# Of what is said of a grammar.
_MOST_CHARACTERS = 400

# What the compiler says begins with its place, if it knows one, and ends with a piece of the grammar.
_MESSAGE = re.compile(
    r"(?:at )?(?:(?P<line>\d+)\((?P<column>\d+)\): ?)?(?:failed to compile JSON schema: )?(?P<rest>.*)",
    re.DOTALL,
)
_PIECE = re.compile(r"^ *\d+ \| .*|<non-verbose/>.*", re.DOTALL | re.MULTILINE)
_EXPRESSION_ERROR = re.compile(r"regex parse error:.*?^error: ", re.DOTALL | re.MULTILINE)

_SAID_OTHERWISE = {
    "NoExtensionBias": "there is no text that it allows",
    "oneOf constraints are not supported. Enable 'coerce_one_of' option to approximate oneOf with anyOf": (
        "two of the schemas of oneOf may hold for one value, which can't be ruled out; anyOf can be enforced"
    ),
}


class GrammarError(Exception):
    """A grammar that can't be used; the text says why."""

    def __init__(self, message: str, place: str = "") -> None:
        """place: where in the grammar: a JSON pointer into a schema, or a line and a column; empty where it is not
        known, or the whole of it."""
        super().__init__(message)
        self.place = place


def error_at(text: str, offset: int, message: str) -> GrammarError:
    """What is wrong with a grammar at a place in its text."""
    before = text[:offset]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return GrammarError(message, f"line {line}, column {column}")


def grammar_error(message: str) -> GrammarError:
    """What llguidance says against a grammar, for whoever wrote that."""
    match = _MESSAGE.fullmatch(message.strip())
    assert match is not None  # it matches anything
    rest = _EXPRESSION_ERROR.sub("", _PIECE.sub("", match["rest"]))
    words = " ".join(rest.split())
    place = f"line {match['line']}, column {match['column']}" if match["line"] else ""
    return GrammarError(_SAID_OTHERWISE.get(words, words)[:_MOST_CHARACTERS], place)
