"""Settings in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamawire_server.config import MemoryAmount
from llamawire_server.configuration.environment import find_misspelt, read_environment
from llamawire_server.configuration.settings import BY_KEY, SETTINGS

VALUES = {
    "LLAMAWIRE_GRPC_ADDRESS": ("[::]:50051", "grpc_address", "[::]:50051"),
    "LLAMAWIRE_HTTP_ADDRESS": ("none", "http_address", None),
    "LLAMAWIRE_MODELS_DIR": ("2024", "models_dir", Path("2024").absolute()),
    "LLAMAWIRE_MODELS": (
        "tiny=/m/tiny.gguf, b = /m/b=c.gguf,",
        "models",
        (("tiny", Path("/m/tiny.gguf")), ("b", Path("/m/b=c.gguf"))),
    ),
    "LLAMAWIRE_PRELOAD": ("tiny, 3,, null", "preload", ("tiny", "3", "null")),
    "LLAMAWIRE_ALLOWED_ORIGINS": (
        "http://localhost:3000, HTTPS://App.Example:443",
        "allowed_origins",
        ("http://localhost:3000", "https://app.example"),
    ),
    "LLAMAWIRE_MAX_MESSAGE_BYTES": ("1 MiB", "max_message_bytes", 2**20),
    "LLAMAWIRE_DRAIN_SECONDS": ("1e1", "drain_seconds", 10.0),
    "LLAMAWIRE_LOG_LEVEL": ("warning", "log_level", "WARNING"),
    "LLAMAWIRE_POOL_MEMORY_BUDGET": ("60%", "pool.memory_budget", MemoryAmount(share=0.6)),
    "LLAMAWIRE_POOL_MAX_LOADED_MODELS": ("010", "pool.max_loaded_models", 10),
    "LLAMAWIRE_WORKER_MAX_RESTARTS": (" 3 ", "worker.max_restarts", 3),
}


@pytest.mark.parametrize(("name", "text", "key", "value"), [(name, *row) for name, row in VALUES.items()])
def test_a_variable_sets_its_setting(name: str, text: str, key: str, value: object) -> None:
    reading = read_environment({name: text})
    assert reading.mistakes == []
    assert {key: given.value for key, given in reading.values.items()} == {key: value}
    assert str(reading.values[key].origin) == f"environment {name}"


@pytest.mark.parametrize("text", ["true", "1", "YES", "on", " True "])
def test_what_is_true(text: str) -> None:
    assert (
        read_environment({"LLAMAWIRE_ALLOW_UNKNOWN_FIELDS": text}).values["allow_unknown_fields"].value
        is True
    )


@pytest.mark.parametrize("text", ["false", "0", "no", "OFF"])
def test_what_is_false(text: str) -> None:
    assert (
        read_environment({"LLAMAWIRE_ALLOW_UNKNOWN_FIELDS": text}).values["allow_unknown_fields"].value
        is False
    )


@pytest.mark.parametrize("text", ["null", "None", " NONE "])
def test_null_is_a_value_where_there_need_be_none(text: str) -> None:
    for name in ("LLAMAWIRE_HTTP_ADDRESS", "LLAMAWIRE_POOL_MAX_LOADED_MODELS"):
        (given,) = read_environment({name: text}).values.values()
        assert given.value is None


def test_an_empty_variable_sets_nothing() -> None:
    reading = read_environment({setting.environment_name: " " for setting in SETTINGS})
    assert (reading.values, reading.mistakes) == ({}, [])


def test_variables_of_others_set_nothing() -> None:
    reading = read_environment({"LLAMAWIRE_TARGET": "x", "LLAMAWIRE_PORT": "tcp://10.0.0.1:1", "HOME": "/"})
    assert (reading.values, reading.mistakes) == ({}, [])


MISTAKES = {
    "LLAMAWIRE_GRPC_ADDRESS": ("nonsense", "must be of the form HOST:PORT, such as 127.0.0.1:8080 or "),
    "LLAMAWIRE_MODELS": ("tiny", "must be NAME=PATH, not 'tiny'"),
    "LLAMAWIRE_MODELS_DIR": ("~nobody-has-this-name", "begins with the home of a user that there is not"),
    "LLAMAWIRE_ALLOW_UNKNOWN_FIELDS": ("maybe", "must be true or false, not text: 'maybe'"),
    "LLAMAWIRE_DRAIN_SECONDS": ("inf", "must be a finite number"),
    "LLAMAWIRE_LOG_LEVEL": ("3", "must be DEBUG, INFO, WARNING or ERROR, not '3'"),
    "LLAMAWIRE_POOL_MEMORY_BUDGET": ("lots", "must be a share of the machine's memory such as 80%, or "),
    "LLAMAWIRE_POOL_MAX_LOADED_MODELS": ("x", "must be a whole number, not text: 'x'; it may also be null"),
    "LLAMAWIRE_WORKER_MAX_RESTARTS": ("1.5", "must be a whole number, not a number"),
}


@pytest.mark.parametrize(("name", "text", "reason"), [(name, *row) for name, row in MISTAKES.items()])
def test_a_mistake_names_the_variable(name: str, text: str, reason: str) -> None:
    reading = read_environment({name: text})
    (mistake,) = map(str, reading.mistakes)
    assert mistake.startswith(f"{name} {reason}")
    assert reading.values == {}


def test_a_mistake_in_a_list_names_its_place() -> None:
    (mistake,) = map(str, read_environment({"LLAMAWIRE_ALLOWED_ORIGINS": "*,app.example"}).mistakes)
    assert mistake.startswith("LLAMAWIRE_ALLOWED_ORIGINS[1] must be an origin as browsers send it")


def test_one_name_for_two_files_is_a_mistake() -> None:
    for names in ("a=x,a=y", "a=x,A=y"):
        (mistake,) = map(str, read_environment({"LLAMAWIRE_MODELS": names}).mistakes)
        assert mistake.startswith("LLAMAWIRE_MODELS.")
        assert "twice" in mistake or "second time" in mistake
        assert "line" not in mistake


def test_all_mistakes_are_told_at_once() -> None:
    reading = read_environment({name: text for name, (text, _) in MISTAKES.items()})
    assert len(reading.mistakes) == len(MISTAKES)


MISSPELT = {
    "LLAMAWIRE_POOL_MEMORY_BUGET": "LLAMAWIRE_POOL_MEMORY_BUDGET",
    "LLAMAWIRE_MEMORY_BUDGET": "LLAMAWIRE_POOL_MEMORY_BUDGET",
    "LLAMAWIRE_HANG_SECONDS": "LLAMAWIRE_WORKER_HANG_SECONDS",
    "LLAMAWIRE_MODEL_DIR": "LLAMAWIRE_MODELS_DIR",
    "LLAMAWIRE_CONFG": "LLAMAWIRE_CONFIG",
}


@pytest.mark.parametrize(("name", "meant"), MISSPELT.items())
def test_a_variable_that_is_almost_known_is_told_of(name: str, meant: str) -> None:
    assert find_misspelt({name: "x"}) == [f"{name} sets nothing; did you mean {meant}?"]


def test_other_variables_are_let_pass() -> None:
    known = {setting.environment_name for setting in SETTINGS}
    kubernetes = {"LLAMAWIRE_PORT", "LLAMAWIRE_SERVICE_HOST", "LLAMAWIRE_PORT_50051_TCP_ADDR"}
    others = {"LLAMAWIRE_TARGET", "LLAMAWIRE_CONFIG", "MODELS_DIRS", "HOME"}
    assert find_misspelt(dict.fromkeys(known | kubernetes | others, "x")) == []


def test_the_names_of_variables() -> None:
    assert BY_KEY["pool.memory_budget"].environment_name == "LLAMAWIRE_POOL_MEMORY_BUDGET"
    assert len({setting.environment_name for setting in SETTINGS}) == len(SETTINGS)
