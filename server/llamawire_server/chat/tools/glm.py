"""GLM 4.5 and after: in `<tool_call>` the function's name, and tags for each argument's name and value."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llamawire_server.chat.tools.argument_rules import ArgumentRules
from llamawire_server.chat.tools.argument_tags import ArgumentTags, read_arguments
from llamawire_server.chat.tools.call_stream import WHITE_SPACE, CallStream, Reading
from llamawire_server.chat.tools.family import Family
from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.markers import Markers
from llamawire_server.chat.tools.template_traits import TemplateTraits
from llamawire_server.chat.tools.tool_format import Tool

_OPENING = "<tool_call>"
_CLOSING = "</tool_call>"
_KEY = "<arg_key>"
_KEY_END = "</arg_key>"
_VALUE = "<arg_value>"
_VALUE_END = "</arg_value>"
_OPENINGS = Markers(_OPENING)
_NAME = re.compile(r"[^\s<>{}\"]*")


class GLM(Family):
    """`<tool_call>NAME`, for each argument `<arg_key>NAME</arg_key>` and `<arg_value>VALUE</arg_value>`, and then
    `</tool_call>`: each in a line of its own up to 4.6, and from 4.7 on without line breaks."""

    name = "glm"
    markers = (_OPENING, _CLOSING, _KEY, _KEY_END, _VALUE, _VALUE_END)

    def __init__(self, traits: TemplateTraits | None = None, template: str = "") -> None:
        """template: its source, which writes line breaks or not."""
        super().__init__(traits)
        has_lines = f"{_KEY_END}\n{_VALUE}" in template or f"{_KEY_END}\\n{_VALUE}" in template
        self._gap = "\n" if has_lines else ""
        self._tags = ArgumentTags(
            _KEY,
            _KEY_END,
            _VALUE_END,
            call_ends=(_CLOSING,),
            value_begin=_VALUE,
            gap=self._gap,
            drops_lines=False,
        )

    def read(self, stream: CallStream) -> Reading[None]:
        """As `ToolFormat` has it."""
        while (yield from stream.text_until(_OPENINGS)):
            yield from stream.skip_space()
            name = yield from stream.word(_NAME)
            if not stream.is_tool(name) or not (yield from stream.comes(_KEY, _CLOSING, behind=WHITE_SPACE)):
                stream.refuse()
                continue
            stream.begin(name)
            yield from read_arguments(stream, stream.tool(name), self._tags)

    def write_grammar(
        self, lark: LarkWriter, tools: Sequence[Tool], *, is_required: bool, is_parallel: bool
    ) -> None:
        """As `ToolFormat` has it."""
        rules = ArgumentRules(lark, self._tags)
        functions = (
            f"{lark.literal(tool.name + self._gap)} {rules.write(number, tool)}"
            for number, tool in enumerate(tools)
        )
        lark.either("function", functions)
        calls = lark.rule("call", f"function {lark.marker(_CLOSING)}")
        if is_parallel:
            gap = f"{lark.literal(self._gap)} " if self._gap else ""
            calls = f"call ({gap}{lark.marker(_OPENING)} call)*"
        lark.answer({_OPENING: calls}, is_required=is_required)

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """As the family's templates write them."""
        return self._gap.join(
            f"{_OPENING}{name}{self._gap}{self._tags.write(arguments)}{_CLOSING}" for name, arguments in calls
        )
