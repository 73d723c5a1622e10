"""The kinds of values that settings have: how one is read, and how it is written.

Each kind reads a `Value`. What was not written in YAML, but in the environment or on the command line, is made one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import yaml

from llamawire_server.config import MemoryAmount
from llamawire_server.configuration.amounts import format_bytes, format_share, parse_bytes, parse_share
from llamawire_server.yaml_document import DocumentError, Value

_TAG_PREFIX = "tag:yaml.org,2002:"
_NULLS = ("null", "none")
_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")

_ORIGIN = re.compile(
    r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII | re.IGNORECASE
)
_ANY_ORIGIN = "*"
# Browsers leave these out of an origin.
_USUAL_PORTS = {"http": 80, "https": 443}

Plain: TypeAlias = "str | int | float | bool | list[str] | dict[str, str] | None"
"""What YAML and JSON have."""


class Kind:
    """One kind of values. What is said here goes for text."""

    takes_null = False
    """Whether null is one of its values."""

    def read(self, value: Value) -> object:
        """What the value means. Raises `DocumentError`."""
        return value.text().strip()

    def split(self, text: str) -> Sequence[str]:
        """The texts that a variable of the environment has."""
        return (text,)

    def parse(self, texts: Sequence[str], label: str) -> Value:
        """What was written outside of YAML, as if it were in it. Raises `DocumentError`.

        texts: the elements of what can have several; else the last one counts.
        label: what a complaint calls it.
        """
        return Value(self._node(texts[-1]), None, label)

    def plain(self, value: object) -> Plain:
        """How a file would have it."""
        return str(value)

    def _node(self, text: str) -> yaml.Node:
        return _scalar("str", text)


@dataclass(frozen=True)
class Nullable(Kind):
    """Another kind's values, or null."""

    of: Kind
    takes_null = True

    def read(self, value: Value) -> object:
        if value.kind == "null" or str(value.node.value).strip().lower() in _NULLS:
            return None
        try:
            return self.of.read(value)
        except DocumentError as error:
            raise DocumentError(error.path, error.line, f"{error.message}; it may also be null") from None

    def split(self, text: str) -> Sequence[str]:
        return self.of.split(text)

    def parse(self, texts: Sequence[str], label: str) -> Value:
        if texts[-1].strip().lower() in _NULLS:
            return Value(_scalar("null", "null"), None, label)
        return self.of.parse(texts, label)

    def plain(self, value: object) -> Plain:
        return None if value is None else self.of.plain(value)


class Address(Kind):
    """HOST:PORT, where HOST may be a name, an IPv4 address or an [IPv6] one."""

    def read(self, value: Value) -> object:
        if value.kind == "str":
            address = value.text().strip()
            host, _, port = address.rpartition(":")
            in_brackets = host.startswith("[") and host.endswith("]")
            if host and (in_brackets or ":" not in host) and port.isdecimal() and int(port) <= 65535:
                return address
        found = f", not '{value.node.value}'" if isinstance(value.node, yaml.ScalarNode) else ""
        raise value.error(f"must be of the form HOST:PORT, such as 127.0.0.1:8080 or '[::1]:8080'{found}")


class FilePath(Kind):
    """The absolute path of a file or folder."""

    def read(self, value: Value) -> Path:
        return value.file_path()


@dataclass(frozen=True)
class Integer(Kind):
    """Whole numbers in [low, high]."""

    low: int
    high: int = 2**31 - 1

    def read(self, value: Value) -> object:
        return value.integer(self.low, self.high)

    def plain(self, value: object) -> Plain:
        assert isinstance(value, int)
        return value

    def _node(self, text: str) -> yaml.Node:
        return _number_node(text)


@dataclass(frozen=True)
class Seconds(Kind):
    """Numbers of seconds in [low, high]."""

    low: float
    high: float

    def read(self, value: Value) -> object:
        return value.number(self.low, self.high, "a number of seconds")

    def plain(self, value: object) -> Plain:
        assert isinstance(value, (int, float))
        return int(value) if float(value).is_integer() else float(value)

    def _node(self, text: str) -> yaml.Node:
        return _number_node(text)


class Boolean(Kind):
    """True and false."""

    def read(self, value: Value) -> object:
        return value.boolean()

    def plain(self, value: object) -> Plain:
        assert isinstance(value, bool)
        return value

    def _node(self, text: str) -> yaml.Node:
        word = text.strip().lower()
        if word in _TRUE:
            return _scalar("bool", "true")
        return _scalar("bool", "false") if word in _FALSE else _scalar("str", text)


@dataclass(frozen=True)
class Choice(Kind):
    """One of several words, in upper case however they are written."""

    words: tuple[str, ...]

    def read(self, value: Value) -> object:
        word = str(value.node.value).strip() if isinstance(value.node, yaml.ScalarNode) else ""
        if value.kind == "str" and word.upper() in self.words:
            return word.upper()
        *others, last = self.words
        found = f", not '{word}'" if word else ""
        raise value.error(f"must be {', '.join(others)} or {last}{found}")


