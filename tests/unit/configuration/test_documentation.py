"""docs/configuration.md says what config.py says."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from llamawire_server import config
from llamawire_server.config import HOME, ModelSettings, SamplingDefaults
from llamawire_server.configuration.documentation import describe, field_documentation
from llamawire_server.configuration.file import read_file
from llamawire_server.configuration.kinds import Plain
from llamawire_server.configuration.options import OPTIONS
from llamawire_server.configuration.report import to_yaml
from llamawire_server.configuration.settings import SETTINGS, Setting
from llamawire_server.models.catalog import load_catalog

PAGE = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def code(plain: Plain) -> str:
    return f"`{to_yaml(plain).replace(str(HOME.parent), '~')}`"


def classes() -> list[str]:
    """The dataclasses of config.py."""
    return [
        name for name, found in inspect.getmembers(config, dataclasses.is_dataclass) if inspect.isclass(found)
    ]


@pytest.mark.parametrize("name", classes())
def test_every_field_has_a_docstring(name: str) -> None:
    fields = {field.name for field in dataclasses.fields(getattr(config, name))}
    assert set(field_documentation(name)) == fields


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_setting_is_on_the_page(setting: Setting) -> None:
    flags = ", ".join(f"`{option.flag}`" for option in OPTIONS if option.key == setting.key)
    expected = row(
        f"`{setting.key}`",
        code(setting.plain(setting.default)),
        describe(setting),
        f"`{setting.environment_name}`",
        flags,
    ).replace("|  |", "| |")
    assert expected in PAGE


@pytest.mark.parametrize(
    "settings", [ModelSettings(), SamplingDefaults()], ids=lambda settings: type(settings).__name__
)
def test_every_key_of_models_yaml_is_on_the_page(settings: ModelSettings | SamplingDefaults) -> None:
    meanings = field_documentation(type(settings).__name__)
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        default = {} if isinstance(value, SamplingDefaults) else value
        assert row(f"`{field.name}`", code(default), meanings[field.name]) in PAGE


def test_the_page_has_no_setting_that_there_is_not() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    num_keys = len(dataclasses.fields(ModelSettings)) + len(dataclasses.fields(SamplingDefaults))
    # Beside them, a model's path and aliases.
    assert len(rows) == len(SETTINGS) + num_keys + 2


def test_the_examples_are_right(tmp_path: Path) -> None:
    first, second = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    file, models_yaml = tmp_path / "config.yaml", tmp_path / "models.yaml"
    file.write_text(first)
    models_yaml.write_text(second)
    reading, catalog = read_file(file), load_catalog(models_yaml)
    assert (len(reading.values), reading.mistakes) == (5, [])
    assert (list(catalog.entries), catalog.problems) == (["small", "large", "judge"], ())


def test_a_docstring_is_given_in_the_words_of_yaml() -> None:
    source = inspect.getsource(config)
    assert "None: as many as the memory budget holds." in source
    assert field_documentation("PoolSettings")["max_loaded_models"].endswith(
        "null: as many as the memory budget holds."
    )
