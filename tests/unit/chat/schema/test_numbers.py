"""Numbers of schemas: none is changed on the way into a grammar."""

from __future__ import annotations

import json
from decimal import Context, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching import accepts

from llamawire_server.chat.grammar import Grammar, GrammarError, to_lark

LARGEST = 2**63 - 1
SMALLEST = -(2**63)
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")

# Close to where doubles and 64 bits end, and anywhere else.
INTEGERS = st.one_of(
    st.integers(-30, 30),
    st.integers(),
    st.tuples(
        st.sampled_from([2**53, 2**54, 2**60, 10**18, 2**63, 2**64, 10**19, 10**23]), st.integers(-3, 3)
    ).map(sum),
    st.tuples(st.sampled_from([-(2**53), -(2**60), -(10**18), -(2**63), -(10**20)]), st.integers(-3, 3)).map(
        sum
    ),
)
DECIMALS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-1000, 1000, places=3).map(float),
)
NEAR = st.decimals(-3, 3, places=2).map(float)


def lark(schema: Any) -> str:
    return to_lark(Grammar("json_schema", json.dumps(schema)))


def plain(number: float) -> str:
    """As a number is written without an exponent."""
    return f"{Decimal(repr(number)):f}"


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"const": 1234567890123456789}, "/const"),
        ({"enum": [42, 1234567890123456789]}, "/enum/1"),
        ({"const": [1, {"a": 9007199254740993}]}, "/const/1/a"),
        ({"enum": [{"a/b": [-9007199254740993]}]}, "/enum/0/a~1b/0"),
        ({"const": 18446744073709551615}, "/const"),
        ({"const": SMALLEST}, "/const"),
        ({"const": 1e23}, "/const"),
        ({"const": 0.30000000000000004}, "/const"),
        ({"const": 5e-324}, "/const"),
        ({"properties": {"id": {"const": 9007199254740993}}}, "/properties/id/const"),
        ({"type": "integer", "minimum": 9007199254740993}, "/minimum"),
        ({"type": "integer", "exclusiveMinimum": 9007199254740992}, "/exclusiveMinimum"),
        ({"type": "integer", "minimum": 9007199254740992, "exclusiveMinimum": True}, "/exclusiveMinimum"),
        ({"type": "integer", "maximum": -9007199254740993}, "/maximum"),
        ({"type": "integer", "minimum": 1e19}, "/minimum"),
        ({"type": "integer", "maximum": -1e300}, "/maximum"),
        ({"type": "integer", "minimum": 10**400}, "/minimum"),
        ({"type": "number", "maximum": 9007199254740993}, "/maximum"),
        ({"type": "number", "maximum": 4611686018427387904}, "/maximum"),
        ({"type": "number", "exclusiveMaximum": 9007199254740992}, "/exclusiveMaximum"),
        ({"type": "number", "minimum": 0.30000000000000004}, "/minimum"),
        ({"minimum": SMALLEST}, "/minimum"),
        ({"allOf": [{"type": "integer"}, {"minimum": -1e300}]}, "/allOf/1/minimum"),
        ({"type": ["integer", "number"], "minimum": SMALLEST}, "/minimum"),
        ({"multipleOf": 0.30000000000000004}, "/multipleOf"),
        ({"multipleOf": 9007199254740993}, "/multipleOf"),
    ],
)
def test_what_would_be_changed_is_refused_with_its_place(schema: Any, place: str) -> None:
    with pytest.raises(GrammarError, match="exactly") as caught:
        lark(schema)
    assert caught.value.place == place


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"const": LARGEST}, str(LARGEST)),
        ({"const": 4611686018427387904.0}, "4611686018427387904"),
        ({"const": {"a": [2**60]}}, '{"a": [1152921504606846976]}'),
        ({"const": 0.1}, "0.1"),
        ({"const": 1e2}, "100"),
        ({"const": -0.0}, "0"),
        ({"type": "integer", "const": 1.0}, "1"),
        ({"type": "integer", "exclusiveMinimum": 2**53 + 1, "maximum": 2**53 + 3.0}, str(2**53 + 2)),
        ({"type": "integer", "exclusiveMinimum": 2**53 + 1, "maximum": 2**53 + 2}, str(2**53 + 2)),
        ({"type": ["integer", "null"], "minimum": SMALLEST, "maximum": LARGEST}, str(LARGEST)),
        ({"type": "integer", "minimum": SMALLEST, "maximum": LARGEST}, "-9223372036854774784"),
        ({"type": "integer", "minimum": 0, "maximum": 2**64 - 1}, str(LARGEST)),
        ({"type": "integer", "minimum": -1e300}, "-17"),
        ({"type": "number", "maximum": 1e18}, "1000000000000000000.0"),
    ],
)
def test_what_can_be_kept_is_enforced(schema: Any, text: str) -> None:
    assert accepts(lark(schema), text)