class MemoryBudget(Kind):
    """A share of the machine's memory, or an amount."""

    def read(self, value: Value) -> object:
        text = _amount_text(value)
        share, size_bytes = parse_share(text), parse_bytes(text)
        if share is not None:
            if not 0 < share <= 1:
                raise value.error("must be more than 0% and at most 100%")
            return MemoryAmount(share=share)
        if size_bytes is None:
            found = f", not '{text}'" if text else ""
            raise value.error(
                "must be a share of the machine's memory such as 80%, or an amount such as 6GiB, 6 GB or"
                f" 6442450944 (bytes){found}"
            )
        if size_bytes < 2**20:
            hint = f"; did you mean {size_bytes}%?" if 0 < size_bytes <= 100 and text.isdecimal() else ""
            raise value.error(f"must be at least 1MiB, not {size_bytes} bytes{hint}")
        return MemoryAmount(size_bytes=size_bytes)

    def plain(self, value: object) -> Plain:
        assert isinstance(value, MemoryAmount)
        return format_bytes(value.size_bytes or 0) if value.share is None else format_share(value.share)


@dataclass(frozen=True)
class ByteSize(Kind):
    """An amount of bytes in [low, high]."""

    low: int
    high: int

    def read(self, value: Value) -> object:
        text = _amount_text(value)
        size_bytes = parse_bytes(text)
        if size_bytes is None:
            found = f", not '{text}'" if text else ""
            raise value.error(f"must be an amount such as 16MiB, 16 MB or 16777216 (bytes){found}")
        if not self.low <= size_bytes <= self.high:
            raise value.error(f"must be in [{format_bytes(self.low)}, {self.high:,}] bytes")
        return size_bytes

    def plain(self, value: object) -> Plain:
        assert isinstance(value, int)
        return format_bytes(value)


class Names(Kind):
    """Several names: a list, or one name alone. In the environment they are separated by commas."""

    def read(self, value: Value) -> object:
        names = [value] if value.kind == "str" else value.elements()
        return tuple(name.text().strip() for name in names)

    def split(self, text: str) -> Sequence[str]:
        return _split_at_commas(text)

    def parse(self, texts: Sequence[str], label: str) -> Value:
        return Value(
            yaml.SequenceNode(f"{_TAG_PREFIX}seq", [_scalar("str", text) for text in texts]), None, label
        )

    def plain(self, value: object) -> Plain:
        assert isinstance(value, tuple)
        return list(value)


class Origins(Names):
    """Where web pages come from: SCHEME://HOST or SCHEME://HOST:PORT as browsers send it (RFC 6454, 6.2), or `*`."""

    def read(self, value: Value) -> object:
        origins = [value] if value.kind == "str" else value.elements()
        return tuple(_origin(origin) for origin in origins)


class NamedFiles(Kind):
    """Names and their files: a mapping. Elsewhere NAME=PATH, in the environment separated by commas."""

    def read(self, value: Value) -> object:
        files: dict[str, Path] = {}
        for field in value.fields(f"{value.label}."):
            if field.value.kind != "str":
                raise field.value.error("must be a path; a model that has settings belongs into models.yaml")
            name = field.name.strip()
            if name.lower() in (other.lower() for other in files):
                raise field.key.error("gives a name for the second time, as their case makes no difference")
            files[name] = field.value.file_path()
        return tuple(files.items())

    def split(self, text: str) -> Sequence[str]:
        return _split_at_commas(text)

    def parse(self, texts: Sequence[str], label: str) -> Value:
        pairs = []
        for text in texts:
            name, equals, path = text.partition("=")
            if not equals or not name.strip() or not path.strip():
                raise Value(_scalar("str", text), None, label).error(f"must be NAME=PATH, not '{text}'")
            pairs.append((_scalar("str", name), _scalar("str", path)))
        return Value(yaml.MappingNode(f"{_TAG_PREFIX}map", pairs), None, label)

    def plain(self, value: object) -> Plain:
        assert isinstance(value, tuple)
        return {name: str(path) for name, path in value}


def _origin(value: Value) -> str:
    """An origin in the letters that browsers send it in."""
    text = value.text().strip()
    if text == _ANY_ORIGIN:
        return text
    found = _ORIGIN.fullmatch(text)
    if found is None or int(found[3] or 0) > 65535:
        raise value.error(
            "must be an origin as browsers send it, such as https://app.example or http://localhost:3000, without a"
            f" path, or '*' for every one, not '{text}'"
        )
    scheme, host = found[1].lower(), found[2]
    if scheme in _USUAL_PORTS:
        host = host.lower()
    port = int(found[3]) if found[3] else None
    return f"{scheme}://{host}" if port in (None, _USUAL_PORTS.get(scheme)) else f"{scheme}://{host}:{port}"


def _scalar(kind: str, text: str) -> yaml.ScalarNode:
    return yaml.ScalarNode(f"{_TAG_PREFIX}{kind}", text)


def _number_node(text: str) -> yaml.Node:
    """As Python understands numbers, not YAML: there 010 is eight, and 1e3 no number."""
    try:
        return _scalar("int", str(int(text)))
    except ValueError:
        pass
    try:
        return _scalar("float", repr(float(text)))
    except ValueError:
        return _scalar("str", text)


def _amount_text(value: Value) -> str:
    """The text of an amount; empty where it is none."""
    is_amount = value.kind in ("str", "int") and isinstance(value.node, yaml.ScalarNode)
    return str(value.node.value).strip().replace("_", "") if is_amount else ""


def _split_at_commas(text: str) -> Sequence[str]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
