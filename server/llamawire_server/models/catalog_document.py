"""A YAML file as values that know their line, so that every complaint about one can name it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from yaml.constructor import SafeConstructor

_TAG_PREFIX = "tag:yaml.org,2002:"
_MERGE_TAG = f"{_TAG_PREFIX}merge"
_KINDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
    "map": "a mapping",
    "seq": "a list",
    "timestamp": "a date",
}
_NUMBERS = SafeConstructor()


class CatalogError(ValueError):
    """models.yaml is wrong: `path` and `line` say where (None: no line of its own), `message` says what."""

    def __init__(self, path: Path, line: int | None, message: str) -> None:
        place = str(path) if line is None else f"{path}, line {line}"
        super().__init__(f"{place}: {message}")
        self.path = path
        self.line = line
        self.message = message


@dataclass(frozen=True)
class Field:
    """One key of a mapping with its value."""

    name: str
    key: Value
    value: Value


@dataclass(frozen=True)
class Value:
    """One value of the document. Its methods raise `CatalogError` where it is not what they are to return."""

    node: yaml.Node
    path: Path
    label: str
    """What a complaint calls it."""

    @property
    def line(self) -> int:
        """The line that it begins in, from 1."""
        return int(self.node.start_mark.line) + 1

    @property
    def kind(self) -> str:
        """What YAML takes it for: "str", "int", "float", "bool", "null", "map", "seq" and others."""
        return str(self.node.tag).removeprefix(_TAG_PREFIX)

    def error(self, message: str) -> CatalogError:
        """A complaint in this value's line."""
        return CatalogError(self.path, self.line, f"{self.label} {message}")

    def text(self) -> str:
        """Text that is not blank."""
        if self.kind != "str" or not isinstance(self.node, yaml.ScalarNode):
            quotes = "" if self.kind in ("null", "map", "seq") else "; if it is text, put it into quotes"
            raise self._unfit("text", quotes)
        text = str(self.node.value)
        if not text.strip():
            raise self.error("is empty")
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise self.error("has a character that is none")
        return text

    def integer(self, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return int(self._number("a whole number", ("int",), low, high))

    def number(self, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number in [low, high]."""
        return float(self._number("a number", ("int", "float"), low, high))

    def elements(self) -> list[Value]:
        """The elements of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self._unfit("a list")
        return [
            Value(node, self.path, f"{self.label}[{index}]") for index, node in enumerate(self.node.value)
        ]

    def fields(self, prefix: str = "") -> list[Field]:
        """The keys of a mapping, merged ones (`<<`) after its own. Each key is text and there once.

        prefix: what complaints about a field put before its name.
        """
        found: dict[str, Field] = {}
        for field in self._own_fields(prefix):
            if field.name in found:
                first = found[field.name].key.line
                raise field.key.error(f"is there twice, first in line {first}")
            found[field.name] = field
        for field in self._merged_fields(prefix):
            found.setdefault(field.name, field)
        return list(found.values())

    def _pairs(self) -> list[tuple[yaml.Node, yaml.Node]]:
        if not isinstance(self.node, yaml.MappingNode):
            raise self._unfit("a mapping")
        return list(self.node.value)

    def _own_fields(self, prefix: str) -> Iterator[Field]:
        for key_node, value_node in self._pairs():
            if key_node.tag != _MERGE_TAG:
                name = Value(key_node, self.path, f"{prefix}key").text()
                label = f"{prefix}{name.strip()}"
                yield Field(name, Value(key_node, self.path, label), Value(value_node, self.path, label))

    def _merged_fields(self, prefix: str) -> Iterator[Field]:
        for key_node, value_node in self._pairs():
            if key_node.tag == _MERGE_TAG:
                nodes = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for node in nodes:
                    yield from Value(node, self.path, f"{prefix}<<").fields(prefix)

    def _number(self, wanted: str, kinds: Sequence[str], low: float, high: float) -> int | float:
        if self.kind not in kinds or not isinstance(self.node, yaml.ScalarNode):
            raise self._unfit(wanted)
        construct = _NUMBERS.construct_yaml_int if self.kind == "int" else _NUMBERS.construct_yaml_float
        try:
            number: int | float = construct(self.node)
            is_finite = math.isfinite(number)
        except (ValueError, IndexError):  # a tag such as !!int in front of something else
            raise self.error(f"must be {wanted}") from None
        except OverflowError:
            raise self.error("is too large") from None
        if not is_finite:
            raise self.error("must be a finite number")
        if not low <= number <= high:
            raise self.error(f"must be in [{low:,}, {high:,}]")
        return number

    def _unfit(self, wanted: str, hint: str = "") -> CatalogError:
        return self.error(f"must be {wanted}, not {_KINDS.get(self.kind, 'such a value')}{hint}")


def read_document(path: Path) -> Value | None:
    """The one document of a YAML file; None where there is no such file, or nothing in it.

    Raises `CatalogError` where the file can't be read or is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CatalogError(path, None, f"can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise CatalogError(path, line, "is not text in UTF-8") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line_number = mark.line + 1 if mark else None
        raise CatalogError(path, line_number, f"is not YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line_number = text.count("\n", 0, error.position) + 1
        raise CatalogError(path, line_number, f"is not YAML: {error.reason}") from None
    except RecursionError:
        raise CatalogError(path, None, "is nested too deeply") from None
    except (ValueError, OverflowError) as error:  # PyYAML lets these through for some escapes in strings
        raise CatalogError(path, None, f"is not YAML: {error}") from None
    return None if node is None else Value(node, path, "the file")
