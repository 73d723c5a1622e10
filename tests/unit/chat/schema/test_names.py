"""Names of members that no schema lists: each has one spelling, and those that must be there are others."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching import accepts

from llamawire_server.chat.grammar import Grammar, GrammarError, to_lark
from llamawire_server.chat.schema.names import spelling
from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.tool_format import Tool

AGE = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
ODD = 'a"\n\\\x01\x7fé/'

# Characters of names, of which some have two spellings or more in JSON, and some need an escape.
CHARACTERS = 'abé/"\\\n\t\x01\x7f😀'
NAMES = st.text(st.sampled_from(CHARACTERS), max_size=2)
VALUES: list[Any] = [True, {"type": "integer"}, {"type": "string"}, {"type": "null"}, {"minimum": 5}, False]
TEXTS = ["1", "7", '"x"', "null", "true", "[]"]
# None with `$`, before which Python takes a line's end.
PATTERNS = ["^[b-z]", "^a", "b", '["\\\\]', "^[^a]", "^\n", "."]


def lark(schema: Any) -> str:
    return to_lark(Grammar("json_schema", json.dumps(schema)))


def escaped(name: str, generator: random.Random) -> str:
    """A name as JSON may have it, by chance with escapes that it needs and that it doesn't."""
    pieces = []
    for character in name:
        units = character.encode("utf-16-be")
        codes = (int.from_bytes(units[start : start + 2], "big") for start in range(0, len(units), 2))
        by_number = "".join(f"\\u{code:04x}" for code in codes)
        plain = json.dumps(character, ensure_ascii=False)[1:-1]
        pieces.append(generator.choice([plain, plain, by_number, by_number.upper().replace("U", "u")]))
    return f'"{"".join(pieces)}"'


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        (AGE, r'{"age": 1, "\u0061ge": "x"}', False),
        (AGE, r'{"age": 1, "\u0041": "x"}', False),
        (AGE, '{"age": 1, "é😀 /": "x"}', True),
        (AGE, r'{"age": 1, "\"\\\n\t": "x"}', True),
        (AGE, r'{"age": 1, "\u000a": "x"}', False),
        (AGE, '{"age": 1, "b": 2, "b": "x"}', True),
        (AGE, r'{"age": 1, "b": "\n\"é"}', True),
        ({**AGE, "additionalProperties": False}, '{"age": 1}', True),
        (
            {
                "patternProperties": {"^[a-z]$": {"type": "integer"}},
                "additionalProperties": {"type": "string"},
            },
            r'{"\u0061":"a"}',
            False,
        ),
        (
            {
                "patternProperties": {"^a": {"type": "integer"}},
                "properties": {"a\nb": {"minimum": 5}},
                "additionalProperties": False,
            },
            r'{"a\u000ab": 1}',
            False,
        ),
        ({"properties": {ODD: {"type": "integer"}}}, json.dumps({ODD: 1}, ensure_ascii=False), True),
        ({"properties": {ODD: {"type": "integer"}}}, json.dumps({ODD: "x"}, ensure_ascii=False), False),
        ({"properties": {"s": {"const": "\x1b"}}, "additionalProperties": False}, r'{"s": "\u001b"}', True),
        ({"minProperties": 1}, '{"a": 1}', True),
        ({"minProperties": 1}, "{}", False),
        ({"required": ["a", "b"], "minProperties": 3}, '{"a": 1, "b": 2, "c": 3}', True),
        ({"required": ["a", "b"], "minProperties": 3}, '{"a": 1, "b": 2, "b": 3}', False),
        ({"enum": [{"a": 1, "b": 2}], "minProperties": 2}, '{"a": 1, "b": 2}', True),
        ({"type": "string", "minProperties": 2}, '"a"', True),
    ],
)
def test_a_name_has_one_spelling(schema: Any, text: str, expected: bool) -> None:
    assert accepts(lark(schema), text) is expected


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"minProperties": 2}, "/minProperties"),
        (
            {"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}},
            "/minProperties",
        ),
        (
            {"minProperties": 2, "patternProperties": {"^a": {}}, "additionalProperties": False},
            "/minProperties",
        ),
        ({"items": {"required": ["a", "a"], "minProperties": 3.0}}, "/items/minProperties"),
        ({"properties": {"s": {"const": "\x1b"}}}, "/properties/s/const"),
        ({"properties": {"s": {"enum": ["a", {"b": ["\x7f"]}]}}}, "/properties/s/enum/1/b/0"),
    ],
)
def test_what_spelling_and_counting_can_not_see_to_is_refused(schema: Any, place: str) -> None:
    with pytest.raises(GrammarError) as caught:
        lark(schema)
    assert caught.value.place == place


