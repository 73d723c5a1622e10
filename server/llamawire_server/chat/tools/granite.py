"""Granite 3: a list of objects behind `<|tool_call|>`."""

from __future__ import annotations

from collections.abc import Sequence

from llamawire_server.chat.tools.call_object import read_marked_calls
from llamawire_server.chat.tools.call_stream import CallStream, Reading
from llamawire_server.chat.tools.conversation import Messages
from llamawire_server.chat.tools.family import Family, call_objects
from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.markers import Markers
from llamawire_server.chat.tools.tool_format import Tool

_OPENING = "<|tool_call|>"
# Granite 3.1 writes the second one, without being told to.
_OPENINGS = Markers(_OPENING, "<tool_call>")


class Granite(Family):
    """`<|tool_call|>[{"name": …, "arguments": …}, …]`, which ends the answer."""

    name = "granite"
    markers = (_OPENING, "<tool_call>", "</tool_call>")

    def read(self, stream: CallStream) -> Reading[None]:
        """As `ToolFormat` has it."""
        return read_marked_calls(stream, _OPENINGS, "</tool_call>")

    def write_grammar(
        self, lark: LarkWriter, tools: Sequence[Tool], *, is_required: bool, is_parallel: bool
    ) -> None:
        """As `ToolFormat` has it."""
        lark.either("object", (lark.call_object(number, tool) for number, tool in enumerate(tools)))
        more = '(", " object)*' if is_parallel else ""
        calls = f'"[" object {more} "]"'
        lark.answer(dict.fromkeys(_OPENINGS.texts, calls), is_required=is_required)

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """As the model was trained to."""
        return f"{_OPENING}[{', '.join(call_objects(calls))}]"

    def place_results(self, messages: Messages) -> Messages:
        """In the role that the model was trained on, where the template writes out any."""
        return [
            {**message, "role": "tool_response"} if message["role"] == "tool" else message
            for message in messages
        ]
