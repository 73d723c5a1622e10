"""Configuration files of tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llamawire_server.configuration.file import read_file
from llamawire_server.configuration.origin import Reading


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Reading]:
    """Reads a configuration file that has this text."""

    def read_text(text: str) -> Reading:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return read_file(path)

    return read_text