@pytest.mark.parametrize(
    ("schema", "is_limited"),
    [
        ({}, False),
        ({"type": "object"}, False),
        (AGE, True),
        ({**AGE, "additionalProperties": False}, False),
        ({"items": {"$ref": "#/$defs/a"}, "$defs": {"a": AGE}}, True),
        ({"const": AGE}, False),
        ({"properties": {"properties": {"type": "string"}}, "additionalProperties": False}, False),
        ({"patternProperties": {"^a": {}}, "additionalProperties": False}, True),
        ({"required": ["a"]}, True),
    ],
)
def test_escapes_are_few_only_where_names_matter(schema: Any, is_limited: bool) -> None:
    assert bool(spelling(schema)) is is_limited


def test_arguments_of_tools_have_names_of_one_spelling() -> None:
    writer = LarkWriter(lambda text: False)
    parameters = {**AGE, "additionalProperties": True}
    rule = writer.arguments(0, Tool("f", parameters, is_strict=True))
    made = f"start: {rule}\n{writer}"
    assert accepts(made, '{"age": 1, "more": "x"}')
    assert not accepts(made, r'{"age": 1, "\u0061ge": "x"}')


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    """A schema of objects some of whose members are not listed."""
    values = st.sampled_from(VALUES)
    schema: dict[str, Any] = {"type": "object"}
    if draw(st.booleans()):
        schema["properties"] = draw(st.dictionaries(NAMES, values, max_size=2))
    if draw(st.booleans()):
        schema["required"] = draw(st.lists(NAMES, unique=True, max_size=2))
    if draw(st.booleans()):
        schema["patternProperties"] = draw(st.dictionaries(st.sampled_from(PATTERNS), values, max_size=2))
    if draw(st.booleans()):
        schema["additionalProperties"] = draw(values)
    for keyword in ("minProperties", "maxProperties"):
        if draw(st.integers(0, 3)) == 0:
            schema[keyword] = draw(st.integers(0, 3))
    return schema


@settings(max_examples=150, deadline=None)
@given(
    schema=st.one_of(
        objects(),
        st.builds(lambda one, other: {"allOf": [one, other]}, objects(), objects()),
        st.builds(lambda one, other: {**one, "anyOf": [other]}, objects(), objects()),
    ),
    names=st.lists(NAMES, min_size=1, max_size=3),
    seed=st.integers(0, 2**32),
)
def test_what_is_accepted_is_valid(schema: dict[str, Any], names: list[str], seed: int) -> None:
    try:
        made = lark(schema)
    except GrammarError:
        return
    generator = random.Random(seed)
    listed = [name for part in (schema, *schema.get("allOf", ())) for name in part.get("properties", ())]
    listed += [name for part in (schema, *schema.get("allOf", ())) for name in part.get("required", ())]
    validator = jsonschema.Draft202012Validator(schema)
    for _ in range(40):
        chosen = list(dict.fromkeys(listed)) if generator.random() < 0.7 else []
        chosen += generator.choices([*names, *listed], k=generator.randrange(4))
        text = ", ".join(f"{escaped(name, generator)}: {generator.choice(TEXTS)}" for name in chosen)
        text = f"{{{text}}}"
        if accepts(made, text):
            assert validator.is_valid(json.loads(text)), text
