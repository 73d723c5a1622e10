"""models.yaml: names that its owner gave to GGUF files, and the settings that they run with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from llamawire_server.config import ModelSettings
from llamawire_server.models.catalog_settings import read_settings, template_path
from llamawire_server.models.model_files import FileSignature, file_signature, real_path
from llamawire_server.models.names import MAX_NAME_LENGTH, normalize
from llamawire_server.yaml_document import DocumentError, Value, read_document

__all__ = ["Catalog", "CatalogEntry", "DocumentError", "Problem", "load_catalog"]

_MODELS_KEY = "models"
_TOO_DEEP = "is nested too deeply"


@dataclass(frozen=True)
class CatalogEntry:
    """One entry of models.yaml."""

    name: str
    path: Path
    """Absolute. There need not be such a file."""

    aliases: tuple[str, ...] = ()
    settings: ModelSettings = field(default_factory=ModelSettings)
    line: int = 0
    """Where it begins in models.yaml."""

    @property
    def names(self) -> tuple[str, ...]:
        """All of its names, its own first."""
        return (self.name, *self.aliases)


@dataclass(frozen=True)
class Problem:
    """What is wrong with one entry of models.yaml."""

    names: tuple[str, ...]
    """The names that the entry is to give, its own first. Empty where not even that can be told."""

    line: int
    """Where the entry begins."""

    error: DocumentError

    @property
    def name(self) -> str:
        """The entry's own name; empty where it can't be told."""
        return self.names[0] if self.names else ""


@dataclass(frozen=True)
class Catalog:
    """What models.yaml says."""

    entries: Mapping[str, CatalogEntry] = field(default_factory=dict)
    """Those in force, by name, in the file's order."""

    problems: tuple[Problem, ...] = ()
    """What is wrong with single entries, in the file's order."""

    fault: DocumentError | None = None
    """What is wrong with the file as a whole. All else here is then what it said before."""

    templates: Mapping[Path, FileSignature | None] = field(default_factory=dict)
    """The files that hold its chat templates, as they were before they were read."""

    links: Mapping[Path, Path] = field(default_factory=dict)
    """The files of models that have settings, and where links led from there."""

    def problem_of(self, name: str) -> DocumentError | None:
        """What is wrong with the entry that has this name as its own."""
        return self.fault or next((p.error for p in self.problems if p.name == name), None)

    def after(self, earlier: Catalog) -> Catalog:
        """This catalog, with the entries of an earlier one in the place of those that are wrong now.

        Such an entry gives up what a right one has now: aliases, and settings of its own for the same file.
        """
        taken = {name for entry in self.entries.values() for name in entry.names}
        owners = {real_path(entry.path): entry for entry in self._with_settings()}
        kept: dict[str, CatalogEntry] = {}
        for problem in self.problems:
            entry = earlier.entries.get(problem.name)
            if entry is None or entry.name in taken or entry.name in kept:
                continue
            owner = owners.get(real_path(entry.path))
            kept[entry.name] = replace(
                entry,
                aliases=tuple(alias for alias in entry.aliases if alias not in taken),
                settings=owner.settings if owner else entry.settings,
                line=problem.line,
            )
        entries = sorted((*self.entries.values(), *kept.values()), key=lambda entry: entry.line)
        return replace(self, entries={entry.name: entry for entry in entries})

    def _with_settings(self) -> Iterator[CatalogEntry]:
        return (entry for entry in self.entries.values() if entry.settings != ModelSettings())


def load_catalog(path: Path) -> Catalog:
    """Read models.yaml. A file that is not there is an empty catalog.

    An entry that has a key or value that it can't have, gives a name that another one has, or other settings to
    another one's file is left out and told of in `problems`. Raises `DocumentError`, which names the line, where
    the file is not YAML, or not a mapping of entries.
    """
    try:
        document = read_document(path)
        if document is None or document.kind == "null":
            return Catalog()
        reader = _EntryReader(_drafts(document))
        entries = reader.read()
    except RecursionError:
        raise DocumentError(path, None, _TOO_DEEP) from None
    return Catalog(
        {entry.name: entry for entry in entries},
        tuple(sorted(reader.problems, key=lambda problem: problem.line)),
        templates=reader.templates,
        links=reader.links,
    )


@dataclass(frozen=True)
class _Draft:
    """An entry as it is written."""

    key: Value
    value: Value


def _drafts(document: Value) -> list[_Draft]:
    """The entries at the root and under `models`, in the file's order, merged ones only where there is no own."""
    found = []
    models_line = 0
    for draft in _own_and_merged(document):
        if draft.key.kind != "str" or draft.key.node.value != _MODELS_KEY:
            found.append(draft)
            continue
        models = Value(draft.value.node, draft.value.path, _MODELS_KEY)
        if models_line:
            message = f"{_MODELS_KEY} is there twice, first in line {models_line}"
            raise DocumentError(draft.key.path, draft.key.line, message)
        models_line = draft.key.line
        if models.kind != "null":
            found += _own_and_merged(models)
    return sorted(found, key=lambda draft: draft.key.line)


