"""Qwen3-Coder, Qwen 3.5 and after, Nemotron 3, Step 3.5: a tag for the function, and one for each argument."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llamawire_server.chat.tools.argument_rules import ArgumentRules
from llamawire_server.chat.tools.argument_tags import ArgumentTags, read_arguments
from llamawire_server.chat.tools.call_stream import WHITE_SPACE, CallStream, Reading
from llamawire_server.chat.tools.family import Family
from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.markers import Markers
from llamawire_server.chat.tools.tool_format import Tool

_FUNCTION = "<function="
_FUNCTION_END = "</function>"
_NAME = re.compile(r"[^\s<>{}\"]*")


class QwenCoder(Family):
    """`<tool_call>`, `<function=NAME>`, for each argument `<parameter=NAME>`, its value and `</parameter>`, then
    `</function>` and `</tool_call>`, each in a line of its own.

    Models leave out the first marker at times.
    """

    name = "qwen-coder"
    opening = "<tool_call>"
    closing = "</tool_call>"
    markers = (opening, closing, _FUNCTION_END)
    tags = ArgumentTags(
        "<parameter=", ">", "</parameter>", call_ends=(_FUNCTION_END, "</tool_call>"), margin="\n"
    )

    def read(self, stream: CallStream) -> Reading[None]:
        """As `ToolFormat` has it."""
        while marker := (yield from stream.text_until(Markers(self.opening, _FUNCTION))):
            has_tag = marker == _FUNCTION or (yield from stream.accept(_FUNCTION, behind=WHITE_SPACE))
            name = (yield from stream.word(_NAME)) if has_tag else ""
            if not stream.is_tool(name) or not (yield from stream.accept(">")):
                stream.refuse()
                continue
            stream.begin(name)
            yield from read_arguments(stream, stream.tool(name), self.tags)
            yield from stream.close(self.closing, behind=WHITE_SPACE)

    def write_grammar(
        self, lark: LarkWriter, tools: Sequence[Tool], *, is_required: bool, is_parallel: bool
    ) -> None:
        """As `ToolFormat` has it."""
        rules = ArgumentRules(lark, self.tags)
        functions = (
            " ".join((lark.literal(f"{tool.name}>\n"), rules.write(number, tool)))
            for number, tool in enumerate(tools)
        )
        lark.either("function", functions)
        end = f'{lark.marker(_FUNCTION_END)} "\\n" {lark.marker(self.closing)}'
        begin = lark.literal(f"\n{_FUNCTION}")
        more = f'("\\n" {lark.marker(self.opening)} {begin} function {end})*' if is_parallel else ""
        calls = lark.rule("calls", f"function {end} {more}")
        lark.answer({self.opening: f"{begin} {calls}", _FUNCTION: calls}, is_required=is_required)

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """As the family's templates write them."""
        return "\n".join(
            f"{self.opening}\n{_FUNCTION}{name}>\n{self.tags.write(arguments)}{_FUNCTION_END}\n{self.closing}"
            for name, arguments in calls
        )
