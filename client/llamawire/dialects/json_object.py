"""JSON objects whose values are what is expected of them, or an error that names the place."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

MAX_UINT32 = 2**32 - 1
MAX_INT64 = 2**63 - 1


class UnfitError(ValueError):
    """JSON that is not what is expected in its place."""


def parse(text: str | bytes) -> Json:
    """The JSON object that a text is. Raises ValueError and RecursionError."""
    value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    if not isinstance(value, dict):
        raise UnfitError("a JSON object is expected")
    return value


class JsonObject:
    """A JSON object and its path. null is as if it were not there."""

    def __init__(self, values: Json, path: str = "") -> None:
        self._values = values
        self._path = path

    def text(self, key: str) -> str | None:
        """The string under a key; None where there is none."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self._unfit(key, "a string")
        return _utf8(value)

    def text_if_any(self, key: str) -> str | None:
        """The string under a key; None where there is something else."""
        value = self._values.get(key)
        return _utf8(value) if isinstance(value, str) else None

    def number(self, key: str) -> float | None:
        """The number under a key; None where there is none."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._unfit(key, "a number")
        try:
            return float(value)
        except OverflowError:
            raise self._unfit(key, "a number that can be counted with") from None

    def count(self, key: str, most: int = MAX_UINT32) -> int | None:
        """The number under a key without its fraction, 0 to `most`; None where there is none."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
            raise self._unfit(key, f"a number from 0 to {most}")
        return int(value)

    def octets(self, key: str) -> bytes | None:
        """The bytes that a list of numbers under a key stands for; None where there is none."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(type(octet) is int and 0 <= octet < 256 for octet in value):
            raise self._unfit(key, "a list of bytes")
        return bytes(value)

    def object(self, key: str) -> JsonObject | None:
        """The object under a key; None where there is none."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._unfit(key, "an object")
        return JsonObject(value, self._inside(key))

    def object_if_any(self, key: str) -> JsonObject | None:
        """The object under a key; None where there is something else."""
        value = self._values.get(key)
        return JsonObject(value, self._inside(key)) if isinstance(value, dict) else None

    def objects(self, key: str) -> Sequence[JsonObject]:
        """The objects in the list under a key; none where there is no list."""
        value = self._values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._unfit(key, "a list of objects")
        return [JsonObject(item, f"{self._inside(key)}[{index}]") for index, item in enumerate(value)]

    def _inside(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _unfit(self, key: str, expected: str) -> UnfitError:
        return UnfitError(f"{self._inside(key)} is not {expected}")


def _utf8(text: str) -> str:
    """The text, with U+FFFD for halves of surrogate pairs, which JSON may hold and UTF-8 may not."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _refuse(name: str) -> float:
    raise UnfitError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise UnfitError(f"{digits} is more than a number can be")
    return value
