"""The configuration file: what it may say, and how a mistake in it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamawire_server.config import MemoryAmount
from llamawire_server.configuration.file import read_file
from llamawire_server.configuration.origin import Layer, Reading

Read = Callable[[str], Reading]

EVERYTHING = """\
grpc_address: 0.0.0.0:50051
http_address: null
models_yaml: models/models.yaml
models_dir: ~/models
models:
  Tiny: tiny.gguf
  large: /models/large.gguf
models_poll_seconds: 0.5
preload: [tiny, large]
allowed_origins: ["*", "chrome-extension://Abc", "http://[::1]:080"]
max_message_bytes: 32MiB
allow_unknown_fields: yes
drain_seconds: 5
log_level: debug

pool:
  memory_budget: 6GiB
  max_loaded_models: 3
  max_queued_requests: 0
  load_timeout_seconds: 60
  room_timeout_seconds: 0
  abandoned_load_seconds: 1.5
worker:
  hang_seconds: 10
  max_restarts: 2
  first_pause_seconds: 0.25
  longest_pause_seconds: 8
"""


def messages(reading: Reading) -> list[str]:
    return [str(mistake) for mistake in reading.mistakes]


def test_everything_that_a_file_can_say(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    reading = read(EVERYTHING)
    assert messages(reading) == []
    assert {key: given.value for key, given in reading.values.items()} == {
        "grpc_address": "0.0.0.0:50051",
        "http_address": None,
        "models_yaml": tmp_path / "models/models.yaml",
        "models_dir": Path("/home/somebody/models"),
        "models": (("Tiny", tmp_path / "tiny.gguf"), ("large", Path("/models/large.gguf"))),
        "models_poll_seconds": 0.5,
        "preload": ("tiny", "large"),
        "allowed_origins": ("*", "chrome-extension://Abc", "http://[::1]"),
        "max_message_bytes": 32 * 2**20,
        "allow_unknown_fields": True,
        "drain_seconds": 5.0,
        "log_level": "DEBUG",
        "pool.memory_budget": MemoryAmount(size_bytes=6 * 2**30),
        "pool.max_loaded_models": 3,
        "pool.max_queued_requests": 0,
        "pool.load_timeout_seconds": 60.0,
        "pool.room_timeout_seconds": 0.0,
        "pool.abandoned_load_seconds": 1.5,
        "worker.hang_seconds": 10.0,
        "worker.max_restarts": 2,
        "worker.first_pause_seconds": 0.25,
        "worker.longest_pause_seconds": 8.0,
    }


def test_a_value_knows_the_line_of_its_key(read: Read, tmp_path: Path) -> None:
    values = read("# first\npreload:\n  - a\npool:\n  memory_budget: 50%\n").values
    assert {key: given.origin.line for key, given in values.items()} == {
        "preload": 2,
        "pool.memory_budget": 5,
    }
    origin = values["preload"].origin
    assert (origin.layer, origin.path) == (Layer.FILE, tmp_path / "config.yaml")
    assert str(origin) == "config.yaml, line 2"


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "null\n", "pool:\n", "pool: {}\n", "drain_seconds:\n"]
)
def test_a_file_that_sets_nothing(read: Read, text: str) -> None:
    reading = read(text)
    assert (reading.values, reading.mistakes) == ({}, [])


@pytest.mark.parametrize("text", ["null", "~", "", "none"])
def test_null_is_a_value_where_there_need_be_none(read: Read, text: str) -> None:
    reading = read(f"http_address: {text}\npool:\n  max_loaded_models: {text}\n")
    assert messages(reading) == []
    assert {key: given.value for key, given in reading.values.items()} == {
        "http_address": None,
        "pool.max_loaded_models": None,
    }


BUDGETS = {
    "80%": MemoryAmount(share=0.8),
    "'12.5 %'": MemoryAmount(share=0.125),
    "100%": MemoryAmount(share=1.0),
    "6GiB": MemoryAmount(size_bytes=6 * 2**30),
    "6 GB": MemoryAmount(size_bytes=6 * 10**9),
    "6442450944": MemoryAmount(size_bytes=6 * 2**30),
    "6_442_450_944": MemoryAmount(size_bytes=6 * 2**30),
    "'6442450944'": MemoryAmount(size_bytes=6 * 2**30),
    "1MiB": MemoryAmount(size_bytes=2**20),
}


@pytest.mark.parametrize(("text", "amount"), BUDGETS.items())
def test_a_memory_budget(read: Read, text: str, amount: MemoryAmount) -> None:
    reading = read(f"pool:\n  memory_budget: {text}\n")
    assert messages(reading) == []
    assert reading.values["pool.memory_budget"].value == amount


@pytest.mark.parametrize("text", ["localhost:0", "0.0.0.0:65535", "'[::1]:8080'", "my-host.example:1"])
def test_an_address(read: Read, text: str) -> None:
    reading = read(f"grpc_address: {text}\nhttp_address: {text}\n")
    assert messages(reading) == []
    assert {given.value for given in reading.values.values()} == {text.strip("'")}


def test_one_name_is_a_list_of_names(read: Read) -> None:
    assert read("preload: ' tiny '\n").values["preload"].value == ("tiny",)


def test_merged_keys(read: Read) -> None:
    reading = read(
        "pool: &pool\n  max_loaded_models: 2\nworker:\n  <<: {hang_seconds: 5, max_restarts: 1}\n  max_restarts: 3\n"
    )
    assert messages(reading) == []
    assert {key: given.value for key, given in reading.values.items()} == {
        "pool.max_loaded_models": 2,
        "worker.max_restarts": 3,
        "worker.hang_seconds": 5.0,
    }


MISTAKES = {
    "not YAML": ("pool: [\n", 2, "is not YAML: "),
    "a list": ("- a\n", 1, "the file must be a mapping, not a list"),
    "a number as a key": (
        "\n3: 4\n",
        2,
        "key must be text, not a whole number; if it is text, put it into quotes",
    ),
    "a misspelt key": (
        "pool:\n  max_queued_requests: 3\n\n  max_loaded_model: 3\n",
        4,
        "pool.max_loaded_model is not a key that is known here; did you mean 'max_loaded_models'?",
    ),
    "a misspelt section": ("pol:\n  a: b\n", 1, "pol is not a key that is known here; did you mean 'pool'?"),
    "a key that belongs into a section": (
        "memory_budget: 3GiB\n",
        1,
        "memory_budget is not a key that is known here; did you mean 'memory_budget' below 'pool'?",
    ),
    "a misspelt key that belongs into a section": (
        "load_timeout: 3\n",
        1,
        "load_timeout is not a key that is known here; did you mean 'load_timeout_seconds' below 'pool'?",
    ),
    "a key with its section": ("pool.memory_budget: 3GiB\n", 1, "did you mean 'memory_budget' below 'pool'?"),
    "a key that belongs to the top": (
        "pool:\n  log_level: INFO\n",
        2,
        "did you mean 'log_level' at the top level?",
    ),
    "a key of another section": (
        "worker:\n  memory_budget: 1\n",
        2,
        "did you mean 'memory_budget' below 'pool'?",
    ),
    "a key unlike any": (
        "zzz: 3\n",
        1,
        "zzz is not a key that is known here; there are: allow_unknown_fields, ",
    ),
    "a key twice": (
        "preload: a\nlog_level: INFO\npreload: b\n",
        3,
        "preload is there twice, first in line 1",
    ),
    "a key of a section twice": (
        "pool:\n  max_loaded_models: 3\n  max_loaded_models: 4\n",
        3,
        "pool.max_loaded_models is there twice, first in line 2",
    ),
    "a section that is none": ("pool: 3\n", 1, "pool must be a mapping, not a whole number"),
    "no address": ("grpc_address: nonsense\n", 1, "grpc_address must be of the form HOST:PORT, such as "),
    "a port alone": ("grpc_address: 50051\n", 1, "must be of the form HOST:PORT, such as 127.0.0.1:8080"),
    "a port that there can't be": ("grpc_address: a:65536\n", 1, "must be of the form HOST:PORT"),
    "an IPv6 address without brackets": ("grpc_address: '::1:80'\n", 1, "not '::1:80'"),
    "an address that is a truth": ("http_address: off\n", 1, "not 'off'; it may also be null"),
    "a list as an address": ("grpc_address: [a]\n", 1, "must be of the form HOST:PORT"),
    "a path that is a number": ("models_dir: 3\n", 1, "models_dir must be text, not a whole number"),
    "a home of nobody": ("models_dir: ~nobody-has-this-name/x\n", 1, "the home of a user that there is not"),
    "models is a list": ("models: [a]\n", 1, "models must be a mapping, not a list"),
    "a model with settings": (
        "models:\n  a: {path: b}\n",
        2,
        "models.a must be a path; a model that has settings belongs into models.yaml",
    ),
    "a model twice": ("models:\n  a: x\n  A: y\n", 3, "models.A gives a name for the second time"),
    "preload is a mapping": ("preload: {a: b}\n", 1, "preload must be a list, not a mapping"),
    "a name that is a number": ("preload: [a, 3]\n", 1, "preload[1] must be text, not a whole number"),
    "an origin with a path": (
        "allowed_origins: [https://app.example/]\n",
        1,
        "without a path, or '*' for every one, not 'https://app.example/'",
    ),
    "an origin with a port that there can't be": (
        "allowed_origins: https://a:65536\n",
        1,
        "allowed_origins must be an origin",
    ),
    "an origin in other letters": ("allowed_origins: https://bücher.example\n", 1, "as browsers send it"),
    "an origin that is a number": ("allowed_origins: [3]\n", 1, "allowed_origins[0] must be text"),
    "a star that YAML takes for its own": ("allowed_origins: [*]\n", 1, "is not YAML"),
    "a share beyond everything": (
        "pool: {memory_budget: 101%}\n",
        1,
        "must be more than 0% and at most 100%",
    ),
    "a share of nothing": ("pool: {memory_budget: 0%}\n", 1, "must be more than 0% and at most 100%"),
    "a share without its sign": (
        "pool: {memory_budget: 80}\n",
        1,
        "pool.memory_budget must be at least 1MiB, not 80 bytes; did you mean 80%?",
    ),
    "too little memory": ("pool: {memory_budget: 900KiB}\n", 1, "must be at least 1MiB, not 921600 bytes"),
    "a share as a number": (
        "pool: {memory_budget: 0.8}\n",
        1,
        "a share of the machine's memory such as 80%, or ",
    ),
    "no amount": (
        "pool: {memory_budget: 6G}\n",
        1,
        "or an amount such as 6GiB, 6 GB or 6442450944 (bytes), not '6G'",
    ),
    "a list as an amount": ("pool: {memory_budget: [1]}\n", 1, "pool.memory_budget must be a share"),
    "too many bytes": (
        "max_message_bytes: 3GiB\n",
        1,
        "max_message_bytes must be in [1KiB, 2,147,483,647] bytes",
    ),
    "no amount of bytes": (
        "max_message_bytes: 50%\n",
        1,
        "must be an amount such as 16MiB, 16 MB or 16777216 (bytes)",
    ),
    "a number below its range": (
        "pool: {max_loaded_models: 0}\n",
        1,
        "pool.max_loaded_models must be in [1, 2,147,483,647]",
    ),
    "text as a number": (
        "drain_seconds: 5m\n",
        1,
        "drain_seconds must be a number of seconds, not text: '5m'",
    ),
    "infinity": ("drain_seconds: .inf\n", 1, "drain_seconds must be a finite number"),
    "less than no time": ("drain_seconds: -1\n", 1, "drain_seconds must be in [0, 86,400]"),
    "no truth": (
        "allow_unknown_fields: maybe\n",
        1,
        "allow_unknown_fields must be true or false, not text: 'maybe'",
    ),
    "no level": ("log_level: loud\n", 1, "log_level must be DEBUG, INFO, WARNING or ERROR, not 'loud'"),
    "a list as a level": ("log_level: [INFO]\n", 1, "log_level must be DEBUG, INFO, WARNING or ERROR"),
    "too deep": ("pool: " + "[" * 1500, None, "is nested too deeply"),
}


@pytest.mark.parametrize(("text", "line", "reason"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_its_line(
    read: Read, tmp_path: Path, text: str, line: int | None, reason: str
) -> None:
    (mistake,) = read(text).mistakes
    assert reason in mistake.message
    place = f"{tmp_path / 'config.yaml'}, line {line}: " if line else f"{tmp_path / 'config.yaml'}: "
    assert str(mistake) == place + mistake.message


def test_all_mistakes_are_told_at_once_in_their_order(read: Read) -> None:
    reading = read(
        "pool:\n  max_loaded_model: 3\n  max_queued_requests: -1\n"
        "log_level: loud\nworker: 3\n4: 5\npreload: a\npreload: [b]\ndrain_seconds: 2\n"
    )
    assert [(mistake.line, mistake.message.split()[0]) for mistake in reading.mistakes] == [
        (2, "pool.max_loaded_model"),
        (3, "pool.max_queued_requests"),
        (4, "log_level"),
        (5, "worker"),
        (6, "key"),
        (8, "preload"),
    ]
    assert reading.values["drain_seconds"].value == 2.0


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    reading = read_file(tmp_path / "missing.yaml")
    assert messages(reading) == [f"{tmp_path / 'missing.yaml'}: there is no such file"]


def test_a_folder_in_the_file_s_place(tmp_path: Path) -> None:
    (mistake,) = read_file(tmp_path).mistakes
    assert "can't be read: Is a directory" in str(mistake)


WORDS = ["pool", "models", "preload", "memory_budget", "max_loaded_models", "80%", "1", "on", "2020-01-01"]
TAGS = ["&a", "*a", "<<", "!!int", "!!str", "!!bool", "!!float", "!!binary", "~", "|"]
SIGNS = [*":[]{},>?%'\\\"", " ", "\n", "  ", "- ", ": "]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from([*WORDS, *TAGS, *SIGNS]), max_size=30))
def test_any_text_gives_values_and_mistakes(read: Read, pieces: list[str]) -> None:
    reading = read("".join(pieces))
    assert all(mistake.message for mistake in reading.mistakes)