def _own_and_merged(mapping: Value) -> Iterator[_Draft]:
    own = [_Draft(key, value) for key, value in mapping.own_pairs()]
    yield from own
    known = {str(draft.key.node.value) for draft in own}
    for merged in mapping.merged_fields("model "):
        if merged.name not in known:
            known.add(merged.name)
            yield _Draft(merged.key, merged.value)


class _EntryReader:
    """Reads entry by entry. What the names of entries are is settled before any alias can take one."""

    def __init__(self, drafts: Iterable[_Draft]) -> None:
        self.problems: list[Problem] = []
        self.templates: dict[Path, FileSignature | None] = {}
        self.links: dict[Path, Path] = {}
        self._lines_of_names: dict[str, int] = {}
        self._owners: dict[Path, CatalogEntry] = {}
        self._drafts = [(name, draft) for draft in drafts if (name := self._own_name(draft))]

    def read(self) -> list[CatalogEntry]:
        """The entries that are right; the others are in `problems`."""
        entries = []
        for name, draft in self._drafts:
            aliases: dict[str, int] = {}
            try:
                entries.append(self._read(name, draft, aliases))
                self._lines_of_names.update(aliases)
            except (DocumentError, RecursionError) as error:
                told = error if isinstance(error, DocumentError) else _labelled(draft).key.error(_TOO_DEEP)
                self.problems.append(Problem((name, *aliases), draft.key.line, told))
        return entries

    def _own_name(self, draft: _Draft) -> str:
        """The entry's name; empty where it has none that is its own."""
        key = Value(draft.key.node, draft.key.path, "model key")
        # A key that is no text, such as a number, still tells which entry is meant.
        name = normalize(key.node.value) if isinstance(key.node.value, str) else ""
        try:
            name = normalize(key.text())
            self._check_name(name, _labelled(draft).key, {})
        except DocumentError as error:
            self.problems.append(Problem((name,) if name else (), key.line, error))
            return ""
        self._lines_of_names[name] = key.line
        return name

    def _check_name(self, name: str, value: Value, own_lines: Mapping[str, int]) -> None:
        if len(name) > MAX_NAME_LENGTH:
            raise value.error(f"is longer than {MAX_NAME_LENGTH} characters")
        if other := self._lines_of_names.get(name) or own_lines.get(name):
            raise value.error(f"gives the name '{name}', as line {other} does")

    def _read(self, name: str, draft: _Draft, aliases: dict[str, int]) -> CatalogEntry:
        """The entry. Its aliases go into `aliases`, each with its line, even where the rest is wrong."""
        draft = _labelled(draft)
        line, value = draft.key.line, draft.value
        if value.kind == "str":
            return CatalogEntry(name, value.file_path(), line=line)
        if value.kind != "map":
            raise draft.key.error("must be a path, or a mapping that has a path")
        fields = value.fields(f"{draft.key.label}: ")
        by_name = {setting.name: setting.value for setting in fields if setting.value.kind != "null"}
        self._read_aliases(by_name.get("aliases"), aliases)
        if template := by_name.get("chat_template"):
            self._follow_template(template)
        settings = read_settings(fields)
        if "path" not in by_name:
            raise draft.key.error("has no path")
        path = by_name["path"].file_path()
        entry = CatalogEntry(name, path, tuple(aliases), settings, line)
        self._check_settings(entry, draft)
        return entry

    def _read_aliases(self, value: Value | None, aliases: dict[str, int]) -> None:
        if value is None:
            return
        for alias_value in [value] if value.kind == "str" else value.elements():
            alias = normalize(alias_value.text())
            self._check_name(alias, alias_value, aliases)
            aliases[alias] = alias_value.line

    def _follow_template(self, value: Value) -> None:
        # Looked at before it is read: a change in between is seen as one the next time.
        with contextlib.suppress(DocumentError):
            if path := template_path(value):
                self.templates.setdefault(path, file_signature(path))

    def _check_settings(self, entry: CatalogEntry, draft: _Draft) -> None:
        """A file is loaded once, whatever its names, so it can't have two sets of settings."""
        if entry.settings == ModelSettings():
            return
        path = self.links[entry.path] = real_path(entry.path)
        first = self._owners.setdefault(path, entry)
        if first.settings != entry.settings:
            raise DocumentError(
                draft.key.path,
                entry.line,
                f"{entry.name!r} names the same file as {first.name!r} in line {first.line}, with other settings; "
                "a file has one set of settings, so make one name an alias of the other",
            )


def _labelled(draft: _Draft) -> _Draft:
    """The same, called by its name in complaints."""
    label = f"model {str(draft.key.node.value).strip()}"
    key, value = draft.key, draft.value
    return _Draft(Value(key.node, key.path, label), Value(value.node, value.path, label))
