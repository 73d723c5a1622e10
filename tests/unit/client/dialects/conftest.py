"""Streams as other providers sent them."""

from __future__ import annotations

from pathlib import Path

import pytest

RECORDINGS = Path(__file__).parent / "recordings"


@pytest.fixture(params=["deepseek", "qwen"])
def recording(request: pytest.FixtureRequest) -> list[str]:
    """The data of each event of a recorded stream, without the closing [DONE]."""
    return recorded(request.param)


@pytest.fixture
def deepseek() -> list[str]:
    return recorded("deepseek")


@pytest.fixture
def qwen() -> list[str]:
    return recorded("qwen")


def recorded(name: str) -> list[str]:
    return (RECORDINGS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