def test_the_ends_of_64_bits_can_be_bounds() -> None:
    whole = lark({"type": "integer", "minimum": SMALLEST, "maximum": LARGEST})
    assert not accepts(whole, str(LARGEST + 1))
    assert not accepts(whole, str(SMALLEST - 1))
    assert accepts(whole, "0")


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, "/exclusiveMinimum"),
        ({"exclusiveMinimum": 2.0, "exclusiveMaximum": 2.25}, "/exclusiveMinimum"),
        ({"exclusiveMaximum": 0, "minimum": -0.5}, "/exclusiveMaximum"),
        ({"exclusiveMaximum": -3, "exclusiveMinimum": -3.5}, "/exclusiveMaximum"),
    ],
)
def test_a_range_of_fractions_that_excludes_a_whole_number_is_refused(schema: Any, place: str) -> None:
    with pytest.raises(GrammarError) as caught:
        lark(schema)
    assert caught.value.place == place


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"allOf": [{"multipleOf": 100000}, {"multipleOf": 70000}]}, "/allOf/1/multipleOf"),
        ({"allOf": [{"multipleOf": 0.0001}], "multipleOf": 900000}, "/allOf/0/multipleOf"),
        ({"$ref": "#/$defs/a", "multipleOf": 1e9, "$defs": {"a": {"multipleOf": 7}}}, "/$defs/a/multipleOf"),
    ],
)
def test_multiples_whose_least_common_one_is_not_found_are_refused(schema: Any, place: str) -> None:
    with pytest.raises(GrammarError, match="multiples") as caught:
        lark(schema)
    assert caught.value.place == place


def test_multiples_of_other_values_are_nobodys_matter() -> None:
    properties = {str(number): {"multipleOf": number} for number in (0.0001, 900000, 7)}
    made = lark({"properties": properties, "required": list(properties), "additionalProperties": False})
    assert accepts(made, '{"0.0001": 0.0002, "900000": 1800000, "7": 14}')
    assert not accepts(made, '{"0.0001": 0.0002, "900000": 1800000, "7": 15}')


@settings(max_examples=200, deadline=None)
@given(number=INTEGERS | DECIMALS, is_integer=st.booleans())
def test_a_literal_is_itself_or_refused(number: float, is_integer: bool) -> None:
    try:
        made = lark({"type": "integer", "const": number} if is_integer else {"enum": [number]})
    except GrammarError:
        assert abs(number) > 2**53 or number != int(number)
        return
    assert accepts(made, plain(int(number) if number == int(number) else number))
    assert not accepts(made, plain(int(number) + 1))
    assert not accepts(made, plain(int(number) - 1))


@settings(max_examples=200, deadline=None)
@given(
    kinds=st.sampled_from([["integer"], ["number"], ["integer", "number"], ["integer", "null"], None]),
    bounds=st.one_of(
        st.dictionaries(st.sampled_from(BOUNDS), INTEGERS | DECIMALS, min_size=1),
        st.dictionaries(st.sampled_from(BOUNDS), st.integers(-3, 3) | NEAR, min_size=2),
    ),
    offsets=st.lists(st.sampled_from(["0", "1", "-1", "2", "0.5", "-0.5", "0.01", "-0.01", "0.125"])),
    is_split=st.booleans(),
)
def test_what_comes_is_within_its_bounds(
    kinds: list[str] | None, bounds: dict[str, Any], offsets: list[str], is_split: bool
) -> None:
    said = {} if kinds is None else {"type": kinds}
    try:
        made = lark({"allOf": [said, bounds]} if is_split else {**said, **bounds})
    except GrammarError:
        return
    limits = {keyword: Decimal(repr(bound)) for keyword, bound in bounds.items()}
    with localcontext(Context(prec=1000)):
        values = [bound + Decimal(offset) for bound in limits.values() for offset in ["0", *offsets]]
        for value in [*values, Decimal("-0")]:
            if accepts(made, f"{value:f}"):
                assert value >= limits.get("minimum", value)
                assert value <= limits.get("maximum", value)
                assert value > limits.get("exclusiveMinimum", value - 1)
                assert value < limits.get("exclusiveMaximum", value + 1)
