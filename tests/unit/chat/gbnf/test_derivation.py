"""What grammars of chance take, and what they derive by their definition."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from matching import matcher

from llamawire_server.chat.gbnf.lark import write
from llamawire_server.chat.gbnf.merging import merge
from llamawire_server.chat.gbnf.parser import ROOT, parse
from llamawire_server.chat.gbnf.translation import to_lark

# Two begin with the same byte.
ALPHABET = "abéè"
MOST = 4
TEXTS = ["".join(text) for length in range(MOST + 1) for text in itertools.product(ALPHABET, repeat=length)]

Tree = Any
"""A tuple: what it is, then what it is made of."""

NAMES = (ROOT, "s", "t-1")


def trees() -> st.SearchStrategy[Tree]:
    letters = st.text(ALPHABET, max_size=2)
    leaves = st.one_of(
        st.tuples(st.just("literal"), letters),
        st.tuples(
            st.just("class"), st.booleans(), st.sets(st.sampled_from(ALPHABET), min_size=1, max_size=3)
        ),
        st.tuples(st.just("any")),
        st.tuples(st.just("rule"), st.sampled_from(NAMES)),
    )
    counts = st.sampled_from([(0, None), (1, None), (0, 1), (2, 2), (0, 2), (1, 3), (2, None)])
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(st.just("sequence"), st.lists(inner, min_size=1, max_size=3)),
            st.tuples(st.just("choice"), st.lists(inner, min_size=1, max_size=3)),
            st.tuples(st.just("repeat"), inner, counts),
        ),
        max_leaves=6,
    )


def written(tree: Tree) -> str:
    """In GBNF."""
    match tree:
        case "literal", text:
            return f'"{text}"'
        case "class", is_negated, characters:
            return f"[{'^' if is_negated else ''}{''.join(sorted(characters))}]"
        case ("any",):
            return "."
        case "rule", name:
            return str(name)
        case "sequence", parts:
            return " ".join(written(part) if part[0] != "choice" else f"({written(part)})" for part in parts)
        case "choice", options:
            return " | ".join(map(written, options))
        case "repeat", part, (least, most):
            signs = {(0, None): "*", (1, None): "+", (0, 1): "?"}
            counts = f"{{{least}}}" if least == most else f"{{{least},{'' if most is None else most}}}"
            return f"({written(part)}){signs.get((least, most), counts)}"
    raise AssertionError(tree)


def joined(ones: set[str], others: set[str]) -> set[str]:
    return {one + other for one in ones for other in others if len(one) + len(other) <= MOST}


def texts_of(tree: Tree, rules: dict[str, set[str]]) -> set[str]:
    """Of those that are short enough. rules: as far as theirs are known."""
    match tree:
        case "literal", text:
            return {text}
        case "class", is_negated, characters:
            return {character for character in ALPHABET if (character in characters) != is_negated}
        case ("any",):
            return set(ALPHABET)
        case "rule", name:
            return rules[name]
        case "sequence", parts:
            found = {""}
            for part in parts:
                found = joined(found, texts_of(part, rules))
            return found
        case "choice", options:
            return set().union(*(texts_of(option, rules) for option in options))
        case "repeat", part, (least, most):
            once = texts_of(part, rules)
            times, found = {""}, set()
            for count in range(most + 1 if most is not None else least + MOST + 1):
                found |= times if count >= least else set()
                times = joined(times, once)
            return found
    raise AssertionError(tree)


def derived(rules: dict[str, Tree]) -> set[str]:
    known: dict[str, set[str]] = {name: set() for name in rules}
    while (found := {name: texts_of(rule, known) for name, rule in rules.items()}) != known:
        known = found
    return known[ROOT]


def taken(lark: str) -> set[str]:
    """Of the texts that are short enough."""
    found: set[str] = set()
    beginning = matcher(lark)
    for text in TEXTS:
        data = list(text.encode())
        one = beginning.deep_copy()
        if one.try_consume_tokens(data) == len(data) and one.is_accepting():
            found.add(text)
    return found


def has_texts(rules: dict[str, Tree]) -> bool:
    """Whether each rule derives some: what does not, the compiler may refuse, or never let anything come of."""
    can: set[str] = set()

    def has(tree: Tree) -> bool:
        match tree:
            case "rule", name:
                return name in can
            case "class", True, _:
                return True
            case "sequence", parts:
                return all(map(has, parts))
            case "choice", options:
                return any(map(has, options))
            case "repeat", part, (least, _):
                return least == 0 or has(part)
        return True

    for _ in rules:
        can |= {name for name, rule in rules.items() if has(rule)}
    return len(can) == len(rules)


@settings(max_examples=200, deadline=None)
@given(st.tuples(trees(), trees(), trees()))
def test_what_may_come_is_what_is_derived(bodies: tuple[Tree, Tree, Tree]) -> None:
    rules = dict(zip(NAMES, bodies, strict=True))
    if not has_texts(rules):
        return
    text = "\n".join(f"{name} ::= {written(rule)}" for name, rule in rules.items())
    expected = derived(rules)
    lark = to_lark(text)
    assert taken(lark) == expected, (text, lark)
    by_characters = write(merge(parse(text), ROOT, 0), ROOT)
    assert taken(by_characters) == expected, (text, by_characters)
