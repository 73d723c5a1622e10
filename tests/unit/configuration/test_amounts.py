"""Amounts of memory as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.configuration.amounts import format_bytes, format_share, parse_bytes, parse_share

AMOUNTS = {
    "6442450944": 6 * 2**30,
    "6GiB": 6 * 2**30,
    "6 GB": 6 * 10**9,
    "6gb": 6 * 10**9,
    " 1.5 GiB ": 3 * 2**29,
    "512MiB": 2**29,
    "100 KB": 100_000,
    "2TiB": 2 * 2**40,
    "7 b": 7,
    "0.3KiB": 307,
}


@pytest.mark.parametrize(("text", "size_bytes"), AMOUNTS.items())
def test_an_amount_is_so_many_bytes(text: str, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "6G", "6Gi", "-1GiB", "GiB", "6 GiB more", "1e9", "80%", "٣GB", "1.GB", "0x10"]
)
def test_what_is_no_amount(text: str) -> None:
    assert parse_bytes(text) is None


@pytest.mark.parametrize(("text", "share"), [("80%", 0.8), ("79.5 %", 0.795), ("100%", 1.0), ("0%", 0.0)])
def test_a_percentage_is_a_share(text: str, share: float) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["", "0.8", "80", "%", "-5%", "80% of all", "8GiB"])
def test_what_is_no_percentage(text: str) -> None:
    assert parse_share(text) is None


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (6 * 2**30, "6GiB"),
        (6 * 10**9, "6GB"),
        (3 * 2**29, "1536MiB"),
        (2**40, "1TiB"),
        (1000, "1KB"),
        (1001, 1001),
        (0, 0),
    ],
)
def test_an_amount_is_shown_in_its_largest_unit(size_bytes: int, text: str | int) -> None:
    assert format_bytes(size_bytes) == text


def test_a_share_is_shown_without_zeros_that_say_nothing() -> None:
    assert [format_share(share) for share in (0.8, 1.0, 0.795, 0.1)] == ["80%", "100%", "79.5%", "10%"]


@given(st.integers(0, 2**63))
def test_an_amount_that_is_shown_means_the_same(size_bytes: int) -> None:
    assert parse_bytes(str(format_bytes(size_bytes))) == size_bytes


@given(st.floats(1e-6, 1))
def test_a_share_that_is_shown_means_the_same(share: float) -> None:
    assert parse_share(format_share(share)) == share
