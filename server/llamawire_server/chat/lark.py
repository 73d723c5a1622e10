"""Looks at a caller's grammar in Lark's syntax for what would take the compiler too long, or too deep on its stack.

A stack that is full ends the process, so this comes before anybody compiles.
"""

from __future__ import annotations

import re

from llamawire_server.grammar_errors import error_at

# The states of texts that are intersected multiply.
_MOST_OPERATORS = 8

# Rules may lead to each other, one in the other's groups. A level takes up to 3 KB of a stack of 8 MB.
_MOST_LEVELS = 500

# Texts, comments and expressions, which are passed over; operators of sets; parentheses; the beginnings of rules.
_PART = re.compile(
    r'"(?:[^"\\\n]|\\.)*"|(?://|\#)[^\n]*|/(?:[^/\\]|\\.)+/'
    r"|(?P<operator>[&~])"
    r"|(?P<open>[(\[])"
    r"|(?P<close>[)\]])"
    r"|^[ \t]*(?P<rule>[!?_]*[A-Za-z][\w\-]*)",
    re.MULTILINE,
)


def check_lark(text: str) -> None:
    """Raises GrammarError, with its place, where a grammar would take too much."""
    num_operators = num_levels = most = level = 0
    for match in _PART.finditer(text):
        if match["operator"]:
            num_operators += 1
            if num_operators > _MOST_OPERATORS:
                message = f"there are more than {_MOST_OPERATORS} of the operators & and ~"
                raise error_at(text, match.end() - 1, message)
        elif match["rule"]:
            num_levels += 1
            most = level = 0
        elif match["open"]:
            level += 1
            num_levels += level > most
            most = max(most, level)
        elif match["close"]:
            level -= 1
        if num_levels > _MOST_LEVELS:
            message = f"it has more than {_MOST_LEVELS} rules and groups within each other"
            raise error_at(text, match.end() - 1, message)
