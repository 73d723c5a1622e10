"""Schemas of JSON in callers' grammars: they are enforced, or refused, like those that come by themselves."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from llamawire_server.grammar_errors import GrammarError, error_at

# Texts, comments and expressions, which are passed over; what comes before a schema.
_PART = re.compile(r'"(?:[^"\\\n]|\\.)*"|(?://|\#)[^\n]*|/(?:[^/\\\n]|\\.)+/|(?P<schema>%json\s*(?=\{))')


# Each is compiled by itself before all of them are.
_MOST_SCHEMAS = 100


def adapt_schemas(text: str, parse: Callable[[str, int], tuple[Any, int]], rule: Callable[[Any], str]) -> str:
    """A grammar in Lark's syntax with each `%json {…}` as `rule` writes it, in as many lines as before.

    parse: the value at a place in a text, and where it ends; raises ValueError where there is none. Raises
    GrammarError, with its line and column, for a schema for which `rule` does, and for too many of them.
    """
    pieces: list[str] = []
    at = num_schemas = 0
    while match := _PART.search(text, at):
        pieces.append(text[at : match.end()] if match["schema"] is None else text[at : match.start()])
        at = match.end()
        if match["schema"] is None:
            continue
        num_schemas += 1
        if num_schemas > _MOST_SCHEMAS:
            raise error_at(text, match.start(), f"there are more than {_MOST_SCHEMAS} schemas")
        try:
            schema, end = parse(text, at)
        except (ValueError, RecursionError) as error:
            raise error_at(text, match.start(), f"the schema can't be read: {error}") from None
        try:
            written = rule(schema)
        except GrammarError as error:
            message = f"in the schema, {error.place}: {error}" if error.place else f"in the schema: {error}"
            raise error_at(text, match.start(), message) from None
        num_lines = text.count("\n", match.start(), end)
        pieces.append(written.replace("{", "{" + "\n" * num_lines, 1))
        at = end
    return "".join([*pieces, text[at:]])
