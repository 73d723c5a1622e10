"""models.yaml: names that its owner gave to GGUF files, and the settings that they run with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llamawire_server.config import ModelSettings
from llamawire_server.models.catalog_document import CatalogError, Field, Value, read_document
from llamawire_server.models.catalog_settings import read_settings, resolve_path, template_path
from llamawire_server.models.model_files import real_path
from llamawire_server.models.names import MAX_NAME_LENGTH, normalize

__all__ = ["Catalog", "CatalogEntry", "CatalogError", "load_catalog"]

_MODELS_KEY = "models"


@dataclass(frozen=True)
class CatalogEntry:
    """One entry of models.yaml."""

    name: str
    path: Path
    """Absolute. There need not be such a file."""

    aliases: tuple[str, ...] = ()
    settings: ModelSettings = field(default_factory=ModelSettings)
    template_path: Path | None = None
    """The file that its chat template was read from."""

    line: int = 0
    """Where it begins in models.yaml."""


@dataclass(frozen=True)
class Catalog:
    """What models.yaml says."""

    entries: Mapping[str, CatalogEntry] = field(default_factory=dict)
    """By name, in the file's order."""

    @property
    def template_paths(self) -> tuple[Path, ...]:
        """The files beside models.yaml itself that it was read from."""
        return tuple(entry.template_path for entry in self.entries.values() if entry.template_path)


def load_catalog(path: Path) -> Catalog:
    """Read models.yaml. A file that is not there is an empty catalog.

    Raises `CatalogError`, which names the line, where the file is not YAML, has a key or value that it can't
    have, gives one name twice, or gives one file two sets of settings.
    """
    try:
        document = read_document(path)
        if document is None or document.kind == "null":
            return Catalog()
        reader = _EntryReader()
        entries = [reader.read(entry_field) for entry_field in _entry_fields(document)]
    except RecursionError:
        raise CatalogError(path, None, "is nested too deeply") from None
    _check_settings(path, entries)
    return Catalog({entry.name: entry for entry in entries})


def _entry_fields(document: Value) -> list[Field]:
    """The entries at the root and under `models`, in the file's order."""
    found = []
    for root_field in document.fields("model "):
        if root_field.name != _MODELS_KEY:
            found.append(root_field)
        elif root_field.value.kind != "null":
            models = root_field.value
            found += Value(models.node, models.path, _MODELS_KEY).fields("model ")
    return sorted(found, key=lambda entry_field: entry_field.key.line)


class _EntryReader:
    def __init__(self) -> None:
        self._lines_of_names: dict[str, int] = {}

    def read(self, entry_field: Field) -> CatalogEntry:
        name = self._read_name(entry_field.key)
        line, value = entry_field.key.line, entry_field.value
        if value.kind == "str":
            return CatalogEntry(name, resolve_path(value), line=line)
        if value.kind != "map":
            raise entry_field.key.error("must be a path, or a mapping that has a path")
        fields = value.fields(f"model {name}: ")
        by_name = {setting.name: setting.value for setting in fields if setting.value.kind != "null"}
        settings = read_settings(fields)
        if "path" not in by_name:
            raise entry_field.key.error("has no path")
        template = by_name.get("chat_template")
        return CatalogEntry(
            name=name,
            path=resolve_path(by_name["path"]),
            aliases=self._read_aliases(by_name.get("aliases")),
            settings=settings,
            template_path=template_path(template) if template else None,
            line=line,
        )

    def _read_aliases(self, value: Value | None) -> tuple[str, ...]:
        if value is None:
            return ()
        aliases = [value] if value.kind == "str" else value.elements()
        return tuple(self._read_name(alias) for alias in aliases)

    def _read_name(self, value: Value) -> str:
        name = normalize(value.text())
        if len(name) > MAX_NAME_LENGTH:
            raise value.error(f"is longer than {MAX_NAME_LENGTH} characters")
        if name in self._lines_of_names:
            first = self._lines_of_names[name]
            raise value.error(f"gives the name '{name}' for the second time; the first is in line {first}")
        self._lines_of_names[name] = value.line
        return name


def _check_settings(path: Path, entries: list[CatalogEntry]) -> None:
    """A file is loaded once, whatever its names, so it can't have two sets of settings."""
    owners: dict[Path, CatalogEntry] = {}
    for entry in entries:
        if entry.settings == ModelSettings():
            continue
        first = owners.setdefault(real_path(entry.path), entry)
        if first.settings != entry.settings:
            raise CatalogError(
                path,
                entry.line,
                f"{entry.name!r} names the same file as {first.name!r} in line {first.line}, with other settings; "
                "a file has one set of settings, so make one name an alias of the other",
            )
