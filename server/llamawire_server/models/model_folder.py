"""Discovery: models in a folder, found by the names of their files and by what the files say."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from llamawire_server.errors import ServiceError, engine_fault, model_not_found
from llamawire_server.gguf.metadata import GGUFError, GGUFMetadata
from llamawire_server.gguf.split_files import model_stem, parse_split_name
from llamawire_server.models.model_files import FileSignature, ModelFiles, file_signature, real_path
from llamawire_server.models.names import normalize

_MAX_CANDIDATES_SHOWN = 10


@dataclass(frozen=True)
class FoundFile:
    """A GGUF file in the folder, readable or not."""

    path: Path
    """Without symbolic links."""

    stem: str
    """The name that its file's name gives it."""

    place: str
    """The name that its path in the folder gives it: subfolders, `/` and the stem."""


class FolderIndex:
    """The models that were in the folder at one moment, by every name that they answer to."""

    def __init__(self, found: Iterable[FoundFile], files: ModelFiles) -> None:
        self._found = tuple(found)
        self._files = files
        self._by_path: dict[Path, list[FoundFile]] = {}
        for file in self._found:
            self._by_path.setdefault(file.path, []).append(file)
        self._by_stem = _group((file.stem, file) for file in self._found)
        self._by_place = _group((file.place, file) for file in self._found)

    def find(self, name: str) -> Path | None:
        """The file of the model with this name, None where there is none.

        Raises `ServiceError`: MODEL_AMBIGUOUS where several have it, MODEL_FILE_INVALID where a file that is
        called so can't be read.
        """
        for by_file_name in (self._by_stem, self._by_place):
            if matches := by_file_name.get(name):
                return self._only(name, self._readable(name, matches))
        for by_content in (self._by_display_name, self._by_architecture):
            if matches := by_content.get(name):
                return self._only(name, matches)
        return None

    def models(self) -> list[Path]:
        """The files that can be read, each once."""
        return list(dict.fromkeys(file.path for file, _ in self._described))

    def has(self, path: Path) -> bool:
        """Whether the file is there, readable or not."""
        return path in self._by_path

    def names(self) -> Iterator[str]:
        """Every name that something in the folder answers to."""
        for by_name in (self._by_stem, self._by_display_name, self._by_architecture):
            yield from by_name

    def names_of(self, path: Path) -> Iterator[str]:
        """The names of one file, best first. Another file may have some of them, too."""
        files = self._by_path.get(path, [])
        yield from (file.stem for file in files)
        yield from (file.place for file in files)
        for by_content in (self._by_display_name, self._by_architecture):
            yield from (
                name for name, matches in by_content.items() if any(file in matches for file in files)
            )

    @cached_property
    def _described(self) -> list[tuple[FoundFile, GGUFMetadata]]:
        described = []
        for file in self._found:
            try:
                described.append((file, self._files.metadata(file.path)))
            except GGUFError:
                continue
        return described

    @cached_property
    def _by_display_name(self) -> Mapping[str, list[FoundFile]]:
        return _group((normalize(metadata.display_name), file) for file, metadata in self._described)

    @cached_property
    def _by_architecture(self) -> Mapping[str, list[FoundFile]]:
        return _group((normalize(metadata.architecture), file) for file, metadata in self._described)

    def _readable(self, name: str, matches: list[FoundFile]) -> list[FoundFile]:
        readable, failures = [], []
        for file in matches:
            try:
                self._files.metadata(file.path)
                readable.append(file)
            except GGUFError as error:
                failures.append(error)
        if not readable:
            raise invalid_file(name, failures[0])
        return readable

    def _only(self, name: str, matches: list[FoundFile]) -> Path:
        if len({file.path for file in matches}) > 1:
            raise _ambiguous(name, [file.place for file in matches])
        return matches[0].path


class ModelFolder:
    """Follows a folder of GGUF files. Safe for use by many threads."""

    def __init__(self, folder: Path, files: ModelFiles) -> None:
        self._folder = folder
        self._files = files
        self._lock = threading.Lock()
        self._signatures: dict[Path, FileSignature] = {}
        self._index = FolderIndex((), files)

    def current(self) -> FolderIndex:
        """What is in the folder now. A folder that is not there is an empty one."""
        with self._lock:
            signatures = dict(_walk(self._folder))
            if signatures != self._signatures:
                self._signatures = signatures
                self._index = FolderIndex(_candidates(self._folder, signatures), self._files)
            return self._index


def invalid_file(name: str, cause: GGUFError) -> ServiceError:
    """A file that has the name, or was given it, is not a model that can be read."""
    return engine_fault(f"the file of model '{name}' can't be used: {cause}", "MODEL_FILE_INVALID")


def _walk(folder: Path) -> Iterator[tuple[Path, FileSignature]]:
    """The GGUF files in the folder and below it. Links are followed, but no folder is entered twice."""
    entered = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real_parent = os.path.realpath(parent)
        if real_parent in entered:
            folders.clear()
            continue
        entered.add(real_parent)
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() != ".gguf" or not _is_text(str(path)):
                continue
            if signature := file_signature(path):
                yield path, signature


def _is_text(path: str) -> bool:
    """Whether a path can be told to anybody: the names of files may be any bytes, those of models may not."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _candidates(folder: Path, paths: Iterable[Path]) -> Iterator[FoundFile]:
    for path in paths:
        split = parse_split_name(path)
        if split and split.part != 1:
            continue
        stem = model_stem(path)
        place = "/".join((*path.relative_to(folder).parent.parts, stem))
        yield FoundFile(real_path(path), normalize(stem), normalize(place))


def _group(pairs: Iterable[tuple[str, FoundFile]]) -> Mapping[str, list[FoundFile]]:
    groups: dict[str, list[FoundFile]] = {}
    for name, file in pairs:
        if name:
            groups.setdefault(name, []).append(file)
    return groups


def _ambiguous(name: str, places: list[str]) -> ServiceError:
    candidates = sorted(set(places))
    shown = ", ".join(f"'{place}'" for place in candidates[:_MAX_CANDIDATES_SHOWN])
    hidden = len(candidates) - _MAX_CANDIDATES_SHOWN
    more = f" and {hidden} more" if hidden > 0 else ""
    return model_not_found(
        name, f"'{name}' may be any of several models: {shown}{more}; name one of them", "MODEL_AMBIGUOUS"
    )
