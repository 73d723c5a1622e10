"""Hermes, Qwen, SmolLM3, Granite 4 and many others: an object in `<tool_call>` for each call."""

from __future__ import annotations

from collections.abc import Sequence

from llamawire_server.chat.tools.call_object import read_marked_calls
from llamawire_server.chat.tools.call_stream import CallStream, Reading
from llamawire_server.chat.tools.family import Family, call_objects
from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.markers import Markers
from llamawire_server.chat.tools.tool_format import Tool

_OPENING = "<tool_call>"
_CLOSING = "</tool_call>"
_OPENINGS = Markers(_OPENING)


class Hermes(Family):
    """`<tool_call>\\n{"name": …, "arguments": …}\\n</tool_call>`, one behind the other."""

    name = "hermes"
    markers = (_OPENING, _CLOSING)

    def read(self, stream: CallStream) -> Reading[None]:
        """As `ToolFormat` has it."""
        return read_marked_calls(stream, _OPENINGS, _CLOSING)

    def write_grammar(
        self, lark: LarkWriter, tools: Sequence[Tool], *, is_required: bool, is_parallel: bool
    ) -> None:
        """As `ToolFormat` has it."""
        lark.either("object", (lark.call_object(number, tool) for number, tool in enumerate(tools)))
        calls = lark.rule("body", f'"\\n" object "\\n" {lark.marker(_CLOSING)}')
        if is_parallel:
            calls = f'body ("\\n" {lark.marker(_OPENING)} body)*'
        lark.answer({_OPENING: calls}, is_required=is_required)

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """As the family's templates write them."""
        return "\n".join(f"{_OPENING}\n{call}\n{_CLOSING}" for call in call_objects(calls))
