"""Amounts of memory as people write them: 6GiB, 6 GB, 80%."""

from __future__ import annotations

import re
from decimal import Decimal

_BINARY = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_DECIMAL = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS = {"": 1, "b": 1, **_BINARY, **_DECIMAL}
_SHOWN = {
    "TiB": 2**40,
    "TB": 10**12,
    "GiB": 2**30,
    "GB": 10**9,
    "MiB": 2**20,
    "MB": 10**6,
    "KiB": 2**10,
    "KB": 10**3,
}
_AMOUNT = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([a-z%]*)", re.IGNORECASE | re.ASCII)


def parse_bytes(text: str) -> int | None:
    """The bytes of an amount such as 6GiB, 6.5 GB or 6442450944, rounded; None where it is none."""
    found = _AMOUNT.fullmatch(text.strip())
    unit = _UNITS.get(found[2].lower()) if found else None
    return None if found is None or unit is None else round(Decimal(found[1]) * unit)


def parse_share(text: str) -> float | None:
    """The share that a percentage such as 80% is; None where it is none. Any share from 0 on."""
    found = _AMOUNT.fullmatch(text.strip())
    return float(Decimal(found[1]) / 100) if found and found[2] == "%" else None


def format_bytes(size_bytes: int) -> str | int:
    """The amount in the largest unit in which it is a whole number; the number itself where it is in none."""
    for unit, factor in _SHOWN.items():
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return size_bytes


def format_share(share: float) -> str:
    """The share as a percentage that means it exactly."""
    percentage = f"{Decimal(repr(share)) * 100:f}"
    if "." in percentage:
        percentage = percentage.rstrip("0").removesuffix(".")
    return f"{percentage}%"
