"""What a loaded model depends on, and what it takes up."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from llamawire_server import __version__
from llamawire_server.config import ModelSettings, SamplingDefaults
from llamawire_server.gguf.metadata import GGUFMetadata
from llamawire_server.models.model_files import FileSignature
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.memory import estimate_memory


class LoadKey(NamedTuple):
    """What a worker was told of its model. Two that are equal need not be loaded twice."""

    path: Path
    inodes: tuple[int, ...]
    """Another file may have taken the place of the first, of the same size and from the same time."""
    metadata: GGUFMetadata | None
    settings: ModelSettings
    chat_template: str | None
    draft_inodes: tuple[int, ...] = ()
    draft_metadata: GGUFMetadata | None = None


def load_key(entry: ModelEntry) -> LoadKey:
    """What the entry's worker depends on: neither its names nor what only the pool and the service look at."""
    settings = dataclasses.replace(_without_stay(entry.settings), defaults=SamplingDefaults())
    return LoadKey(
        entry.path,
        _inodes(entry.signature),
        entry.metadata,
        settings,
        entry.chat_template,
        _inodes(entry.draft.signature) if entry.draft else (),
        entry.draft.metadata if entry.draft else None,
    )


def fingerprint(entry: ModelEntry) -> str:
    """Changes with whatever can change an answer to the same seed: the file, its settings, the programs."""
    assert entry.metadata is not None  # what `resolve` gives was read just before
    parts = (
        entry.metadata.file_size_bytes,
        entry.metadata.modified_ns,
        _without_stay(entry.settings),
        __version__,
        metadata.version("llama-cpp-python"),
    )
    return "fp_" + hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def estimate_entry(entry: ModelEntry) -> int:
    """Bytes that a load of the model is going to take, from what its file says; 0 where that can't be read."""
    if entry.metadata is None:
        return 0
    draft = entry.draft.metadata if entry.draft is not None else None
    return estimate_memory(entry.metadata, entry.settings, draft)


class Footprints:
    """What models take up in memory: as measured when they were last loaded, else as estimated."""

    def __init__(self, estimate: Callable[[ModelEntry], int] = estimate_entry) -> None:
        self._estimate = estimate
        self._measured: dict[Path, tuple[LoadKey, int]] = {}

    def of(self, entry: ModelEntry) -> int:
        """In bytes."""
        key, num_bytes = self._measured.get(entry.path, (None, 0))
        return num_bytes if key == load_key(entry) else self._estimate(entry)

    def note(self, entry: ModelEntry, num_bytes: int) -> None:
        """The model took so much. What it took at the most counts: a part of it may have been swapped out."""
        key = load_key(entry)
        earlier_key, earlier = self._measured.get(entry.path, (None, 0))
        self._measured[entry.path] = (key, max(num_bytes, earlier) if earlier_key == key else num_bytes)


def _inodes(signatures: Iterable[FileSignature | None]) -> tuple[int, ...]:
    return tuple(signature.inode for signature in signatures if signature is not None)


def _without_stay(settings: ModelSettings) -> ModelSettings:
    """The settings without what says when a model is loaded and how long it stays."""
    return dataclasses.replace(settings, keep_alive=None, pinned=False, preload=False)
