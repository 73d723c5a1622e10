"""MiniMax M2: calls in one pair of tags, a tag for each function, and one for each argument."""

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

_OPENING = "<minimax:tool_call>"
_CLOSING = "</minimax:tool_call>"
_INVOKE = '<invoke name="'
_INVOKE_END = "</invoke>"
_OPENINGS = Markers(_OPENING, _INVOKE)
_NAME = re.compile(r"[^\s<>{}\"]*")
_TAGS = ArgumentTags('<parameter name="', '">', "</parameter>", call_ends=(_INVOKE_END, _CLOSING))


class MiniMax(Family):
    """`<minimax:tool_call>`, for each call `<invoke name="NAME">`, for each argument
    `<parameter name="NAME">VALUE</parameter>`, `</invoke>`, and `</minimax:tool_call>`, each in a line of its own."""

    name = "minimax"
    markers = (_OPENING, _CLOSING)

    def read(self, stream: CallStream) -> Reading[None]:
        """As `ToolFormat` has it."""
        while marker := (yield from stream.text_until(_OPENINGS)):
            has_tag = marker == _INVOKE or (yield from stream.accept(_INVOKE, behind=WHITE_SPACE))
            name = (yield from stream.word(_NAME)) if has_tag else ""
            if not stream.is_tool(name) or not (yield from stream.accept('">')):
                stream.refuse()
                continue
            stream.begin(name)
            yield from read_arguments(stream, stream.tool(name), _TAGS)
            yield from stream.close(_CLOSING, behind=WHITE_SPACE)

    def write_grammar(
        self, lark: LarkWriter, tools: Sequence[Tool], *, is_required: bool, is_parallel: bool
    ) -> None:
        """As `ToolFormat` has it."""
        rules = ArgumentRules(lark, _TAGS)
        end = lark.literal(f"{_INVOKE_END}\n")
        invocations = (
            " ".join((lark.literal(f'{tool.name}">\n'), rules.write(number, tool), end))
            for number, tool in enumerate(tools)
        )
        lark.either("invocation", invocations)
        more = f"({lark.literal(_INVOKE)} invocation)*" if is_parallel else ""
        calls = lark.rule("calls", f"invocation {more} {lark.marker(_CLOSING)}")
        begin = lark.literal(f"\n{_INVOKE}")
        lark.answer({_OPENING: f"{begin} {calls}", _INVOKE: calls}, is_required=is_required)

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """As the template writes them."""
        invocations = "".join(
            f'{_INVOKE}{name}">\n{_TAGS.write(arguments)}{_INVOKE_END}\n' for name, arguments in calls
        )
        return f"{_OPENING}\n{invocations}{_CLOSING}"
