"""What `llamawire-server config` prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from llamawire_server.configuration.layers import Configuration, load_configuration
from llamawire_server.configuration.options import GivenOption
from llamawire_server.configuration.report import as_json, as_yaml, to_yaml
from llamawire_server.configuration.settings import SETTINGS


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    file = tmp_path / "config.yaml"
    file.write_text("models: {tiny: tiny.gguf}\npool:\n  memory_budget: 6GiB\n")
    options = {"http_address": GivenOption("--no-http", ("null",))}
    return load_configuration(options, {"LLAMAWIRE_PRELOAD": "tiny"}, file)


def line_of(text: str, name: str) -> str:
    (line,) = (line.strip() for line in text.splitlines() if line.strip().startswith(f"{name}: "))
    return line


def test_each_value_has_its_origin(configuration: Configuration, tmp_path: Path) -> None:
    text = as_yaml(configuration)
    assert line_of(text, "grpc_address") == "grpc_address: 127.0.0.1:50051  # default"
    assert line_of(text, "http_address") == "http_address: null  # command line --no-http"
    assert line_of(text, "models") == f"models: {{tiny: {tmp_path}/tiny.gguf}}  # config.yaml, line 1"
    assert line_of(text, "preload") == "preload: [tiny]  # environment LLAMAWIRE_PRELOAD"
    assert line_of(text, "memory_budget") == "memory_budget: 6GiB  # config.yaml, line 3; 6.0 GiB here"
    assert text.startswith(f"# The configuration file: {tmp_path}/config.yaml\n")


def test_each_setting_is_there_with_its_meaning(configuration: Configuration) -> None:
    text = as_yaml(configuration)
    loaded = yaml.safe_load(text)
    sections = {setting.section for setting in SETTINGS if setting.section}
    assert set(loaded) == {setting.name for setting in SETTINGS if not setting.section} | sections
    for section in sections:
        assert set(loaded[section]) == {setting.name for setting in SETTINGS if setting.section == section}
    assert "  # How many models may be loaded at once. null: as many as the memory budget holds.\n" in text
    assert len(re.findall(r"^ *# ", text, re.MULTILINE)) == 1 + len(SETTINGS)


def test_without_a_file_it_says_so(tmp_path: Path) -> None:
    text = as_yaml(load_configuration({}, {}, usual_file=tmp_path / "none"))
    assert text.startswith("# The configuration file: none; there is no ")


def test_a_share_of_the_memory_is_told_in_bytes_too(tmp_path: Path) -> None:
    configuration = load_configuration({}, {}, usual_file=tmp_path / "none")
    assert re.fullmatch(
        r"memory_budget: 80%  # default; [0-9.]+ GiB here", line_of(as_yaml(configuration), "memory_budget")
    )
    assert json.loads(as_json(configuration))["memory_budget_bytes"] > 2**20


def test_the_same_for_programs(configuration: Configuration, tmp_path: Path) -> None:
    report = json.loads(as_json(configuration))
    assert report["file"] == str(tmp_path / "config.yaml")
    assert report["memory_budget_bytes"] == 6 * 2**30
    assert list(report["settings"]) == [setting.key for setting in SETTINGS]
    assert report["settings"]["grpc_address"] == {"value": "127.0.0.1:50051", "origin": {"layer": "default"}}
    assert report["settings"]["pool.memory_budget"] == {
        "value": "6GiB",
        "origin": {"layer": "file", "path": str(tmp_path / "config.yaml"), "line": 3},
    }
    assert report["settings"]["preload"] == {
        "value": ["tiny"],
        "origin": {"layer": "environment", "name": "LLAMAWIRE_PRELOAD"},
    }
    assert report["settings"]["http_address"]["origin"] == {"layer": "command line", "name": "--no-http"}


def test_a_value_takes_one_line() -> None:
    assert to_yaml("a\nb") == '"a\\nb"'
    assert to_yaml(["a", "b\n", "80%"]) == '["a", "b\\n", "80%"]'
    assert to_yaml({}) == "{}"
    assert to_yaml(None) == "null"
