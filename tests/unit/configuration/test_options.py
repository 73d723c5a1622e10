"""The options that set settings."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from llamawire_server.configuration.layers import load_configuration
from llamawire_server.configuration.options import (
    OPTIONS,
    GivenOption,
    Option,
    add_options,
    given_options,
)
from llamawire_server.configuration.report import to_yaml
from llamawire_server.configuration.settings import BY_KEY


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="server")
    add_options(parser)
    return parser


def test_nothing_is_given_where_nothing_is_said(parser: argparse.ArgumentParser) -> None:
    assert given_options(parser.parse_args([])) == {}


def test_what_is_said_is_kept_as_it_is_written(parser: argparse.ArgumentParser) -> None:
    given = given_options(
        parser.parse_args(["--memory-budget", "lots", "--no-http", "--allow-unknown-fields"])
    )
    assert given == {
        "pool.memory_budget": GivenOption("--memory-budget", ("lots",)),
        "http_address": GivenOption("--no-http", ("null",)),
        "allow_unknown_fields": GivenOption("--allow-unknown-fields", ("true",)),
    }


def test_some_options_may_be_repeated_and_of_others_the_last_one_counts(
    parser: argparse.ArgumentParser,
) -> None:
    given = given_options(
        parser.parse_args(["--preload", "a", "--grpc", "a:1", "--preload", "b", "--grpc", "b:2"])
    )
    assert given == {
        "preload": GivenOption("--preload", ("a", "b")),
        "grpc_address": GivenOption("--grpc", ("b:2",)),
    }


def test_two_options_for_one_setting_are_one_too_many(
    parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser.parse_args(["--http", "a:1", "--no-http"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_only_the_options_that_are_asked_for_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, ["log_level"])
    assert given_options(parser.parse_args(["--log-level", "INFO"]))
    with pytest.raises(SystemExit):
        parser.parse_args(["--grpc", "a:1"])
    assert "--grpc" in capsys.readouterr().err


def test_a_path_may_begin_with_home(
    parser: argparse.ArgumentParser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    given = given_options(parser.parse_args(["--models-dir=~"]))
    assert load_configuration(given, {}, usual_file=tmp_path / "none").server.sources.models_dir == tmp_path


VALUES = {
    "--grpc": "localhost:1",
    "--http": "localhost:2",
    "--models-yaml": __file__,
    "--models-dir": str(Path(__file__).parent),
    "--model": "a=/b.gguf",
    "--preload": "a",
    "--memory-budget": "1GiB",
    "--max-loaded-models": "3",
    "--allow-origin": "https://app.example",
    "--max-kept-responses": "5",
    "--max-kept-response-bytes": "1MiB",
    "--drain-seconds": "4",
    "--log-level": "DEBUG",
}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_every_option_sets_its_setting(
    parser: argparse.ArgumentParser, option: Option, tmp_path: Path
) -> None:
    arguments = [option.flag, VALUES[option.flag]] if option.text is None else [option.flag]
    configuration = load_configuration(
        given_options(parser.parse_args(arguments)), {}, usual_file=tmp_path / "none"
    )
    given = configuration.values[option.key]
    assert str(given.origin) == f"command line {option.flag}"
    assert given.value != BY_KEY[option.key].default


def test_every_option_that_has_a_value_says_its_default() -> None:
    for option in OPTIONS:
        default = BY_KEY[option.key].plain(BY_KEY[option.key].default)
        if option.text is None and default:
            assert f"(default: {to_yaml(default)})" in option.help
