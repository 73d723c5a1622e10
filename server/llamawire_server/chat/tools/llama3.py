"""Llama 3.1 to 4: a bare object that begins the answer, or one behind `<|python_tag|>`."""

from __future__ import annotations

from collections.abc import Sequence

from llamawire_server.chat.tools.call_object import read_call, read_calls
from llamawire_server.chat.tools.call_stream import WHITE_SPACE, CallStream, Reading
from llamawire_server.chat.tools.family import Family, call_objects
from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.markers import Markers
from llamawire_server.chat.tools.tool_format import Tool

_TAG = "<|python_tag|>"
_START = "<|python_start|>"  # Llama 4 has a pair of them
_END = "<|python_end|>"
_TAGS = Markers(_TAG, _START)
_SEPARATORS = WHITE_SPACE + ";"


class Llama3(Family):
    """`{"name": …, "parameters": …}`, with `; ` between several.

    An object that is no call to a tool is content, as everything is that begins with anything else.
    """

    name = "llama3"
    markers = (_TAG, _START, _END)

    def read(self, stream: CallStream) -> Reading[None]:
        """As `ToolFormat` has it."""
        may_be_bare = True
        skipped = WHITE_SPACE
        while True:
            if may_be_bare and (yield from stream.ahead(skipped)) == "{":
                stream.mark_behind(skipped)
                if (yield from read_call(stream, is_bare=True)):
                    skipped = _SEPARATORS
                    continue
                stream.refuse()
            may_be_bare = False
            if not (yield from stream.text_until(_TAGS)):
                return
            if (yield from read_calls(stream)):
                yield from stream.close(_END, behind=WHITE_SPACE)
                may_be_bare, skipped = True, _SEPARATORS
            else:
                stream.refuse()

    def write_grammar(
        self, lark: LarkWriter, tools: Sequence[Tool], *, is_required: bool, is_parallel: bool
    ) -> None:
        """As `ToolFormat` has it; an answer that begins with a brace is a call."""
        lark.either(
            "call", (lark.call_object(number, tool, key="parameters") for number, tool in enumerate(tools))
        )
        calls = lark.rule("calls", 'call ("; " call)*' if is_parallel else "call")
        if is_required:
            lark.rule("start", calls)
            return
        plain = lark.rule("PLAIN", r"/[ \t\r\n]*([^{ \t\r\n](.|\n)*)?/")
        lark.either("start", [plain, calls, *lark.opened(dict.fromkeys(_TAGS.texts, calls), plain)])

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """As the model was trained to."""
        return "; ".join(call_objects(calls, "parameters"))
