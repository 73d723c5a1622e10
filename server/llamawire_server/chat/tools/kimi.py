"""Kimi K2: each call between control tokens, with an id that has the function's name in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from llamawire_server.chat.tools.call_stream import WHITE_SPACE, CallStream, Reading
from llamawire_server.chat.tools.conversation import Messages
from llamawire_server.chat.tools.family import Family
from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.markers import Markers
from llamawire_server.chat.tools.tool_format import Tool

_CALLS = "<|tool_calls_section_begin|>"
_CALLS_END = "<|tool_calls_section_end|>"
_CALL = "<|tool_call_begin|>"
_ARGUMENTS = "<|tool_call_argument_begin|>"
_CALL_END = "<|tool_call_end|>"
_OPENINGS = Markers(_CALLS, _CALL)
_FUNCTIONS = "functions."
_ID = re.compile(r"[^\s<>{}\"]*")
_NUMBER = re.compile(r":\d+\Z")


class Kimi(Family):
    """`<|tool_calls_section_begin|>`, for each call `<|tool_call_begin|>functions.NAME:NUMBER`,
    `<|tool_call_argument_begin|>{…}<|tool_call_end|>`, and `<|tool_calls_section_end|>`.

    Calls are numbered through the conversation, and have their ids from that: there is no other name in them. So
    those of a history get such ids.
    """

    name = "kimi"
    markers = (_CALLS, _CALLS_END, _CALL, _ARGUMENTS, _CALL_END)

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
        lark.rule("NUMBER", "/[0-9]{1,4}/")
        named = (
            f"{lark.literal(f'{_FUNCTIONS}{tool.name}:')} NUMBER {lark.marker(_ARGUMENTS)} "
            f"{lark.arguments(number, tool)}"
            for number, tool in enumerate(tools)
        )
        lark.either("named", named)
        lark.rule("body", f"named {lark.marker(_CALL_END)}")
        more = f"({lark.marker(_CALL)} body)*" if is_parallel else ""
        calls = lark.rule("calls", f"body {more} {lark.marker(_CALLS_END)}")
        lark.answer({_CALLS: f"{lark.marker(_CALL)} {calls}", _CALL: calls}, is_required=is_required)

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """As the template writes them."""
        texts = (
            f"{_CALL}{_FUNCTIONS}{name}:{number}{_ARGUMENTS}{arguments}{_CALL_END}"
            for number, (name, arguments) in enumerate(calls)
        )
        return f"{_CALLS}{''.join(texts)}{_CALLS_END}"

    def arrange(self, messages: Messages) -> Messages:
        """With ids that name the functions, numbered from the conversation's first call on."""
        num_calls = 0
        ids: dict[str, str] = {}
        arranged = []
        for message in messages:
            changed = dict(message)
            if "tool_calls" in message:
                calls: list[dict[str, Any]] = []
                for call in message["tool_calls"]:
                    own_id = f"{_FUNCTIONS}{call['function']['name']}:{num_calls}"
                    ids[call.get("id") or ""] = own_id
                    calls.append({**call, "id": own_id})
                    num_calls += 1
                changed["tool_calls"] = calls
            if message["role"] == "tool":
                call_id = message.get("tool_call_id") or ""
                changed["tool_call_id"] = ids.get(call_id, call_id)
            arranged.append(changed)
        return arranged


def _read_call(stream: CallStream) -> Reading[bool]:
    """What is behind the marker of a call."""
    yield from stream.skip_space()
    name = _NUMBER.sub("", (yield from stream.word(_ID))).removeprefix(_FUNCTIONS)
    if not stream.is_tool(name) or not (yield from stream.accept(_ARGUMENTS, behind=WHITE_SPACE)):
        return False
    if (yield from stream.skip_space()) != "{":
        return False
    stream.begin(name)
    yield from stream.arguments()
    yield from stream.close(_CALL_END, behind=WHITE_SPACE)
    return True
