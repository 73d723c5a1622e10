"""Grammars in Lark's syntax that would take too much."""

from __future__ import annotations

import pytest

from llamawire_server.chat.grammar import Grammar, to_lark
from llamawire_server.chat.lark import check_lark
from llamawire_server.grammar_errors import GrammarError


def chain(length: int, body: str) -> str:
    """Rules, each of which leads to the next."""
    rules = [f"r{number}: " + body.replace("NEXT", f"r{number + 1}") for number in range(length)]
    return "\n".join(["start: r0", *rules, f'r{length}: "z"'])


@pytest.mark.parametrize(
    ("length", "body"), [(490, 'NEXT | "x"'), (44, "(" * 10 + 'NEXT "a"' + ")" * 10), (245, '[NEXT] "(("')]
)
def test_grammars_that_can_be_compiled_are(length: int, body: str) -> None:
    to_lark(Grammar("lark", chain(length, body)))


@pytest.mark.parametrize(
    ("length", "body"), [(500, 'NEXT | "x"'), (47, "(" * 10 + 'NEXT "a"' + ")" * 10), (251, '[NEXT] "a"')]
)
def test_grammars_that_lead_too_deep_are_refused(length: int, body: str) -> None:
    with pytest.raises(GrammarError, match="rules") as caught:
        to_lark(Grammar("lark", chain(length, body)))
    assert caught.value.place.startswith("line ")


def test_grammars_of_other_kinds_are_looked_at_too() -> None:
    with pytest.raises(GrammarError, match="rules") as caught:
        to_lark(Grammar("gbnf", chain(1200, 'NEXT | "x"').replace(":", " ::=").replace("start", "root")))
    assert not caught.value.place


def test_too_many_operators_are_refused_where_they_are() -> None:
    operands = " & ".join(f"/[a-z]*{number}[a-z]*/" for number in range(9))
    check_lark(f"start: A\nA: {operands}")
    with pytest.raises(GrammarError, match="operators") as caught:
        check_lark(f"start: A\nA: {operands} & ~/x/")
    assert caught.value.place == f"line 2, column {len(f'A: {operands} ') + 1}"


def test_what_is_text_is_not_looked_at() -> None:
    check_lark(
        'start: "&&&&&&&&&&~~~~" /&&&&&&&&&&&&/ // &&&&&&&&&&&\n# (((( &&&&&&&&&&&\n' + 'a: "\\"((("\n' * 400
    )
