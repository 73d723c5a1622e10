"""The command line's options that set a setting. What they say is kept as it is written, to be read with the rest.

Without anything heavy: a parser is made for every `--help`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamawire_server.config import ServerConfig
from llamawire_server.configuration.amounts import format_bytes

_GIVEN = "given_options"
_DEFAULTS = ServerConfig()


@dataclass(frozen=True)
class GivenOption:
    """An option that the command line has."""

    flag: str
    texts: tuple[str, ...]
    """What it was given: each one's where it was repeated."""


@dataclass(frozen=True)
class Option:
    """An option that there is."""

    flag: str
    key: str
    """Of the setting that it sets."""

    help: str
    metavar: str = ""
    text: str | None = None
    """What it sets, where it takes no value."""

    is_repeatable: bool = False
    check: Callable[[str], str] = str
    """Gives the text back. Raises `argparse.ArgumentTypeError`."""


def add_options(parser: argparse.ArgumentParser, keys: Collection[str] | None = None) -> None:
    """Add the options that set these settings; None: all."""
    groups: dict[str, argparse._MutuallyExclusiveGroup] = {}
    for option in OPTIONS:
        if keys is not None and option.key not in keys:
            continue
        if option.key not in groups:
            groups[option.key] = parser.add_mutually_exclusive_group()
        form: dict[str, Any] = {"metavar": option.metavar, "type": option.check}
        if option.text is not None:
            form = {"nargs": 0, "const": option.text}
        groups[option.key].add_argument(
            option.flag,
            dest=option.key,
            default=argparse.SUPPRESS,
            action=_NoteRepeated if option.is_repeatable else _Note,
            help=option.help.replace("%", "%%"),
            **form,
        )


def given_options(arguments: argparse.Namespace) -> Mapping[str, GivenOption]:
    """What the command line sets, by key."""
    given: Mapping[str, GivenOption] = getattr(arguments, _GIVEN, {})
    return given


class _Note(argparse.Action):
    """Notes an option; the last one counts."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        given = dict(given_options(namespace))
        text = values if isinstance(values, str) else str(self.const)
        given[self.dest] = GivenOption(self.option_strings[0], (*self._before(given), text))
        setattr(namespace, _GIVEN, given)

    def _before(self, _given: Mapping[str, GivenOption]) -> tuple[str, ...]:
        return ()


class _NoteRepeated(_Note):
    """Notes an option beside those before it."""

    def _before(self, given: Mapping[str, GivenOption]) -> tuple[str, ...]:
        return given[self.dest].texts if self.dest in given else ()


def _file(text: str) -> str:
    if not _expanded(text).is_file():
        raise argparse.ArgumentTypeError(f"'{text}' is no file")
    return text


def _folder(text: str) -> str:
    if not _expanded(text).is_dir():
        raise argparse.ArgumentTypeError(f"'{text}' is no folder")
    return text


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


OPTIONS = (
    Option(
        "--grpc",
        "grpc_address",
        f"where gRPC listens; port 0 takes a free one (default: {_DEFAULTS.grpc_address})",
        "HOST:PORT",
    ),
    Option(
        "--http",
        "http_address",
        f"where OpenAI's HTTP API listens (default: {_DEFAULTS.http_address})",
        "HOST:PORT",
    ),
    Option("--no-http", "http_address", "gRPC only", text="null"),
    Option(
        "--models-yaml",
        "models_yaml",
        f"names and their files (default: {_DEFAULTS.sources.models_yaml})",
        "FILE",
        check=_file,
    ),
    Option(
        "--models-dir",
        "models_dir",
        f"a folder of GGUF files (default: {_DEFAULTS.sources.models_dir})",
        "FOLDER",
        check=_folder,
    ),
    Option("--model", "models", "a name and its GGUF file; may be repeated", "NAME=PATH", is_repeatable=True),
    Option(
        "--preload",
        "preload",
        "load this model before saying that the server is ready; may be repeated",
        "NAME",
        is_repeatable=True,
    ),
    Option(
        "--memory-budget",
        "pool.memory_budget",
        "what loaded models may use together: a share of the machine's memory, or an amount such as 6GiB"
        f" (default: {_DEFAULTS.pool.memory_budget.share:.0%})",
        "AMOUNT",
    ),
    Option(
        "--max-loaded-models",
        "pool.max_loaded_models",
        "the least recently used one makes room for the next (default: as many as the memory budget holds)",
        "N",
    ),
    Option(
        "--drain-seconds",
        "drain_seconds",
        f"how long running calls may take to finish after SIGTERM (default: {_DEFAULTS.drain_seconds:g})",
        "SECONDS",
    ),
    Option(
        "--allow-unknown-fields",
        "allow_unknown_fields",
        "ignore fields of HTTP requests that neither OpenAI nor llamawire knows, instead of refusing them",
        text="true",
    ),
    Option(
        "--allow-origin",
        "allowed_origins",
        "let scripts of web pages from this origin call the HTTP side, such as https://app.example; '*': from every"
        " one; may be repeated",
        "ORIGIN",
        is_repeatable=True,
    ),
    Option(
        "--max-kept-responses",
        "max_kept_responses",
        "keep so many responses of /v1/responses for others to go on from; 0: none"
        f" (default: {_DEFAULTS.max_kept_responses})",
        "N",
    ),
    Option(
        "--max-kept-response-bytes",
        "max_kept_response_bytes",
        "what kept responses may take up together, such as 1GiB"
        f" (default: {format_bytes(_DEFAULTS.max_kept_response_bytes)})",
        "AMOUNT",
    ),
    Option(
        "--log-level",
        "log_level",
        "how much is logged to standard error: DEBUG, INFO, WARNING or ERROR"
        f" (default: {_DEFAULTS.log_level})",
        "LEVEL",
    ),
)
