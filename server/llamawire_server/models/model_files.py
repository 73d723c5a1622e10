"""GGUF files on disk: which file a path leads to, whether it changed, and what it says about itself."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from llamawire_server.gguf.metadata import GGUFError, GGUFMetadata, read_gguf
from llamawire_server.gguf.split_files import parse_split_name, part_path

# What general.type calls files that belong to a model, and are none.
_COMPANIONS = frozenset({"adapter", "imatrix", "mmproj"})


class FileSignature(NamedTuple):
    """Changes whenever a file's content may have changed, or whether it can be read."""

    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int


def file_signature(path: Path) -> FileSignature | None:
    """The file's signature; None where there is no such file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return FileSignature(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def is_missing(path: Path) -> bool:
    """Whether there is no such file, rather than one that can't be looked at."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def real_path(path: Path) -> Path:
    """The absolute path without symbolic links, by which two ways to one file are told to be the same.

    A part of a split model keeps its own name: llama.cpp finds the other parts by it, and they need not be
    beside the file that a link leads to.
    """
    resolved = Path(os.path.realpath(path))
    if parse_split_name(path) and not parse_split_name(resolved):
        return Path(os.path.realpath(path.parent)) / path.name
    return resolved


@dataclass(frozen=True)
class Reading:
    """What became of reading a file."""

    signature: tuple[FileSignature | None, ...]
    """Of the file just before it was read, or of each part; None for one that is not there."""

    metadata: GGUFMetadata | None
    """What it says about its model. None where it can't be read."""

    failure: str = ""
    """Why it can't be read."""


class ModelFiles:
    """What GGUF files say, read again only when they changed. Safe for use by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readings: dict[Path, Reading] = {}

    def metadata(self, path: Path) -> GGUFMetadata:
        """What the file says about its model.

        Raises `GGUFError` where it can't be read, or is not a model but something that belongs to one.
        """
        reading = self.read(path)
        if reading.metadata is None:
            raise GGUFError(path, reading.failure)
        return reading.metadata

    def read(self, path: Path) -> Reading:
        """What there is to know of the file now, whether it can be read or not."""
        # Held while reading: many threads that ask for one new file read it once.
        with self._lock:
            signature = _signatures(path)
            reading = self._readings.get(path)
            if reading is None or reading.signature != signature:
                reading = _read(path, signature)
                self._readings[path] = reading
            return reading


def _signatures(path: Path) -> tuple[FileSignature | None, ...]:
    """Those of all parts of a model, up to the first part that is missing."""
    name = parse_split_name(path)
    if name is None:
        return (file_signature(path),)
    signatures = []
    for part in range(1, name.num_parts + 1):
        signatures.append(file_signature(part_path(path, part)))
        if signatures[-1] is None:
            break
    return tuple(signatures)


def _read(path: Path, signature: tuple[FileSignature | None, ...]) -> Reading:
    try:
        metadata = read_gguf(path)
    except GGUFError as error:
        return Reading(signature, None, error.message)
    if metadata.kind in _COMPANIONS:
        return Reading(signature, None, f"is not a model but what goes with one: {metadata.kind}")
    return Reading(signature, metadata)
