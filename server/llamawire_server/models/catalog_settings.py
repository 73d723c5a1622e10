"""The settings of one entry of models.yaml: which keys there are, and what their values may be."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from llamawire_server.config import ModelSettings, SamplingDefaults
from llamawire_server.models.catalog_document import CatalogError, Field, Value

_MAX_INT32 = 2**31 - 1
_TEMPLATE_MARKS = ("{{", "{%", "{#")

_Reader: TypeAlias = Callable[[Value], object]


def read_settings(fields: Iterable[Field]) -> ModelSettings:
    """The settings that these keys of an entry give; what is left out or empty keeps its default.

    Raises `CatalogError` for a key that there is not, and for a value that it can't have.
    """
    return replace(ModelSettings(), **_read_fields(fields, _SETTINGS, also_known=("path", "aliases")))


def resolve_path(value: Value) -> Path:
    """The absolute path that a value names, taken from the folder that models.yaml is in.

    `~` is understood. Raises `CatalogError` where it is no path.
    """
    try:
        path = Path(value.text().strip()).expanduser()
    except RuntimeError:
        raise value.error("begins with the home of a user that there is not") from None
    return (value.path.parent / path).absolute()


def template_path(value: Value) -> Path | None:
    """The file that a chat_template names; None where it is itself a template."""
    is_template = any(mark in value.text() for mark in _TEMPLATE_MARKS)
    return None if is_template else resolve_path(value)


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


def _read_defaults(value: Value) -> SamplingDefaults:
    return replace(SamplingDefaults(), **_read_fields(value.fields(f"{value.label}."), _DEFAULTS))


def _read_repeat_penalty(value: Value) -> float:
    penalty = value.number(0, 10)
    if penalty == 0:
        raise value.error("must be in (0, 10]; 1 switches it off")
    return penalty


def _read_fields(
    fields: Iterable[Field], readers: dict[str, _Reader], also_known: tuple[str, ...] = ()
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields:
        if field.name in also_known:
            continue
        reader = readers.get(field.name)
        if reader is None:
            raise _unknown_key(field, [*readers, *also_known])
        if field.value.kind != "null":
            values[field.name] = reader(field.value)
    return values


def _unknown_key(field: Field, known: Iterable[str]) -> CatalogError:
    near = difflib.get_close_matches(field.name.strip().lower()[:100], known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(sorted(known))}"
    return field.key.error(f"is not a key that is known here; {hint}")


def _integer(low: int, high: int = _MAX_INT32) -> _Reader:
    return lambda value: value.integer(low, high)


def _number(low: float, high: float) -> _Reader:
    return lambda value: value.number(low, high)


_SETTINGS: dict[str, _Reader] = {
    "context_length": _integer(1),
    "parallel": _integer(1, 256),
    "kv_cache_tokens": _integer(1),
    "threads": _integer(1, 4096),
    "gpu_layers": _integer(-1),
    "chat_template": _read_template,
    "reasoning_format": lambda value: value.text().strip().lower(),
    "keep_alive": lambda value: value.number(),
    "defaults": _read_defaults,
}

# The ranges of a request's own fields.
_DEFAULTS: dict[str, _Reader] = {
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "top_k": _integer(0),
    "min_p": _number(0, 1),
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
    "repeat_penalty": _read_repeat_penalty,
    "max_tokens": _integer(1),
}
