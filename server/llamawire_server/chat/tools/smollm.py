"""SmolLM2, whose template knows no tools: a list of objects in `<tool_call>`, as its function calling was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llamawire_server.chat.tools.call_object import read_marked_calls
from llamawire_server.chat.tools.call_stream import CallStream, Reading
from llamawire_server.chat.tools.family import Family, call_objects
from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.markers import Markers
from llamawire_server.chat.tools.tool_format import Tool

_OPENING = "<tool_call>"
_CLOSING = "</tool_call>"
_OPENINGS = Markers(_OPENING)


class SmolLM(Family):
    """`<tool_call>[{"name": …, "arguments": …}, …]</tool_call>`."""

    name = "smollm"
    markers = (_OPENING, _CLOSING)

    def read(self, stream: CallStream) -> Reading[None]:
        """As `ToolFormat` has it."""
        return read_marked_calls(stream, _OPENINGS, _CLOSING)

    def write_grammar(
        self, lark: LarkWriter, tools: Sequence[Tool], *, is_required: bool, is_parallel: bool
    ) -> None:
        """As `ToolFormat` has it."""
        lark.either("object", (lark.call_object(number, tool) for number, tool in enumerate(tools)))
        more = '(", " object)*' if is_parallel else ""
        calls = f'"[" object {more} "]" {lark.marker(_CLOSING)}'
        lark.answer({_OPENING: calls}, is_required=is_required)

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """As the model was trained to."""
        return f"{_OPENING}[{', '.join(call_objects(calls))}]{_CLOSING}"

    def instructions(self, functions: Sequence[Mapping[str, Any]]) -> str:
        """Close to what the model was trained on, but for leaving it the choice to answer in words."""
        tools = [{"type": "function", "function": function} for function in functions]
        example = self.write_calls([("func_name1", '{"argument1": "value1", "argument2": "value2"}')])
        return (
            "You are an expert in composing functions. You are given a question and a set of possible functions. "
            "Based on the question, you will need to make one or more function/tool calls to achieve the purpose. "
            "If none of the functions can be used, answer without them.\n\n"
            f"You have access to the following tools:\n<tools>{json.dumps(tools, ensure_ascii=False)}</tools>\n\n"
            "The output of a call MUST strictly adhere to the following format. Please make sure the parameter type "
            f"is correct.\n{example}"
        )
