"""What the set-up remembers of an environment."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def stamps() -> Any:
    return importlib.import_module("setup_stamp")


@pytest.fixture
def stamp(stamps: Any) -> Any:
    return stamps.Stamp("python3.11", "cpu", "-DGGML_CUDA=ON", "project", ("dev", "server"))


def test_it_is_read_as_it_was_written(stamps: Any, stamp: Any, tmp_path: Path) -> None:
    stamps.write_stamp(tmp_path, stamp)
    assert stamps.read_stamp(tmp_path) == stamp
    assert [path.name for path in tmp_path.iterdir()] == [stamps.NAME], "no draft is left"


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"python": "3.11"}', '{"unknown": 1, "extras": []}'])
def test_what_can_not_be_read_is_no_stamp(stamps: Any, tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / stamps.NAME).write_text(text)
    assert stamps.read_stamp(tmp_path) is None


def test_it_covers_fewer_extras_but_not_more(stamp: Any) -> None:
    assert stamp.covers(stamp)
    assert stamp.covers(replace(stamp, extras=("server",)))
    assert not replace(stamp, extras=("server",)).covers(stamp)


@pytest.mark.parametrize("field", ["python", "cpu", "cmake_args", "project"])
def test_it_covers_nothing_else(stamp: Any, field: str) -> None:
    assert not stamp.covers(replace(stamp, **{field: "other"}))
