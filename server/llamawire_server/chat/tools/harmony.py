"""gpt-oss: a message on the channel `commentary` to the function."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llamawire_server.chat.channels.lark import ANY, one_of
from llamawire_server.chat.tools.call_stream import WHITE_SPACE, CallStream, Reading
from llamawire_server.chat.tools.conversation import Messages
from llamawire_server.chat.tools.family import Family
from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.markers import Markers
from llamawire_server.chat.tools.tool_format import Tool

_START = "<|start|>"
_CHANNEL = "<|channel|>"
_CONSTRAIN = "<|constrain|>"
_MESSAGE = "<|message|>"
_CALL = "<|call|>"
_END = "<|end|>"
_RETURN = "<|return|>"
_ASSISTANT = "assistant"
_TO = " to=functions."
_NEVER_TEXT = (_START, _CHANNEL, _MESSAGE, _CALL, _END, _RETURN, _TO)
# A header begins with any of these: the recipient may stand before the channel or behind it.
_HEADERS = Markers(f"{_START}{_ASSISTANT}", _CHANNEL, _TO)
_RECIPIENT = re.compile(r"\sto=(?:functions\.)?([^\s<]+)")


class Harmony(Family):
    """`<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}<|call|>`, which ends the answer.

    Other messages are the business of whoever tells the channels apart; here they are content.
    """

    name = "harmony"
    markers = (_START, _CHANNEL, _CONSTRAIN, _MESSAGE, _CALL, _END)
    item_separator = ", ?"
    key_separator = ": ?"

    def read(self, stream: CallStream) -> Reading[None]:
        """As `ToolFormat` has it."""
        while marker := (yield from stream.text_until(_HEADERS)):
            rest = yield from stream.until(_MESSAGE)
            recipient = _RECIPIENT.search(marker + rest) if rest is not None else None
            if recipient is None or not stream.is_tool(recipient.group(1)):
                stream.refuse()
                continue
            if (yield from stream.skip_space()) != "{":
                stream.refuse()
                continue
            stream.begin(recipient.group(1))
            yield from stream.arguments()
            yield from stream.close(_CALL, _END, behind=WHITE_SPACE)

    def write_grammar(
        self, lark: LarkWriter, tools: Sequence[Tool], *, is_required: bool, is_parallel: bool
    ) -> None:
        """As `ToolFormat` has it. The prompt ends behind `<|start|>assistant`; a call ends the model's turn."""
        channel, message = lark.marker(_CHANNEL), lark.marker(_MESSAGE)
        again = lark.rule("again", f"{lark.marker(_START)} {lark.literal(_ASSISTANT)}")
        named = (
            f'{lark.literal("commentary" + _TO + tool.name)} " "? {lark.marker(_CONSTRAIN)} "json" {message} '
            f"{lark.arguments(number, tool)}"
            for number, tool in enumerate(tools)
        )
        lark.either("named", named)
        lark.rule("call", f"{channel} named {lark.marker(_CALL)}?")
        if is_required:
            lark.rule("start", f"{again}? call")
            return
        # In letters too, these are read as what ends a message, and begins another.
        text = lark.rule("TEXT", f"/{ANY}/ & ~/{ANY}{one_of(_NEVER_TEXT)}{ANY}/")
        end = f"{text} {lark.marker(_END)}"
        if not lark.is_token(_END):
            lark.rule("said[lazy]", end)
            end = "said"
        lark.rule("preamble", f'{channel} "commentary" {message} {end} {again}')
        lark.rule("final", f'{channel} "final" {message} {text}')
        lark.rule("start", f"{again}? preamble* (final | call)")

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """As the model writes them, each of them as an answer."""
        return f"{_START}{_ASSISTANT}".join(
            f"{_CHANNEL}commentary{_TO}{name} {_CONSTRAIN}json{_MESSAGE}{arguments}{_CALL}"
            for name, arguments in calls
        )

    def arrange(self, messages: Messages) -> Messages:
        """With the reasoning where the template looks for it.

        A model that calls one function after the other goes on by what it thought before. The template takes what is
        said beside a call for reasoning too, but not both.
        """
        arranged = []
        for message in messages:
            reasoning = message.get("reasoning_content")
            if reasoning and "tool_calls" in message:
                content = message.get("content")
                thinking = f"{reasoning}\n\n{content}" if content else reasoning
                message = {**message, "content": "", "thinking": thinking}
            arranged.append(message)
        return arranged
