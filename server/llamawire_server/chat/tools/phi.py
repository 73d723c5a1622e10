"""Phi-4-mini: objects behind `<|tool_call|>`, or a list of them behind `functools`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llamawire_server.chat.tools.call_object import read_marked_calls
from llamawire_server.chat.tools.call_stream import CallStream, Reading
from llamawire_server.chat.tools.conversation import Messages
from llamawire_server.chat.tools.family import Family, call_objects
from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.markers import Markers
from llamawire_server.chat.tools.template_traits import TemplateTraits
from llamawire_server.chat.tools.tool_format import Message, Tool

_OPENING = "<|tool_call|>"
_CLOSING = "<|/tool_call|>"
_FUNCTOOLS = "functools["
_OPENINGS = Markers(_OPENING, _FUNCTOOLS)


class Phi(Family):
    """`<|tool_call|>[{"name": …, "arguments": …}, …]<|/tool_call|>`, and what other templates make of it."""

    name = "phi"
    markers = (_OPENING, _CLOSING)

    def __init__(self, traits: TemplateTraits | None = None, template: str = "") -> None:
        """template: its source, which may ask for `functools`, or for a pair of markers around each call."""
        super().__init__(traits)
        self._is_functools = _FUNCTOOLS in template
        self._is_list = f"{_OPENING}{{" not in template
        # Microsoft's own template takes the tools with the system message.
        self._tools_in_message = "message['tools']" in template

    def read(self, stream: CallStream) -> Reading[None]:
        """As `ToolFormat` has it."""
        return read_marked_calls(stream, _OPENINGS, _CLOSING)

    def write_grammar(
        self, lark: LarkWriter, tools: Sequence[Tool], *, is_required: bool, is_parallel: bool
    ) -> None:
        """As `ToolFormat` has it."""
        lark.either("object", (lark.call_object(number, tool) for number, tool in enumerate(tools)))
        more = '(", " object)*' if is_parallel else ""
        items = lark.rule("items", f'object {more} "]"')
        calls = f'"[" {items} {lark.marker(_CLOSING)}'
        if not self._is_list:
            lark.rule("body", f"object {lark.marker(_CLOSING)}")
            calls = f"body ({lark.marker(_OPENING)} body)*" if is_parallel else "body"
        openings = {_OPENING: calls, _FUNCTOOLS: items}
        usual = _FUNCTOOLS if self._is_functools else _OPENING
        lark.answer({usual: openings[usual], **openings}, is_required=is_required)

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """As the template asks for them."""
        objects = call_objects(calls)
        if self._is_functools:
            return f"{_FUNCTOOLS}{', '.join(objects)}]"
        if self._is_list:
            return f"{_OPENING}[{', '.join(objects)}]{_CLOSING}"
        return "".join(f"{_OPENING}{call}{_CLOSING}" for call in objects)

    def prepare(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[Messages, list[dict[str, Any]]]:
        """As `ToolFormat` has it."""
        if not self._tools_in_message:
            return super().prepare(messages, tools)
        prepared, _ = super().prepare(messages, ())
        if tools:
            if not prepared or prepared[0]["role"] != "system":
                prepared.insert(
                    0, {"role": "system", "content": "You are a helpful assistant with some tools."}
                )
            functions = json.dumps([tool["function"] for tool in tools], ensure_ascii=False)
            prepared[0] = {**prepared[0], "tools": functions}
        return prepared, []
