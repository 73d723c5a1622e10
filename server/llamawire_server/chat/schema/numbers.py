"""Numbers of schemas: the grammar compiler keeps them as doubles, and those of bounds of integers as 64 bits.

What it would change is refused, or said in other words. A bound of integers that is at an end of 64 bits, or beyond
it, becomes the last that the compiler can tell: what comes is valid, and some of what is valid never comes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from llamawire_server.chat.schema.document import Found, Place
from llamawire_server.grammar_errors import GrammarError

# Up to here each whole number is a double of its own.
_MOST_CONSECUTIVE = 2**53
_LARGEST = 2**63 - 1
# The double above -2**63: the compiler can't turn that one into its absolute value.
_SMALLEST = -(2**63) + 2**10
# Digits up to here, and powers of ten up to there, are read without a second rounding.
_MOST_DIGITS = 2**53
_MOST_POWER = 22

_BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")


def settle_numbers(found: Found) -> None:
    """Say what a schema's own numbers say in such a way that none is changed.

    found: its keywords have values of their own. Raises GrammarError for what can't be kept, with its place.
    """
    node, place = found
    if "const" in node:
        node["const"] = _kept(node["const"], place / "const")
    if "enum" in node:
        node["enum"] = _kept(node["enum"], place / "enum")
    if "multipleOf" in node and not _is_read_exactly(node["multipleOf"]):
        raise _changed(node["multipleOf"], place / "multipleOf")
    if any(_is_critical(keyword, value) for keyword, value in _bounds(node)):
        _settle_bounds(found)
    _refuse_narrow(found)


def _kept(value: Any, place: Place) -> Any:
    """A value whose numbers are written as the compiler keeps them. Its levels are few: Document counted them."""
    if isinstance(value, list):
        return [_kept(item, place / number) for number, item in enumerate(value)]
    if isinstance(value, dict):
        return {name: _kept(item, place / name) for name, item in value.items()}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    # A decimal that is whole is kept as one that may have a fraction, with fewer digits.
    number = int(value) if value == int(value) else value
    if isinstance(number, int):
        is_kept = number == _LARGEST or (abs(number) < _LARGEST and float(number) == number)
    else:
        is_kept = _is_read_exactly(number)
    if not is_kept:
        raise _changed(value, place)
    return number


def _bounds(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The bounds by their keywords. What draft 4 has as true is the number that it is about."""
    for keyword in _BOUNDS:
        if keyword not in node:
            continue
        value = node[keyword]
        if value is True:
            value = node.get("minimum" if keyword == "exclusiveMinimum" else "maximum", False)
        if not isinstance(value, bool):
            yield keyword, value


def _is_critical(keyword: str, bound: float) -> bool:
    """Whether a bound may be changed."""
    # What excludes its bound is one away from that.
    if abs(bound) > _MOST_CONSECUTIVE or (
        keyword.startswith("exclusive") and abs(bound) == _MOST_CONSECUTIVE
    ):
        return True
    return not _is_read_exactly(bound)


def _settle_bounds(found: Found) -> None:
    node, place = found
    kinds = node.get("type")
    if kinds in ("integer", ["integer"]) or (
        isinstance(kinds, list) and "integer" in kinds and "number" not in kinds
    ):
        _settle_bounds_of_integers(found)
        return
    for keyword, bound in _bounds(node):
        is_whole = bound == int(bound) and not keyword.startswith("exclusive")
        if _is_critical(keyword, bound) and not (is_whole and _is_plain(int(bound))):
            raise _changed(bound, place / keyword)


def _refuse_narrow(found: Found) -> None:
    """Raises GrammarError where the compiler would take a whole number that is excluded for one that is within.

    It does so where nothing but fractions of one is left behind it.
    """
    node, place = found
    bounds = dict(_bounds(node))
    lowest = max((bounds[each] for each in _BOUNDS[:2] if each in bounds), default=None)
    highest = min((bounds[each] for each in _BOUNDS[2:] if each in bounds), default=None)
    if lowest is None or highest is None:
        return
    for keyword, sign, bound, other in (
        ("exclusiveMinimum", 1, lowest, highest),
        ("exclusiveMaximum", -1, highest, lowest),
    ):
        is_excluded = bounds.get(keyword) == bound and bound == int(bound)
        if is_excluded and 0 <= sign * bound < sign * other < sign * bound + 1:
            raise GrammarError(
                "a range within two whole numbers can't exclude one of them", (place / keyword).pointer
            )


def _settle_bounds_of_integers(found: Found) -> None:
    node, place = found
    lowest = _innermost(node, "minimum", "exclusiveMinimum", 1)
    highest = _innermost(node, "maximum", "exclusiveMaximum", -1)
    for keyword in _BOUNDS:
        node.pop(keyword, None)
    if lowest is not None:
        keyword, bound = lowest
        node["minimum"] = _bound(max(bound, _SMALLEST), place / keyword)
    if highest is not None:
        keyword, bound = highest
        node["maximum"] = _bound(min(bound, _LARGEST), place / keyword)


def _innermost(node: dict[str, Any], plain: str, exclusive: str, step: int) -> tuple[str, int] | None:
    """The keyword that leaves the fewest integers, and the first that it leaves. step: 1 upwards, -1 downwards."""
    found: list[tuple[int, str]] = []
    for keyword, bound in _bounds(node):
        if keyword == plain:
            found.append((step * (math.ceil(bound) if step > 0 else math.floor(bound)), keyword))
        elif keyword == exclusive:
            found.append((step * (math.floor(bound) + 1 if step > 0 else math.ceil(bound) - 1), keyword))
    if not found:
        return None
    bound, keyword = max(found)
    return keyword, step * bound


def _bound(bound: int, place: Place) -> int:
    """A bound of integers. Raises GrammarError where the compiler does not keep it."""
    if bound == _LARGEST or (_SMALLEST <= bound < _LARGEST and float(bound) == bound):
        return bound
    raise _changed(bound, place)


def _is_plain(number: int) -> bool:
    """Whether a whole number is kept both as an integer and as a number that may have a fraction."""
    return abs(number) < _LARGEST and number == float(number) == Decimal(repr(float(number)))


def _is_read_exactly(number: float) -> bool:
    """Whether a number that is not too large is read as the nearest double."""
    if isinstance(number, int):
        return abs(number) <= _MOST_CONSECUTIVE
    parts = Decimal(repr(number)).as_tuple()
    digits = int("".join(map(str, parts.digits)))
    return digits <= _MOST_DIGITS and abs(int(parts.exponent)) <= _MOST_POWER


def _changed(number: float, place: Place) -> GrammarError:
    text = repr(number)
    text = text if len(text) <= 40 else f"{text[:40]}…"
    return GrammarError(
        f"the number {text} can't be enforced exactly: numbers are kept as doubles, which have 15 digits",
        place.pointer,
    )
