"""Sets of characters, as ranges of code points."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""First and last code points: in order, neither overlapping nor adjacent, never none."""

MAX_CODE_POINT = 0x10FFFF

# Halves of characters, which no text has.
_SURROGATES = (0xD800, 0xDFFF)

ANY: Ranges = ((0, _SURROGATES[0] - 1), (_SURROGATES[1] + 1, MAX_CODE_POINT))


def is_character(code_point: int) -> bool:
    """Whether it may stand in a text."""
    return code_point <= MAX_CODE_POINT and not _SURROGATES[0] <= code_point <= _SURROGATES[1]


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """What is in any of these, which may come in any order."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def complement(ranges: Ranges) -> Ranges:
    """All characters but these; may be none."""
    gaps: list[tuple[int, int]] = []
    begin = 0
    for first, last in union((*ranges, _SURROGATES)):
        if begin < first:
            gaps.append((begin, first - 1))
        begin = last + 1
    if begin <= MAX_CODE_POINT:
        gaps.append((begin, MAX_CODE_POINT))
    return tuple(gaps)


def overlap(one: Ranges, other: Ranges) -> bool:
    """Whether a character is in both."""
    index = 0
    for first, last in one:
        while index < len(other) and other[index][1] < first:
            index += 1
        if index < len(other) and other[index][0] <= last:
            return True
    return False


def first_bytes(ranges: Ranges) -> int:
    """With which bytes their UTF-8 begins: bit n for byte n."""
    bits = 0
    for first, last in ranges:
        # First bytes go up as code points do.
        low, high = _first_byte(first), _first_byte(last)
        bits |= (1 << (high + 1)) - (1 << low)
    return bits


def expression(ranges: Ranges) -> str:
    """One of these characters, as a regular expression of Rust's."""
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return _escaped(ranges[0][0])
    parts = (
        _escaped(first) if first == last else f"{_escaped(first)}-{_escaped(last)}" for first, last in ranges
    )
    return f"[{''.join(parts)}]"


def _first_byte(code_point: int) -> int:
    if code_point < 0x80:
        return code_point
    if code_point < 0x800:
        return 0xC0 | code_point >> 6
    if code_point < 0x10000:
        return 0xE0 | code_point >> 12
    return 0xF0 | code_point >> 18


def _escaped(code_point: int) -> str:
    character = chr(code_point)
    return character if character.isascii() and character.isalnum() else f"\\x{{{code_point:X}}}"
