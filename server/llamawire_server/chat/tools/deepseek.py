"""DeepSeek V3, R1 and V3.1: each call between control tokens, its name before the arguments."""

# ruff: noqa: RUF001 - DeepSeek's markers have bars that are as wide as that

from __future__ import annotations

import re
from collections.abc import Sequence

from llamawire_server.chat.tools.call_stream import WHITE_SPACE, CallStream, Reading
from llamawire_server.chat.tools.family import Family
from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.markers import Markers
from llamawire_server.chat.tools.template_traits import TemplateTraits
from llamawire_server.chat.tools.tool_format import Tool

_CALLS = "<｜tool▁calls▁begin｜>"
_CALLS_END = "<｜tool▁calls▁end｜>"
_CALL = "<｜tool▁call▁begin｜>"
_CALL_END = "<｜tool▁call▁end｜>"
_SEPARATOR = "<｜tool▁sep｜>"
# Distilled models, for which these are no tokens, write the first marker as they like.
_MISSPELT = ("<｜tool_calls_begin｜>", "<｜tool calls begin｜>", "<｜tool▁calls｜>")
_SECTIONS = (_CALLS, *_MISSPELT)
_OPENINGS = Markers(*_SECTIONS, _CALL)
_WORD = re.compile(r"[^\s<>{}\"]*")
_KIND = "function"
_FENCE = "```"


class DeepSeek(Family):
    """V3's calls say that they are functions and have arguments in a code block; V3.1's have both bare."""

    name = "deepseek"
    markers = (_CALLS, _CALLS_END, _CALL, _CALL_END, _SEPARATOR)

    def __init__(self, traits: TemplateTraits | None = None, template: str = "") -> None:
        """template: its source, which writes code blocks or not."""
        super().__init__(traits)
        self._is_fenced = f"{_FENCE}json" in template

    def read(self, stream: CallStream) -> Reading[None]:
        """As `ToolFormat` has it."""
        while marker := (yield from stream.text_until(_OPENINGS)):
            is_call = marker == _CALL or (yield from stream.accept(_CALL, behind=WHITE_SPACE))
            if not is_call or not (yield from _read_call(stream)):
                stream.refuse()
                continue
            yield from stream.close(_CALLS_END, behind=WHITE_SPACE)

    def write_grammar(
        self, lark: LarkWriter, tools: Sequence[Tool], *, is_required: bool, is_parallel: bool
    ) -> None:
        """As `ToolFormat` has it."""
        before = f"{lark.literal(_KIND)} {lark.marker(_SEPARATOR)}" if self._is_fenced else ""
        between = lark.literal(f"\n{_FENCE}json\n") if self._is_fenced else lark.marker(_SEPARATOR)
        behind = lark.literal(f"\n{_FENCE}") if self._is_fenced else ""
        named = (
            f"{lark.literal(tool.name)} {between} {lark.arguments(number, tool)}"
            for number, tool in enumerate(tools)
        )
        lark.either("named", named)
        lark.rule("body", f"{before} named {behind} {lark.marker(_CALL_END)}")
        gap = '"\\n"' if self._is_fenced else ""
        more = f"({gap} {lark.marker(_CALL)} body)*" if is_parallel else ""
        calls = lark.rule("calls", f"body {more} {lark.marker(_CALLS_END)}")
        sections = dict.fromkeys(_SECTIONS, f"{lark.marker(_CALL)} {calls}")
        lark.answer({**sections, _CALL: calls}, is_required=is_required)

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """As the template writes them."""
        if self._is_fenced:
            texts = [
                f"{_CALL}{_KIND}{_SEPARATOR}{name}\n{_FENCE}json\n{arguments}\n{_FENCE}{_CALL_END}"
                for name, arguments in calls
            ]
        else:
            texts = [f"{_CALL}{name}{_SEPARATOR}{arguments}{_CALL_END}" for name, arguments in calls]
        separator = "\n" if self._is_fenced else ""
        return f"{_CALLS}{separator.join(texts)}{_CALLS_END}"


def _read_call(stream: CallStream) -> Reading[bool]:
    """What is behind the marker of a call, in either form."""
    yield from stream.skip_space()
    name = yield from stream.word(_WORD)
    if not (yield from stream.accept(_SEPARATOR, behind=WHITE_SPACE)):
        return False
    char = yield from stream.skip_space()
    if name == _KIND and char not in ("{", "`"):
        name = yield from stream.word(_WORD)
    if not stream.is_tool(name):
        return False
    is_fenced = yield from stream.accept(_FENCE, behind=WHITE_SPACE)
    if is_fenced:
        yield from stream.accept("json")
    if (yield from stream.skip_space()) != "{":
        return False
    stream.begin(name)
    yield from stream.arguments()
    if is_fenced:
        yield from stream.close(_FENCE, behind=WHITE_SPACE)
    yield from stream.close(_CALL_END, behind=WHITE_SPACE)
    return True
