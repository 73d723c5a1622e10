"""The configuration file."""

from __future__ import annotations

from pathlib import Path

from llamawire_server.configuration.origin import Given, Layer, Origin, Reading
from llamawire_server.configuration.settings import SECTIONS, SETTINGS
from llamawire_server.yaml_document import DocumentError, Field, read_document
from llamawire_server.yaml_table import Table


def read_file(path: Path) -> Reading:
    """What the file sets, and every mistake in it. One that is not there is a mistake."""
    reading = Reading()
    try:
        _read(path, reading)
    except DocumentError as error:
        reading.mistakes.append(error)
    except RecursionError:
        reading.mistakes.append(DocumentError(path, None, "is nested too deeply"))
    reading.mistakes.sort(key=lambda mistake: mistake.line or 0)
    return reading


def _read(path: Path, reading: Reading) -> None:
    document = read_document(path)
    if document is None and not path.exists():
        raise DocumentError(path, None, "there is no such file")
    if document is None or document.kind == "null":
        return
    fields = document.fields(mistakes=reading.mistakes)
    _read_section("", fields, reading)
    for entry in fields:
        if entry.name in SECTIONS and entry.value.kind != "null":
            try:
                _read_section(entry.name, entry.value.fields(f"{entry.name}.", reading.mistakes), reading)
            except DocumentError as error:
                reading.mistakes.append(error)


def _read_section(section: str, fields: list[Field], reading: Reading) -> None:
    for entry, value in _table(section).read(fields, reading.mistakes):
        key = f"{section}.{entry.name}" if section else entry.name
        origin = Origin(Layer.FILE, path=entry.key.path, line=entry.key.line)
        reading.values[key] = Given(value, origin)


def _table(section: str) -> Table:
    here = {setting.name: setting.kind for setting in SETTINGS if setting.section == section}
    elsewhere = {}
    for setting in SETTINGS:
        if setting.section != section:
            place = f"below '{setting.section}'" if setting.section else "at the top level"
            elsewhere[setting.name] = elsewhere[setting.key] = f"'{setting.name}' {place}"
    return Table(
        readers={name: kind.read for name, kind in here.items()},
        also_known=() if section else SECTIONS,
        takes_null=[name for name, kind in here.items() if kind.takes_null],
        elsewhere=elsewhere,
    )
