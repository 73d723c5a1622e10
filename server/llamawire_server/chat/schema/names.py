"""Names of members that a schema does not list: how they are spelt, and how many of them can be told apart.

The grammar compiler compares names as they are written in JSON. A name that could be written in two ways could come
beside the same one of `properties`, with a value that this does not allow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llamawire_server.chat.schema.document import DATA_KEYWORDS, MAP_KEYWORDS, Found, Place
from llamawire_server.grammar_errors import GrammarError

# JSON's escapes but `\/` and `\uXXXX`: with these, each character has one spelling, or none.
_SHORT_ESCAPES = 'nrbtf"\\'
_SPELT_BY_NUMBER = frozenset({*map(chr, range(32)), "\x7f"} - set("\n\r\b\t\f"))


def spelling(schema: Mapping[str, Any]) -> dict[str, str]:
    """The compiler's options by which no name has two spellings that mean different things to it.

    schema: as it goes to the compiler. Where they are needed, strings have no `\\uXXXX` either: no control characters
    but those with a short escape.
    """
    return {"json_allowed_escapes": _SHORT_ESCAPES} if _tells_names_apart(schema) else {}


def refuse_unspellable(schema: Any) -> None:
    """Raises GrammarError for a value of `const` or `enum` that can't be written with the schema's `spelling`."""
    if not isinstance(schema, dict) or not _tells_names_apart(schema):
        return
    for node, place in _schemas(schema):
        for keyword in ("const", "enum"):
            for text, where in _strings(node.get(keyword), place / keyword):
                if not _SPELT_BY_NUMBER.isdisjoint(text):
                    raise GrammarError(
                        "a control character but for \\n, \\r, \\t, \\b and \\f can't be enforced where objects may "
                        "have members that are not listed; additionalProperties: false rules those out",
                        where.pointer,
                    )


def refuse_uncountable(found: Found) -> None:
    """Raises GrammarError for a schema by which members would have to have different names that none of it lists.

    found: its keywords have values of their own.
    """
    node, place = found
    kinds = node.get("type", "object")
    if "object" not in ([kinds] if isinstance(kinds, str) else kinds) or {"const", "enum"} & node.keys():
        return
    is_closed = node.get("additionalProperties") is False and not node.get("patternProperties")
    if node.get("minProperties", 0) - len(set(node.get("required", ()))) > 1 and not is_closed:
        raise GrammarError(
            "of members whose names are free, only one can be asked for: two of them may have the same name",
            (place / "minProperties").pointer,
        )


def _tells_names_apart(schema: Mapping[str, Any]) -> bool:
    """Whether what a member's value may be depends on its name, of which not all are listed."""
    for node, _ in _schemas(schema):
        if node.get("patternProperties"):
            return True
        is_open = node.get("additionalProperties", True) is not False
        if is_open and (node.get("properties") or node.get("required")):
            return True
    return False


def _schemas(schema: Mapping[str, Any]) -> Iterator[Found]:
    """All objects in a schema that may be schemas, the outer ones first."""
    waiting = [(Found(schema, Place()), False)]
    while waiting:
        (value, place), is_map = waiting.pop()
        if isinstance(value, list):
            waiting += [(Found(item, place / number), False) for number, item in enumerate(value)]
        if not isinstance(value, dict):
            continue
        if not is_map:
            yield Found(value, place)
        for keyword, inner in value.items():
            if is_map or keyword not in DATA_KEYWORDS:
                waiting.append((Found(inner, place / keyword), not is_map and keyword in MAP_KEYWORDS))


def _strings(value: Any, place: Place) -> Iterator[Found]:
    """The strings in a value, but for the names of members: those are written as they are."""
    waiting = [Found(value, place)]
    while waiting:
        value, place = waiting.pop()
        if isinstance(value, str):
            yield Found(value, place)
        elif isinstance(value, list):
            waiting += [Found(item, place / number) for number, item in enumerate(value)]
        elif isinstance(value, dict):
            waiting += [Found(item, place / name) for name, item in value.items()]
