"""A YAML file as values that know their line, so that every complaint about one can name it.

What was written elsewhere, such as in the environment, is read by the same values, without a file and a line.
"""

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
_SCALARS = SafeConstructor()

# How much of a text is shown where it is wrong.
_MOST_SHOWN = 100


class DocumentError(ValueError):
    """A YAML file is wrong: `path` and `line` say where (None: no line of its own), `message` says what.

    Without a path it is a value that was in no file, and the message says which.
    """

    def __init__(self, path: Path | None, line: int | None, message: str) -> None:
        place = str(path) if line is None else f"{path}, line {line}"
        super().__init__(f"{place}: {message}" if path else message)
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
    """One value of the document. Its methods raise `DocumentError` where it is not what they are to return."""

    node: yaml.Node
    path: Path | None
    """The file that it is in; None where it is in none."""

    label: str
    """What a complaint calls it."""

    @property
    def line(self) -> int:
        """The line that it begins in, from 1; 0 where it is in no file."""
        return int(self.node.start_mark.line) + 1 if self.path else 0

    @property
    def kind(self) -> str:
        """What YAML takes it for: "str", "int", "float", "bool", "null", "map", "seq" and others."""
        return str(self.node.tag).removeprefix(_TAG_PREFIX)

    def error(self, message: str) -> DocumentError:
        """A complaint in this value's line."""
        return DocumentError(self.path, self.line or None, f"{self.label} {message}")

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

    def file_path(self) -> Path:
        """The absolute path that it names, taken from the folder that its file is in. `~` is understood.

        What is in no file is taken from the working directory.
        """
        try:
            path = Path(self.text().strip()).expanduser()
        except RuntimeError:
            raise self.error("begins with the home of a user that there is not") from None
        folder = self.path.parent if self.path else Path()
        return (folder / path).absolute()

    def boolean(self) -> bool:
        """True or false."""
        if self.kind != "bool" or not isinstance(self.node, yaml.ScalarNode):
            raise self._unfit("true or false")
        try:
            return bool(_SCALARS.construct_yaml_bool(self.node))
        except KeyError:  # the tag !!bool in front of something else
            raise self.error("must be true or false") from None

    def integer(self, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return int(self._number("a whole number", ("int",), low, high))

    def number(self, low: float = -math.inf, high: float = math.inf, wanted: str = "a number") -> float:
        """A finite number in [low, high]. wanted: what a complaint calls it."""
        return float(self._number(wanted, ("int", "float"), low, high))

    def elements(self) -> list[Value]:
        """The elements of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self._unfit("a list")
        return [
            Value(node, self.path, f"{self.label}[{index}]") for index, node in enumerate(self.node.value)
        ]

    def fields(self, prefix: str = "", mistakes: list[DocumentError] | None = None) -> list[Field]:
        """The keys of a mapping, merged ones (`<<`) after its own. Each key is text and there once.

        prefix: what complaints about a field put before its name.
        mistakes: where wrong keys are noted, and then left out; without it, the first one is raised.
        """
        found: dict[str, Field] = {}
        for field in self._own_fields(prefix, mistakes):
            if field.name in found:
                first = found[field.name].key.line
                note(
                    field.key.error(f"is there twice{f', first in line {first}' if first else ''}"), mistakes
                )
            found.setdefault(field.name, field)
        for field in self.merged_fields(prefix):
            found.setdefault(field.name, field)
        return list(found.values())

    def own_pairs(self) -> list[tuple[Value, Value]]:
        """The keys and values of a mapping, merged ones left out. They are not looked at: any key may be wrong."""
        return [
            (Value(key, self.path, self.label), Value(value, self.path, self.label))
            for key, value in self._pairs()
            if key.tag != _MERGE_TAG
        ]

    def merged_fields(self, prefix: str) -> Iterator[Field]:
        """The keys that a mapping has by `<<`, those of the first one first; the same key may come again."""
        for key_node, value_node in self._pairs():
            if key_node.tag == _MERGE_TAG:
                nodes = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for node in nodes:
                    yield from Value(node, self.path, f"{prefix}<<").fields(prefix)

    def _pairs(self) -> list[tuple[yaml.Node, yaml.Node]]:
        if not isinstance(self.node, yaml.MappingNode):
            raise self._unfit("a mapping")
        return list(self.node.value)

    def _own_fields(self, prefix: str, mistakes: list[DocumentError] | None) -> Iterator[Field]:
        for key_node, value_node in self._pairs():
            if key_node.tag == _MERGE_TAG:
                continue
            try:
                name = Value(key_node, self.path, f"{prefix}key").text()
            except DocumentError as error:
                note(error, mistakes)
                continue
            label = f"{prefix}{name.strip()}"
            yield Field(name, Value(key_node, self.path, label), Value(value_node, self.path, label))

    def _number(self, wanted: str, kinds: Sequence[str], low: float, high: float) -> int | float:
        if self.kind not in kinds or not isinstance(self.node, yaml.ScalarNode):
            raise self._unfit(wanted)
        construct = _SCALARS.construct_yaml_int if self.kind == "int" else _SCALARS.construct_yaml_float
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

    def _unfit(self, wanted: str, hint: str = "") -> DocumentError:
        found = _KINDS.get(self.kind, "such a value")
        if self.kind == "str" and isinstance(self.node, yaml.ScalarNode):
            found += f": '{self.node.value[:_MOST_SHOWN]}'"
        return self.error(f"must be {wanted}, not {found}{hint}")


def note(error: DocumentError, mistakes: list[DocumentError] | None) -> None:
    """Add a complaint to the others; where none are gathered, raise it."""
    if mistakes is None:
        raise error
    mistakes.append(error)


def read_document(path: Path) -> Value | None:
    """The one document of a YAML file; None where there is no such file, or nothing in it.

    Raises `DocumentError` where the file can't be read or is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DocumentError(path, None, f"can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DocumentError(path, line, "is not text in UTF-8") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line_number = mark.line + 1 if mark else None
        raise DocumentError(path, line_number, f"is not YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line_number = text.count("\n", 0, error.position) + 1
        raise DocumentError(path, line_number, f"is not YAML: {error.reason}") from None
    except RecursionError:
        raise DocumentError(path, None, "is nested too deeply") from None
    except (ValueError, OverflowError) as error:  # PyYAML lets these through for some escapes in strings
        raise DocumentError(path, None, f"is not YAML: {error}") from None
    return None if node is None else Value(node, path, "the file")
