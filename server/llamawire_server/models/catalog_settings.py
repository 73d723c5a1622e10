"""The settings of one entry of models.yaml: which keys there are, and what their values may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llamawire_server.config import POOLINGS, REASONING_FORMATS, ModelSettings, SamplingDefaults
from llamawire_server.yaml_document import Field, Value
from llamawire_server.yaml_table import Table, boolean, closest, integer, number

_MOST_SHOWN = 100  # characters of what is wrong
_TEMPLATE_MARKS = ("{{", "{%", "{#")


def read_settings(fields: Iterable[Field]) -> ModelSettings:
    """The settings that these keys of an entry give; what is left out or empty keeps its default.

    Raises `DocumentError` for a key that there is not, and for a value that it can't have.
    """
    return replace(ModelSettings(), **_read(_SETTINGS, fields))


def template_path(value: Value) -> Path | None:
    """The file that a chat_template names; None where it is itself a template."""
    is_template = any(mark in value.text() for mark in _TEMPLATE_MARKS)
    return None if is_template else value.file_path()


def _read_template(value: Value) -> str:
    path = template_path(value)
    if path is None:
        return value.text()
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise value.error(f"is neither a template, as it has no {{{{ or {{%, nor a file: {path}") from None
    except OSError as error:
        raise value.error(f"names a file that can't be read: {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise value.error(f"names a file that is not text in UTF-8: {path}") from None


def _one_of(names: Sequence[str]) -> Callable[[Value], str]:
    def read(value: Value) -> str:
        name = value.text().strip().lower()
        if name not in names:
            *others, last = names
            near = closest(name, names)
            hint = f"; did you mean '{near}'?" if near else ""
            raise value.error(f"must be {', '.join(others)} or {last}, not '{name[:_MOST_SHOWN]}'{hint}")
        return name

    return read


def _read_defaults(value: Value) -> SamplingDefaults:
    return replace(SamplingDefaults(), **_read(_DEFAULTS, value.fields(f"{value.label}.")))


def _read_repeat_penalty(value: Value) -> float:
    penalty = value.number(0, 10)
    if penalty == 0:
        raise value.error("must be in (0, 10]; 1 switches it off")
    return penalty


def _read(table: Table, fields: Iterable[Field]) -> dict[str, Any]:
    return {field.name: value for field, value in table.read(fields)}


_SETTINGS = Table(
    {
        "context_length": integer(1),
        "parallel": integer(1, 256),
        "kv_cache_tokens": integer(1),
        "token_interval_seconds": lambda value: value.number(0.001, 60, wanted="a number of seconds"),
        "max_queued_tokens": integer(1),
        "prompt_cache": boolean,
        "prompt_cache_tokens": integer(0),
        "prompt_lookup": boolean,
        "draft_model": lambda value: value.file_path(),
        "threads": integer(1, 4096),
        "gpu_layers": integer(-1),
        "chat_template": _read_template,
        "reasoning_format": _one_of(REASONING_FORMATS),
        "pooling": _one_of(POOLINGS),
        "keep_alive": lambda value: value.number(wanted="a number of seconds"),
        "pinned": boolean,
        "preload": boolean,
        "defaults": _read_defaults,
    },
    also_known=("path", "aliases"),
)

# The ranges of a request's own fields.
_DEFAULTS = Table(
    {
        "temperature": number(0, 2),
        "top_p": number(0, 1),
        "top_k": integer(0),
        "min_p": number(0, 1),
        "frequency_penalty": number(-2, 2),
        "presence_penalty": number(-2, 2),
        "repeat_penalty": _read_repeat_penalty,
        "max_tokens": integer(1),
    }
)
