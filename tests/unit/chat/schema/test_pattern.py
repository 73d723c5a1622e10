"""Expressions of schemas, in the compiler's words."""

from __future__ import annotations

import json

import pytest
from matching import accepts

from llamawire_server.chat.grammar import Grammar, to_lark
from llamawire_server.chat.schema.pattern import to_rust


@pytest.mark.parametrize(
    "pattern", ["", "^abc$", "^[a-z_]+\\d{2}$", "a\\.b", "^\\[a\\]$", "[\\w-]", "(x|y)*", "\\p{L}", "[.]"]
)
def test_most_expressions_are_the_same_to_both(pattern: str) -> None:
    assert to_rust(pattern) == pattern


CHARACTERS = [*'a"\\-[]&~^.\n\r\u2028\u00e9/', "\x01"]

# What of these characters matches, by JavaScript's rules.
MATCHES = {
    '[^"]': set(CHARACTERS) - {'"'},
    "[^\\\\]": set(CHARACTERS) - {"\\"},
    '[^"\\\\\\n]': set(CHARACTERS) - {'"', "\\", "\n"},
    '[^-"]': set(CHARACTERS) - {"-", '"'},
    '[^"-]': set(CHARACTERS) - {"-", '"'},
    '[^\\]"]': set(CHARACTERS) - {"]", '"'},
    '[^\\s"]': set(CHARACTERS) - {"\n", "\r", "\u2028", '"'},
    "\\S": set(CHARACTERS) - {"\n", "\r", "\u2028"},
    ".": set(CHARACTERS) - {"\n", "\r", "\u2028"},
    "\\.": {"."},
    "[.]": {"."},
    "[[a]": {"[", "a"},
    "[a&&b]": {"a", "&"},
    "[a~~b]": {"a", "~"},
    "\\P{L}": set(CHARACTERS) - {"a", "é"},
    "\\P{Po}": set(CHARACTERS) - {'"', "\\", "&", ".", "/"},
    "[\\u0001-!#-\\[\\]-\\uffff]": set(CHARACTERS) - {'"', "\\"},
    '(?:[^"]|x)': set(CHARACTERS) - {'"'},
}


@pytest.mark.parametrize("pattern", MATCHES)
def test_what_matches_is_what_javascript_has_it_be(pattern: str) -> None:
    lark = to_lark(Grammar("json_schema", json.dumps({"type": "string", "pattern": f"^{pattern}$"})))
    matched = {character for character in CHARACTERS if accepts(lark, json.dumps(character))}
    # U+2028 is written as an escape by json.dumps, and as itself otherwise.
    matched |= {one for one in CHARACTERS if accepts(lark, json.dumps(one, ensure_ascii=False))}
    assert matched == MATCHES[pattern]
