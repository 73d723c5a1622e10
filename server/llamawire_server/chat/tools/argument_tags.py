"""Arguments that are written one by one between tags, with values as plain text, and are sent as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from llamawire_server.chat.tools.call_stream import WHITE_SPACE, CallStream, Reading
from llamawire_server.chat.tools.markers import Markers
from llamawire_server.chat.tools.parameters import Parameters, quoted
from llamawire_server.chat.tools.tool_format import Tool

_TEXTS = frozenset({"string", "null", "boolean"})
# The longest word of JSON's has five letters; there may be white space around it.
_LONGEST_WORD = 8


@dataclass(frozen=True)
class ArgumentTags:
    """What is around an argument's name and its value."""

    name_begin: str
    name_end: str
    value_end: str
    call_ends: tuple[str, ...]
    """What ends the call behind its arguments; any of these does."""

    value_begin: str = ""
    """Empty where `name_end` is it."""

    gap: str = "\n"
    """What models write between the tags."""

    margin: str = ""
    """What they write on both sides of a value."""

    drops_lines: bool = True
    """Whether a line break at a value's beginning, and one at its end, are no part of it."""

    @property
    def texts(self) -> tuple[str, ...]:
        """All tags of an argument, which may be control tokens."""
        return (self.name_begin, self.name_end, self.value_begin, self.value_end)

    @property
    def between(self) -> str:
        """What models write between the name and the value's tag."""
        return self.gap if self.value_begin else ""

    @cached_property
    def ends(self) -> Markers:
        """What ends a value, with what of it is no part of the value."""
        return Markers(f"\n{self.value_end}", self.value_end) if self.drops_lines else Markers(self.value_end)

    def write(self, arguments: str) -> str:
        """Arguments, of which this is the JSON, as models write them."""
        return "".join(
            f"{self.name_begin}{name}{self.name_end}{self.between}{self.value_begin}"
            f"{self.margin}{text}{self.margin}{self.value_end}{self.gap}"
            for name, text in _texts(arguments)
        )


def read_arguments(stream: CallStream, tool: Tool, tags: ArgumentTags) -> Reading[None]:
    """Send what comes as the arguments of the call to the tool that was begun, and take what ends it."""
    parameters = Parameters(tool.parameters)
    separator = "{"
    while (yield from stream.accept(tags.name_begin, behind=WHITE_SPACE)):
        name = yield from stream.until(tags.name_end)
        if name is None:
            break
        if tags.value_begin:
            has_value = yield from stream.accept(tags.value_begin, behind=WHITE_SPACE)
            if not has_value and stream.is_ended:
                break
        name = name.strip(WHITE_SPACE)
        stream.send(f"{separator}{quoted(name)}: ")
        separator = ", "
        yield from _read_value(stream, parameters, parameters.schema(name), tags)
    is_closed = yield from stream.accept(*tags.call_ends, behind=WHITE_SPACE)
    if not is_closed and stream.is_ended:
        stream.drop_rest()
    else:
        stream.send_arguments("{}" if separator == "{" else "}")


def _read_value(stream: CallStream, parameters: Parameters, schema: Any, tags: ArgumentTags) -> Reading[None]:
    """Send a value of which the schema is what is said.

    Strings, lists and objects are sent as they come; all others, and what may be a string or one of these, whole.
    """
    kinds = parameters.kinds(schema)
    if tags.drops_lines:
        yield from stream.accept("\n")
    if "string" in kinds and kinds <= _TEXTS:
        if kinds != {"string"}:
            word = yield from stream.word_before(tags.ends, _LONGEST_WORD)
            if word is not None:
                stream.send(parameters.as_json(word, schema))
                return
        stream.send('"')
        if (yield from stream.pass_on(tags.ends, lambda text: stream.send(quoted(text)[1:-1]))):
            stream.send('"')
        return
    if "string" not in kinds and (yield from stream.ahead(WHITE_SPACE)) in ("{", "["):
        yield from stream.skip_space()
        if (yield from stream.part_of_arguments()):
            yield from stream.pass_on(tags.ends, _drop)
        return
    parts: list[str] = []
    while end := (yield from stream.pass_on(tags.ends, parts.append)):
        text = "".join(parts)
        if not parameters.is_begun(text, schema):
            stream.send(parameters.as_json(text, schema))
            return
        parts.append(end)
    # Nothing says what a text that may be a string would have become.
    text = "".join(parts)
    stream.send(quoted(text)[:-1] if "string" in kinds else text)


def _texts(arguments: str) -> Iterable[tuple[str, str]]:
    """Names and texts of arguments; none where they are no object."""
    try:
        values: Any = json.loads(arguments)
    except (ValueError, RecursionError):
        return
    if isinstance(values, dict):
        for name, value in values.items():
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _drop(text: str) -> None:
    """What stands behind a value that is complete is nothing."""
