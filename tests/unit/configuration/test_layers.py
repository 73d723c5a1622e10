"""What goes before what."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from llamawire_server.config import MemoryAmount, PoolSettings, ServerConfig
from llamawire_server.configuration.layers import Configuration, ConfigurationError, load_configuration
from llamawire_server.configuration.options import GivenOption
from llamawire_server.configuration.settings import SETTINGS

BUDGET = "pool.memory_budget"
OPTION = {BUDGET: GivenOption("--memory-budget", ("1GiB",))}
ENVIRONMENT = {"LLAMAWIRE_POOL_MEMORY_BUDGET": "2GiB"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("pool:\n  memory_budget: 3GiB\n  max_loaded_models: 2\npreload: [a, b]\n")
    return path


def budget(configuration: Configuration) -> tuple[int | None, str]:
    """In GiB, and where it came from."""
    size_bytes = configuration.server.pool.memory_budget.size_bytes
    return size_bytes and size_bytes // 2**30, str(configuration.values[BUDGET].origin)


def test_without_anything_the_defaults_are_in_force(tmp_path: Path) -> None:
    configuration = load_configuration({}, {}, usual_file=tmp_path / "config.yaml")
    assert configuration.server == ServerConfig()
    assert configuration.file is None
    assert {str(given.origin) for given in configuration.values.values()} == {"default"}
    assert list(configuration.values) == [setting.key for setting in SETTINGS]


def test_each_layer_goes_before_those_below_it(file: Path) -> None:
    assert budget(load_configuration(OPTION, ENVIRONMENT, file)) == (1, "command line --memory-budget")
    assert budget(load_configuration({}, ENVIRONMENT, file)) == (
        2,
        "environment LLAMAWIRE_POOL_MEMORY_BUDGET",
    )
    assert budget(load_configuration({}, {}, file)) == (3, "config.yaml, line 2")


def test_a_layer_leaves_alone_what_it_does_not_set(file: Path) -> None:
    configuration = load_configuration(OPTION, {"LLAMAWIRE_DRAIN_SECONDS": "1"}, file)
    pool = PoolSettings(memory_budget=MemoryAmount(size_bytes=2**30), max_loaded_models=2)
    assert configuration.server == ServerConfig(pool=pool, preload=("a", "b"), drain_seconds=1.0)


def test_a_list_takes_the_place_of_the_one_below_it(file: Path) -> None:
    options = {"preload": GivenOption("--preload", ("c", "d,e"))}
    assert load_configuration(options, {"LLAMAWIRE_PRELOAD": "x"}, file).server.preload == ("c", "d,e")


def test_null_takes_a_value_away(file: Path) -> None:
    environment = {"LLAMAWIRE_POOL_MAX_LOADED_MODELS": "null"}
    assert load_configuration({}, environment, file).server.pool.max_loaded_models is None


class TestTheFile:
    def test_the_usual_one_is_read_where_it_is_there(self, file: Path) -> None:
        assert load_configuration({}, {}, usual_file=file).file == file

    def test_the_environment_s_goes_before_the_usual_one(self, file: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.yaml"
        other.write_text("drain_seconds: 4\n")
        configuration = load_configuration({}, {"LLAMAWIRE_CONFIG": str(other)}, usual_file=file)
        assert (configuration.file, configuration.server.preload) == (other, ())
        assert configuration.server.drain_seconds == 4

    def test_the_command_line_s_goes_before_the_environment_s(self, file: Path) -> None:
        assert load_configuration({}, {"LLAMAWIRE_CONFIG": "/missing"}, file).file == file

    def test_one_that_was_named_must_be_there(self, tmp_path: Path) -> None:
        missing = tmp_path / "missing.yaml"
        with pytest.raises(ConfigurationError, match=f"{missing}: there is no such file"):
            load_configuration({}, {}, missing)
        with pytest.raises(ConfigurationError, match=f"{missing}: there is no such file"):
            load_configuration({}, {"LLAMAWIRE_CONFIG": str(missing)})

    def test_home_is_understood(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(file.parent))
        assert load_configuration({}, {"LLAMAWIRE_CONFIG": "~/config.yaml"}).file == file

    def test_a_home_that_nobody_has(self) -> None:
        with pytest.raises(ConfigurationError, match="there is no such file"):
            load_configuration({}, {}, Path("~nobody-has-this-name/config.yaml"))

    def test_a_relative_one_gives_absolute_paths(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file.write_text("models_dir: models\n")
        monkeypatch.chdir(file.parent)
        configuration = load_configuration({}, {}, Path("config.yaml"))
        assert configuration.server.sources.models_dir == file.parent / "models"
        assert configuration.file == file


def test_the_mistakes_of_all_layers_are_told_at_once(file: Path) -> None:
    file.write_text("pool:\n  max_loaded_model: 3\nlog_level: x\n")
    with pytest.raises(ConfigurationError) as raised:
        load_configuration(
            {"drain_seconds": GivenOption("--drain-seconds", ("soon",))}, {"LLAMAWIRE_PRELOAD": "\0"}, file
        )
    assert raised.value.mistakes == (
        f"{file}, line 2: pool.max_loaded_model is not a key that is known here; did you mean 'max_loaded_models'?",
        f"{file}, line 3: log_level must be DEBUG, INFO, WARNING or ERROR, not 'x'",
        "LLAMAWIRE_PRELOAD[0] has a character that is none",
        "--drain-seconds must be a number of seconds, not text: 'soon'",
    )


def test_a_mistake_is_one_even_where_another_layer_sets_the_same(file: Path) -> None:
    file.write_text("pool:\n  memory_budget: lots\n")
    with pytest.raises(ConfigurationError):
        load_configuration(OPTION, {}, file)


def test_a_misspelt_variable_is_a_warning(file: Path) -> None:
    configuration = load_configuration({}, {"LLAMAWIRE_POOL_MEMORY_BUGET": "1GiB"}, file)
    assert configuration.warnings == (
        "LLAMAWIRE_POOL_MEMORY_BUGET sets nothing; did you mean LLAMAWIRE_POOL_MEMORY_BUDGET?",
    )


def places(config: object, prefix: str = "") -> Iterator[str]:
    """The attributes that lead to each value in a configuration."""
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, MemoryAmount):
            yield from places(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def test_every_field_has_one_setting() -> None:
    # A field that is added to the dataclasses alone would be one that nobody can set.
    assert sorted(".".join(setting.path) for setting in SETTINGS) == sorted(places(ServerConfig()))
