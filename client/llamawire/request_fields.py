"""Requests from keyword arguments: what every kind of request has in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message

MessageT = TypeVar("MessageT", bound=Message)

Conversions = Mapping[str, Callable[[Any], Any]]
"""By a field's name, what makes its value of what stands for one."""


def build(
    kind: type[MessageT],
    what: str,
    base: MessageT | None,
    options: Mapping[str, Any],
    conversions: Conversions,
) -> MessageT:
    """A request: that of `base`, where it is given, with the options in place of its fields.

    what: the request's kind in words. `base` is not changed, and None is the same as leaving an option out. Raises
    TypeError for an unknown option or a value of the wrong type, and what the conversions raise.
    """
    fields: dict[str, Any] = {}
    for name, value in options.items():
        if name not in kind.DESCRIPTOR.fields_by_name:
            raise TypeError(f"{what} has no '{name}'")
        if value is not None:
            convert = conversions.get(name)
            fields[name] = convert(value) if convert is not None else value
    built = kind()
    if base is not None:
        built.CopyFrom(base)
        for name in fields:
            built.ClearField(name)
    built.MergeFrom(kind(**fields))
    return built
