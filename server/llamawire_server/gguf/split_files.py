"""Models that are split over several files, `NAME-00001-of-00003.gguf` and so on, as llama.cpp names them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_SPLIT_NAME = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<num_parts>\d{5})\.gguf", re.DOTALL)


class SplitName(NamedTuple):
    """The name of one part of a split model."""

    stem: str
    part: int
    """From 1."""

    num_parts: int


def parse_split_name(path: Path) -> SplitName | None:
    """The parts of a split file's name; None where the name is not one."""
    match = _SPLIT_NAME.fullmatch(path.name)
    if match is None:
        return None
    return SplitName(match["stem"], int(match["part"]), int(match["num_parts"]))


def part_path(path: Path, part: int) -> Path:
    """The file of another part (from 1) of the split model that `path` is a part of."""
    name = parse_split_name(path)
    if name is None:
        raise ValueError(f"not the name of a split file: {path}")
    return path.with_name(f"{name.stem}-{part:05}-of-{name.num_parts:05}.gguf")


def model_stem(path: Path) -> str:
    """The file's name without its ending, and without a split file's numbers."""
    name = parse_split_name(path)
    return name.stem if name else path.stem
