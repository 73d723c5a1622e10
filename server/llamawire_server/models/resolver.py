"""From a name in a request to the model's file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from llamawire_server.config import ModelSettings, ModelSources
from llamawire_server.errors import engine_fault, model_not_found
from llamawire_server.gguf.metadata import GGUFError, GGUFMetadata
from llamawire_server.models.bundled import BundledModel, describe_bundled, find_bundled_file
from llamawire_server.models.catalog import DocumentError
from llamawire_server.models.catalog_file import CatalogFile
from llamawire_server.models.directory import Directory
from llamawire_server.models.model_files import FileSignature, ModelFiles, Reading, is_missing
from llamawire_server.models.model_folder import ModelFolder, invalid_file
from llamawire_server.models.names import MAX_NAME_LENGTH, forms, normalize


@dataclass(frozen=True)
class ModelEntry:
    """A model that requests can name. One file has one entry, whatever its names."""

    name: str
    """The name that answers carry."""

    aliases: tuple[str, ...]
    """Its other names."""

    path: Path
    """Absolute and without symbolic links: two names for one file give the same path."""

    settings: ModelSettings

    metadata: GGUFMetadata | None
    """What its file says about it. None where the file can't be read; never so in what `resolve` gives."""

    problem: str = ""
    """What is wrong with its entry in models.yaml, with file and line; what was right before is in force then."""

    signature: tuple[FileSignature | None, ...] = ()
    """Of its file, or of each of its parts, when the metadata was read; empty where it could not be.

    Another one is another file: one that took the place of a file of the same size and time differs in this alone.
    """

    draft: Reading | None = None
    """What there is to know of its draft model's file; None where it has none."""

    @property
    def is_readable(self) -> bool:
        """Whether its files could be read; always so in what `resolve` gives."""
        return self.metadata is not None and (self.draft is None or self.draft.metadata is not None)

    @property
    def chat_template(self) -> str | None:
        """The template that conversations are written with: that of models.yaml, else the file's own."""
        return self.settings.chat_template or (self.metadata.chat_template if self.metadata else None)


class Resolver:
    """Finds the file for a name: given on the command line, in models.yaml, in the folder, or bundled.

    What is on disk is looked at anew for every name. Safe for use by many threads.
    """

    def __init__(
        self, sources: ModelSources, *, find_bundled: Callable[[], Path | None] = find_bundled_file
    ) -> None:
        """Raises `ValueError` where the command line gives an empty name, one name to two files, or no path."""
        self._named = _command_line_names(sources)
        self._catalog_file = CatalogFile(sources.models_yaml)
        self._files = ModelFiles()
        self._folder = ModelFolder(sources.models_dir, self._files)
        self._find_bundled = find_bundled

    def resolve(self, name: str) -> ModelEntry:
        """The model that a request means by `name`; its file was there and readable just now.

        Raises `ServiceError`, by reason: MODEL_NOT_FOUND; MODEL_AMBIGUOUS (several models have this name);
        MODEL_FILE_MISSING (a file that was given the name is not there, or that of its draft model);
        MODEL_FILE_INVALID (it can't be read); MODELS_YAML_INVALID (the entry of this name is wrong and never was
        right; or no model was found, and models.yaml, which might know it, can't be read).
        """
        wanted = normalize(name)
        if len(wanted) > MAX_NAME_LENGTH:
            raise model_not_found(f"{wanted[:MAX_NAME_LENGTH]}…")
        directory, fault = self._look()
        for form in forms(wanted):
            if (path := directory.find(form)) is not None:
                # Without a name only where the file broke in this moment, which its metadata then tells.
                names = directory.names_of(path) or [form]
                entry = self._entry(directory, path, names, self._read(names[0], path))
                if entry.draft is not None:
                    self._check_draft(entry)
                return entry
        if fault is not None:
            message = f"no model that is known is named '{wanted}', and models.yaml is wrong: {fault}"
            raise engine_fault(message, "MODELS_YAML_INVALID")
        raise model_not_found(wanted, _not_found_message(wanted, directory.names()))

    def entries(self, loaded: Iterable[ModelEntry] = ()) -> list[ModelEntry]:
        """Every model that a request could name now, by name.

        One that the command line or models.yaml names is listed even where its file is missing or can't be
        read; others are not, but for those that are loaded, as their file may be being written anew.
        """
        directory, _ = self._look()
        entries = []
        for path in directory.paths():
            names = directory.names_of(path)
            reading = self._files.read(path)
            if names and (reading.metadata or directory.is_given(path)):
                entries.append(self._entry(directory, path, names, reading))
        taken = {name for entry in entries for name in (entry.name, *entry.aliases)}
        paths = {entry.path for entry in entries}
        for entry in loaded:
            if entry.path in paths or not directory.is_discovered(entry.path):
                continue
            is_unreadable = self._files.read(entry.path).metadata is None
            if is_unreadable and taken.isdisjoint((entry.name, *entry.aliases)):
                entries.append(replace(entry, metadata=None, problem="", signature=()))
        return sorted(entries, key=lambda entry: entry.name)

    def _look(self) -> tuple[Directory, DocumentError | None]:
        catalog = self._catalog_file.current()
        return Directory(self._named, catalog, self._folder.current, self._bundled), catalog.fault

    def _bundled(self) -> BundledModel | None:
        file = self._find_bundled()
        return describe_bundled(file, self._files) if file else None

    def _read(self, name: str, path: Path) -> Reading:
        """What the file says. Raises `ServiceError` where it can't be read."""
        reading = self._files.read(path)
        if reading.metadata is not None:
            return reading
        if is_missing(path):
            message = f"the file of model '{name}' is not there: {path}"
            raise engine_fault(message, "MODEL_FILE_MISSING")
        raise invalid_file(name, GGUFError(path, reading.failure))

    def _check_draft(self, entry: ModelEntry) -> None:
        """Raises `ServiceError` where the file of the entry's draft model can't be read."""
        path, reading = entry.settings.draft_model, entry.draft
        assert path is not None
        assert reading is not None
        if reading.metadata is not None:
            return
        if is_missing(path):
            message = f"the file of the draft model of model '{entry.name}' is not there: {path}"
            raise engine_fault(message, "MODEL_FILE_MISSING")
        cause = GGUFError(path, reading.failure)
        message = f"the file of the draft model of model '{entry.name}' can't be used: {cause}"
        raise engine_fault(message, "MODEL_FILE_INVALID")

    def _entry(self, directory: Directory, path: Path, names: list[str], reading: Reading) -> ModelEntry:
        settings = directory.settings_of(path)
        return ModelEntry(
            name=names[0],
            aliases=tuple(names[1:]),
            path=path,
            settings=settings,
            metadata=reading.metadata,
            problem=directory.problem_of(path),
            signature=reading.signature if reading.metadata else (),
            draft=self._files.read(settings.draft_model) if settings.draft_model else None,
        )


def _command_line_names(sources: ModelSources) -> Mapping[str, Path]:
    paths: dict[str, Path] = {}
    for given_name, given_path in sources.named:
        try:
            name, path = normalize(given_name), given_path.expanduser().absolute()
        except RuntimeError:
            raise ValueError(f"{given_path} begins with the home of a user that there is not") from None
        if not name:
            raise ValueError(f"a model needs a name: {path}")
        if paths.setdefault(name, path) != path:
            raise ValueError(f"the name '{name}' is given to two files: {paths[name]} and {path}")
    return paths


def _not_found_message(wanted: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(wanted, list(names), n=3)
    if not near:
        return f"no model is named '{wanted}'"
    *others, last = (f"'{name}'" for name in near)
    return f"no model is named '{wanted}'; did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
