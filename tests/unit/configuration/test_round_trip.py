"""A value survives being written, wherever it is written."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamawire_server.config import MemoryAmount
from llamawire_server.configuration.environment import read_environment
from llamawire_server.configuration.file import read_file
from llamawire_server.configuration.kinds import (
    Address,
    Boolean,
    ByteSize,
    Choice,
    FilePath,
    Integer,
    Kind,
    MemoryBudget,
    NamedFiles,
    Names,
    Nullable,
    Origins,
    Plain,
    Seconds,
)
from llamawire_server.configuration.layers import Configuration, load_configuration
from llamawire_server.configuration.origin import Given, Layer, Origin
from llamawire_server.configuration.report import as_yaml, to_yaml
from llamawire_server.configuration.settings import SETTINGS, Setting

# Any character but what no text can have, and what separates names in the environment.
CHARACTERS = st.characters(exclude_characters="\0,=", exclude_categories=["Cs"])
NAMES = st.text(CHARACTERS, min_size=1).map(str.strip).filter(bool)
# White space at the end of a path is taken for none of it; a slash behind it in the name would vanish.
PATHS = NAMES.map(lambda name: Path("/") / name).filter(lambda path: str(path) == str(path).strip())
PORTS = st.integers(0, 65535)
ADDRESSES = st.builds("{}:{}".format, st.sampled_from(["localhost", "127.0.0.1", "[::]", "[fe80::1]"]), PORTS)
ORIGINS = st.just("*") | st.builds(
    "{}://{}{}".format,
    st.sampled_from(["http", "https", "chrome-extension"]),
    st.from_regex(r"[a-z0-9._-]+|\[::1\]", fullmatch=True),
    st.just("") | st.integers(0, 65535).filter(lambda port: port not in (80, 443)).map(":{}".format),
)
AMOUNTS = st.one_of(
    st.integers(2**20, 2**60).map(lambda size: MemoryAmount(size_bytes=size)),
    st.floats(1e-6, 1).map(lambda share: MemoryAmount(share=share)),
)


def values_of(kind: Kind) -> st.SearchStrategy[Any]:
    """Values that a setting of this kind may have."""
    if isinstance(kind, Nullable):
        return st.none() | values_of(kind.of)
    if isinstance(kind, Integer):
        return st.integers(kind.low, kind.high)
    if isinstance(kind, Seconds):
        return st.floats(kind.low, kind.high)
    if isinstance(kind, ByteSize):
        return st.integers(kind.low, kind.high)
    if isinstance(kind, Choice):
        return st.sampled_from(kind.words)
    files = st.lists(st.tuples(NAMES, PATHS), unique_by=lambda pair: pair[0].lower())
    return {
        Address: ADDRESSES,
        FilePath: PATHS,
        Boolean: st.booleans(),
        MemoryBudget: AMOUNTS,
        Names: st.lists(NAMES).map(tuple),
        Origins: st.lists(ORIGINS).map(tuple),
        NamedFiles: files.map(tuple),
    }[type(kind)]


def as_text(plain: Plain) -> str:
    """A value as the environment has it."""
    if isinstance(plain, dict):
        return ",".join(f"{name}={path}" for name, path in plain.items())
    if isinstance(plain, list):
        return ",".join(plain)
    return "null" if plain is None else str(plain)


patient = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
@patient
@given(data=st.data())
def test_a_file_gives_back_what_was_written(tmp_path: Path, setting: Setting, data: st.DataObject) -> None:
    value = data.draw(values_of(setting.kind))
    text = f"{setting.name}: {to_yaml(setting.plain(value))}\n"
    file = tmp_path / "config.yaml"
    file.write_text(f"{setting.section}:\n  {text}" if setting.section else text, encoding="utf-8")
    reading = read_file(file)
    assert reading.mistakes == []
    assert {key: given.value for key, given in reading.values.items()} == {setting.key: value}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
@patient
@given(data=st.data())
def test_the_environment_gives_back_what_was_written(setting: Setting, data: st.DataObject) -> None:
    value = data.draw(values_of(setting.kind))
    reading = read_environment({setting.environment_name: as_text(setting.plain(value))})
    assert reading.mistakes == []
    # An empty list can't be told from a variable that is not set.
    expected = {} if value == () else {setting.key: value}
    assert {key: given.value for key, given in reading.values.items()} == expected


@patient
@given(data=st.data())
def test_the_report_is_a_file_that_sets_the_same(tmp_path: Path, data: st.DataObject) -> None:
    default = Origin(Layer.DEFAULT)
    values = {setting.key: Given(data.draw(values_of(setting.kind)), default) for setting in SETTINGS}
    file = tmp_path / "config.yaml"
    file.write_text(as_yaml(Configuration(values, None)), encoding="utf-8")
    again = load_configuration({}, {}, file)
    assert {key: given.value for key, given in again.values.items()} == {
        key: given.value for key, given in values.items()
    }
    assert again.server == Configuration(values, None).server


@settings(max_examples=200)
@given(name=st.sampled_from(SETTINGS).map(lambda setting: setting.environment_name), text=st.text())
def test_any_text_in_the_environment_is_a_value_or_a_mistake(name: str, text: str) -> None:
    reading = read_environment({name: text})
    assert len(reading.values) + len(reading.mistakes) == (1 if text.strip() else 0)
    with contextlib.suppress(StopIteration):
        assert str(next(iter(reading.mistakes))).startswith(name)
