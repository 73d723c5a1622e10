"""Schemas in callers' grammars."""

from __future__ import annotations

import pytest
from matching import accepts

from llamawire_server.chat.grammar import Grammar, GrammarError, to_lark


def lark(text: str) -> str:
    return to_lark(Grammar("lark", text))


@pytest.mark.parametrize(
    ("grammar", "text", "expected"),
    [
        ('start: "a" %json {"type": "integer", "minimum": -9223372036854775808} "b"', "a-5b", True),
        ('start: "a" %json {\n"format": "date",\n"type": "string"\n} "b"\n', 'a"2024-02-29"b', True),
        ('start: %json {"format": "date", "type": "string"}', '"2023-02-29"', False),
        ('start: %json {"properties": {"a": {"type": "null"}}}', r'{"\u0061": 1}', False),
        ('start: a | b\na: %json {"const": 1}\nb: "%json {" %json {"const": "%json {}"}', "1", True),
        (
            'start: a | b\na: %json {"const": 1}\nb: "%json {" %json {"const": "%json {}"}',
            '%json {"%json {}"',
            True,
        ),
        ('// %json {"not": {}}\nstart: /%json [{]/ # %json {', "%json {", True),
        ('start: %lark {\nstart: %json {"const": 1} "x"\n}', "1x", True),
        ('start: %json {"type": "array"}', "[1, 2]", True),
        (
            'start: %json {"type": "array", "x-guidance": {"whitespace_flexible": false}}',
            "[1, 2]",
            False,
        ),
        ('start: %json {"type": "array", "x-guidance": {"item_separator": ";"}}', "[1;2]", True),
    ],
)
def test_they_are_enforced_like_others(grammar: str, text: str, expected: bool) -> None:
    assert accepts(lark(grammar), text) is expected


@pytest.mark.parametrize(
    ("grammar", "place", "words"),
    [
        ('start: a\na: "x" %json {"const": 1234567890123456789}', "line 2, column 8", "/const"),
        ('start: %json {"const": -9223372036854775808}', "line 1, column 8", "exactly"),
        ('start: %json {"items": {"not": {}}}', "line 1, column 8", "/items/not"),
        ('start: %json {"x-guidance": {"lenient": true}}', "line 1, column 8", "/x-guidance/lenient"),
        ('start: %json {"type": 3', "line 1, column 8", "delimiter"),
        ('start: %json {"const": 1e400}', "line 1, column 8", "large"),
        ("start: %json " + '{"items":' * 5000, "line 1, column 8", "read"),
        ('a: %json {\n"type": "null"\n}\nstart: a nowhere', "line 4, column 8", "nowhere"),
        ("start: " + '%json {"const": 1} ' * 101, "line 1, column 1908", "100"),
    ],
)
def test_what_can_not_be_enforced_is_refused_with_its_place(grammar: str, place: str, words: str) -> None:
    with pytest.raises(GrammarError) as caught:
        lark(grammar)
    assert caught.value.place.startswith(place)
    assert words in str(caught.value)
