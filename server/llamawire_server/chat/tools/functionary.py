"""Functionary: `<function=NAME>{…}</function>` (3.1) and `>>>NAME` with the arguments in the next line (3.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llamawire_server.chat.tools.call_stream import WHITE_SPACE, CallStream, Reading
from llamawire_server.chat.tools.family import Family
from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.markers import Markers
from llamawire_server.chat.tools.tool_format import Tool

_OPENING = "<function="
_CLOSING = "</function>"
_OPENINGS = Markers(_OPENING)
_TO = ">>>"
_TOS = Markers(_TO)
_ALL = "all\n"
_NAME = re.compile(r"[^\s<>{}\"]*")


class Functionary(Family):
    """`<function=NAME>{…}</function>`, one behind the other."""

    name = "functionary"
    markers = (_OPENING, _CLOSING)

    def read(self, stream: CallStream) -> Reading[None]:
        """As `ToolFormat` has it."""
        while (yield from stream.text_until(_OPENINGS)):
            name = yield from stream.word(_NAME)
            is_tag = stream.is_tool(name) and (yield from stream.accept(">"))
            if not is_tag or (yield from stream.skip_space()) != "{":
                stream.refuse()
                continue
            stream.begin(name)
            yield from stream.arguments()
            yield from stream.close(_CLOSING, behind=WHITE_SPACE)

    def write_grammar(
        self, lark: LarkWriter, tools: Sequence[Tool], *, is_required: bool, is_parallel: bool
    ) -> None:
        """As `ToolFormat` has it."""
        bodies = (
            f"{lark.literal(tool.name + '>')} {lark.arguments(number, tool)} {lark.marker(_CLOSING)}"
            for number, tool in enumerate(tools)
        )
        lark.either("body", bodies)
        more = f"({lark.marker(_OPENING)} body)*" if is_parallel else ""
        lark.answer({_OPENING: f"body {more}"}, is_required=is_required)

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """As the template writes them."""
        return "".join(f"{_OPENING}{name}>{arguments}{_CLOSING}" for name, arguments in calls)


class FunctionaryRecipients(Family):
    """`>>>NAME`, a line end and `{…}`, one behind the other; text is `>>>all` and the text in the next line.

    The first `>>>` is the prompt's last.
    """

    name = "functionary-recipients"
    markers = (_TO,)

    def read(self, stream: CallStream) -> Reading[None]:
        """As `ToolFormat` has it."""
        # The first recipient's marker is in the prompt, and still the answer may begin with one.
        stream.mark()
        yield from stream.accept(_TO)
        while True:
            if not (yield from self._read_recipient(stream)):
                stream.refuse()
            if not (yield from stream.text_until(_TOS)):
                return

    def _read_recipient(self, stream: CallStream) -> Reading[bool]:
        """False: it is text that belongs to what comes before."""
        if (yield from stream.accept(_ALL)):
            stream.forget()
            return True
        name = yield from stream.word(_NAME)
        if not stream.is_tool(name) or not (yield from stream.accept("\n")):
            return False
        if (yield from stream.skip_space()) != "{":
            return False
        stream.begin(name)
        yield from stream.arguments()
        return True

    def write_grammar(
        self, lark: LarkWriter, tools: Sequence[Tool], *, is_required: bool, is_parallel: bool
    ) -> None:
        """As `ToolFormat` has it. In text, only a tool's name behind `>>>` begins a call."""
        names = []
        for number, tool in enumerate(tools):
            names.append(lark.literal(f"{tool.name}\n"))
            lark.arguments(number, tool)
        lark.either("call", (f"{name} arguments_{number}" for number, name in enumerate(names)))
        more = f"({lark.literal(_TO)} call)*" if is_parallel else ""
        if is_required:
            lark.rule("start", f"call {more}")
            return
        switches = []
        for number, tool in enumerate(tools):
            switch = lark.literal(f"{_TO}{tool.name}\n")
            lark.rule(f"switch_{number}[lazy]", f"{lark.text()} {switch}")
            switches.append(f"switch_{number} arguments_{number}")
        lark.either("switched", switches)
        spoken = f"{lark.literal(_ALL)} ({lark.text()} | switched {more})"
        lark.rule("start", f"{spoken} | call {more}")

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """As the model writes them behind the prompt's `>>>`."""
        return _TO.join(f"{name}\n{arguments}" for name, arguments in calls)
