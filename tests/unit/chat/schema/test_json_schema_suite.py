"""The JSON Schema Test Suite: what is not refused is enforced."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from matching import accepts

from llamawire_server.chat.grammar import Grammar, GrammarError, to_lark

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "suite" / "draft2020-12.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]

# Keywords that a grammar can't hold an answer to: whole files are about them.
UNSUPPORTED = {
    *("not", "if-then-else", "contains", "minContains", "maxContains", "uniqueItems", "dependentRequired"),
    *(
        "dependentSchemas",
        "unevaluatedItems",
        "unevaluatedProperties",
        "dynamicRef",
        "refRemote",
        "vocabulary",
    ),
}

# Valid values that don't come: members have one order, whole numbers no point, and addresses no strange parts.
NARROWER = {
    ("allOf", "allOf"),
    ("allOf", "valid"),
    ("const", "same object with different property order is valid"),
    ("const", "float zero is valid"),
    ("const", "float one is valid"),
    ("const", "float -2.0 is valid"),
    ("const", "float is valid"),
    ("enum", "float zero is valid"),
    ("enum", "[0.0] is valid"),
    ("enum", "float one is valid"),
    ("enum", "[1.0] is valid"),
    ("ref", "valid on both fields"),
    ("type", "a float with zero fractional part is an integer"),
    ("unevaluatedItems", "valid in case if is evaluated"),
    ("unevaluatedProperties", "valid in case if is evaluated"),
}


class Told(NamedTuple):
    """What became of a test."""

    file: str
    description: str
    is_valid: bool
    is_accepted: bool | None
    """None where the schema is refused."""


def tell(case: dict[str, Any]) -> list[Told]:
    try:
        lark = to_lark(Grammar("json_schema", json.dumps(case["schema"])))
    except GrammarError:
        return [Told(case["file"], description, valid, None) for description, _, valid in case["tests"]]
    return [
        Told(case["file"], description, valid, accepts(lark, json.dumps(value, ensure_ascii=False)))
        for description, value, valid in case["tests"]
    ]


@pytest.fixture(scope="module")
def told() -> list[Told]:
    return [each for case in CASES for each in tell(case)]


def test_nothing_invalid_is_accepted(told: list[Told]) -> None:
    assert [each for each in told if each.is_accepted and not each.is_valid] == []


def test_what_is_valid_is_accepted_but_for_other_ways_to_write_it(told: list[Told]) -> None:
    refused = [each for each in told if each.is_valid and each.is_accepted is False]
    assert [
        each
        for each in refused
        if (each.file, each.description) not in NARROWER and not each.file.startswith("optional/format/")
    ] == []
    assert len(refused) <= 50


def test_most_of_what_grammars_can_do_is_done(told: list[Told]) -> None:
    """The shares that docs/structured-output.md states."""
    possible = [each for each in told if each.file not in UNSUPPORTED]
    counts = Counter(
        "refused" if each.is_accepted is None else "right" if each.is_accepted is each.is_valid else "wrong"
        for each in possible
    )
    assert counts["right"] / len(possible) >= 0.85
    compiled = counts["right"] + counts["wrong"]
    assert counts["right"] / compiled >= 0.95


def test_the_whole_suite_is_here() -> None:
    assert len(CASES) == 361
    assert sum(len(case["tests"]) for case in CASES) == 1473
