"""Every name of every model at one moment, and the order in which the sources of names are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path

from llamawire_server.config import ModelSettings
from llamawire_server.errors import ServiceError, engine_fault
from llamawire_server.models.bundled import BundledModel
from llamawire_server.models.catalog import Catalog, DocumentError
from llamawire_server.models.model_files import real_path
from llamawire_server.models.model_folder import FolderIndex


class Directory:
    """Names given on the command line, then those of models.yaml, of the folder, of the bundled model.

    The folder and the bundled model are not looked at before a name needs them. For one thread.
    """

    def __init__(
        self,
        named: Mapping[str, Path],
        catalog: Catalog,
        find_folder: Callable[[], FolderIndex],
        find_bundled: Callable[[], BundledModel | None],
    ) -> None:
        self._find_folder = find_folder
        self._find_bundled = find_bundled
        self._given = {name: real_path(path) for name, path in named.items()}
        self._settings: dict[Path, ModelSettings] = {}
        self._problems: dict[Path, DocumentError] = {}
        for entry in catalog.entries.values():
            path = real_path(entry.path)
            for name in entry.names:
                self._given.setdefault(name, path)
            if entry.settings != ModelSettings():
                self._settings.setdefault(path, entry.settings)
            if problem := catalog.problem_of(entry.name):
                self._problems.setdefault(path, problem)
        self._given_names: dict[Path, list[str]] = {}
        for name, path in self._given.items():
            self._given_names.setdefault(path, []).append(name)
        self._broken = {
            name: problem.error
            for problem in reversed(catalog.problems)
            for name in problem.names
            if name not in self._given
        }

    def find(self, name: str) -> Path | None:
        """The file that a name leads to, None where it leads nowhere.

        Raises `ServiceError`: MODELS_YAML_INVALID (of the entry with this name), MODEL_AMBIGUOUS,
        MODEL_FILE_INVALID. A file that was given a name need not be there.
        """
        if path := self._given.get(name):
            return path
        if error := self._broken.get(name):
            message = f"the entry of model '{name}' in models.yaml is wrong: {error}"
            raise engine_fault(message, "MODELS_YAML_INVALID")
        if path := self._folder.find(name):
            return path
        return self._bundled.path if self._bundled and name in self._bundled.names else None

    def names_of(self, path: Path) -> list[str]:
        """The names that lead to a file, the one that its answers carry first.

        A file that was given names is known by those alone. One that was discovered is known by one name; the
        bundled model by all that are not somebody else's.
        """
        if given := self._given_names.get(path):
            return list(given)
        bundled = [name for name in self._bundled_names(path) if self._leads_to(name, path)]
        discovered = (name for name in self._folder.names_of(path) if self._leads_to(name, path))
        first = next(discovered, None)
        return list(dict.fromkeys([first, *bundled] if first else bundled))

    def settings_of(self, path: Path) -> ModelSettings:
        """What models.yaml says of a file, under whichever name."""
        return self._settings.get(path, ModelSettings())

    def problem_of(self, path: Path) -> str:
        """What is wrong with a file's entry in models.yaml, or with all of models.yaml; empty where nothing is."""
        return str(self._problems.get(path, ""))

    def is_given(self, path: Path) -> bool:
        """Whether the command line or models.yaml names the file."""
        return path in self._given_names

    def is_discovered(self, path: Path) -> bool:
        """Whether the file is in the folder, or the bundled one, whether it can be read or not."""
        return self._folder.has(path) or (self._bundled is not None and self._bundled.path == path)

    def paths(self) -> list[Path]:
        """The files that names lead to, each once."""
        bundled = [self._bundled.path] if self._bundled else []
        return list(dict.fromkeys([*self._given.values(), *self._folder.models(), *bundled]))

    def names(self) -> Iterator[str]:
        """Every name that means something, if only several things at once."""
        bundled = self._bundled.names if self._bundled else ()
        return iter(dict.fromkeys(chain(self._given, self._broken, self._folder.names(), bundled)))

    @cached_property
    def _folder(self) -> FolderIndex:
        return self._find_folder()

    @cached_property
    def _bundled(self) -> BundledModel | None:
        return self._find_bundled()

    def _bundled_names(self, path: Path) -> tuple[str, ...]:
        return self._bundled.names if self._bundled and self._bundled.path == path else ()

    def _leads_to(self, name: str, path: Path) -> bool:
        try:
            return self.find(name) == path
        except ServiceError:
            return False
