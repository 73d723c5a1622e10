"""JSON Schemas of Python's own types: what an answer, or a function's arguments, are to look like."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

_SCALARS: dict[object, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
    None: {"type": "null"},
    Any: {},
    object: {},
    list: {"type": "array"},
    dict: {"type": "object"},
}
_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable)
_DICTIONARIES = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_UNIONS = (typing.Union, types.UnionType)
_QUALIFIERS = ("Required", "NotRequired", "ReadOnly")


def schema_of(kind: Any) -> Schema:
    """The JSON Schema of a type.

    Of a dataclass or a TypedDict it is an object with these fields and no others; those without a default are
    required. Beside them: str, int, float, bool, None, Any, Literal, enums, unions, list[…], tuple[…] and
    dict[str, …]. `Annotated[…, "text"]` adds a description. What has a `model_json_schema`, as Pydantic's models do,
    is asked for its own, and a mapping is a schema already.

    Raises TypeError for any other type.
    """
    if isinstance(kind, Mapping):
        return dict(kind)
    reading = _Reading()
    schema = reading.schema(kind)
    if reading.definitions:
        schema = {**schema, "$defs": reading.definitions}
    return schema


class _Reading:
    """One type and all that it is made of. What is made of itself is defined once and named wherever it is."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._open: list[type] = []
        self._recursive: set[type] = set()

    def schema(self, kind: Any) -> Schema:
        # Unhashable ones are annotations, which come next.
        if isinstance(kind, collections.abc.Hashable) and kind in _SCALARS:
            return dict(_SCALARS[kind])
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is not None:
            return self._generic(kind, origin, arguments)
        if isinstance(kind, type):
            return self._class(kind)
        raise TypeError(f"no JSON Schema is known for {kind!r}")

    def _generic(self, kind: Any, origin: Any, arguments: tuple[Any, ...]) -> Schema:
        if origin is typing.Annotated:
            schema = self.schema(arguments[0])
            texts = [note for note in arguments[1:] if isinstance(note, str)]
            return {**schema, "description": " ".join(texts)} if texts else schema
        if getattr(origin, "_name", None) in _QUALIFIERS:
            return self.schema(arguments[0])
        if origin is typing.Literal:
            return {"enum": list(arguments)}
        if origin in _UNIONS:
            return {"anyOf": [self.schema(argument) for argument in arguments]}
        if origin in _LISTS or (origin is tuple and arguments[1:] == (...,)):
            return {"type": "array", "items": self.schema(arguments[0])}
        if origin is tuple:
            items = [self.schema(argument) for argument in arguments]
            return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
        if origin in _DICTIONARIES:
            if arguments[0] is not str:
                raise TypeError(f"the keys of JSON objects are strings, not {arguments[0]!r}")
            return {"type": "object", "additionalProperties": self.schema(arguments[1])}
        raise TypeError(f"no JSON Schema is known for {kind!r}")

    def _class(self, kind: type) -> Schema:
        if callable(own := getattr(kind, "model_json_schema", None)):
            schema: Schema = own()
            return schema
        if issubclass(kind, enum.Enum):
            return {"enum": [member.value for member in kind]}
        if dataclasses.is_dataclass(kind):
            required = [field.name for field in dataclasses.fields(kind) if _is_required(field)]
        elif typing.is_typeddict(kind):
            names = typing.get_type_hints(kind)
            required = [name for name in names if name in kind.__required_keys__]  # type: ignore[attr-defined]
        else:
            raise TypeError(f"no JSON Schema is known for {kind!r}")
        if kind in self._open:
            self._recursive.add(kind)
            return {"$ref": f"#/$defs/{kind.__name__}"}
        self._open.append(kind)
        hints = typing.get_type_hints(kind, include_extras=True)
        properties = {name: self.schema(hint) for name, hint in hints.items()}
        self._open.pop()
        schema = {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }
        if kind not in self._recursive:
            return schema
        self.definitions[kind.__name__] = schema
        return {"$ref": f"#/$defs/{kind.__name__}"}


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
