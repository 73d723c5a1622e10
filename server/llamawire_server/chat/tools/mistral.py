"""Mistral: `[TOOL_CALLS]` and a list of objects, or for each call its name, `[ARGS]` and the arguments."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable, Sequence

from llamawire_server.chat.tools.call_object import read_calls
from llamawire_server.chat.tools.call_stream import WHITE_SPACE, CallStream, Reading
from llamawire_server.chat.tools.conversation import Messages
from llamawire_server.chat.tools.family import Family, call_objects
from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.markers import Markers
from llamawire_server.chat.tools.template_traits import TemplateTraits
from llamawire_server.chat.tools.tool_format import CallParser, Tool

_CALLS = "[TOOL_CALLS]"
_ARGUMENTS = "[ARGS]"
_ID = "[CALL_ID]"
_OPENINGS = Markers(_CALLS)
_NAME = re.compile(r"[^\s\[\]{}\"]*")
_OWN_ID = re.compile(r"[a-zA-Z0-9]{9}")
_LETTERS = string.ascii_letters + string.digits


class Mistral(Family):
    """`[TOOL_CALLS][{"name": …, "arguments": …}, …]` or `[TOOL_CALLS]NAME[ARGS]{…}`, by the tokenizer's version.

    Calls have ids of nine letters or digits; templates refuse others.
    """

    name = "mistral"
    markers = (_CALLS, _ARGUMENTS, _ID)

    def __init__(self, traits: TemplateTraits | None = None, template: str = "") -> None:
        """template: its source, which knows `[ARGS]` or not."""
        super().__init__(traits)
        self._has_names = _ARGUMENTS in template

    def parser(
        self, tools: Sequence[Tool], next_id: Callable[[], str], *, is_either: bool = False
    ) -> CallParser:
        """As `ToolFormat` has it."""
        return super().parser(tools, lambda: _own_id(next_id()), is_either=is_either)

    def read(self, stream: CallStream) -> Reading[None]:
        """As `ToolFormat` has it."""
        while (yield from stream.text_until(_OPENINGS)):
            is_object = (yield from stream.skip_space()) in ("[", "{")
            if not (yield from (read_calls(stream) if is_object else _read_named(stream))):
                stream.refuse()

    def write_grammar(
        self, lark: LarkWriter, tools: Sequence[Tool], *, is_required: bool, is_parallel: bool
    ) -> None:
        """As `ToolFormat` has it."""
        if self._has_names:
            own_id = lark.rule("id", f"{lark.marker(_ID)} ID")
            lark.rule("ID", "/[a-zA-Z0-9]{9}/")
            bodies = (
                f"{lark.literal(tool.name)} {own_id}? {lark.marker(_ARGUMENTS)} {lark.arguments(number, tool)}"
                for number, tool in enumerate(tools)
            )
            lark.either("body", bodies)
            more = f"({lark.marker(_CALLS)} body)*" if is_parallel else ""
            lark.answer({_CALLS: f"body {more}"}, is_required=is_required)
            return
        closing = '(", \\"id\\": \\"" ID "\\"")? "}"'
        lark.rule("ID", "/[a-zA-Z0-9]{9}/")
        lark.either(
            "object", (lark.call_object(number, tool, closing=closing) for number, tool in enumerate(tools))
        )
        more = '(", " object)*' if is_parallel else ""
        lark.answer({_CALLS: f'" "? "[" object {more} "]"'}, is_required=is_required)

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """As the family's templates write them, but for the ids."""
        if self._has_names:
            return "".join(f"{_CALLS}{name}{_ARGUMENTS}{arguments}" for name, arguments in calls)
        return f"{_CALLS}[{', '.join(call_objects(calls))}]"

    def arrange(self, messages: Messages) -> Messages:
        """With ids of nine letters or digits, those that came from elsewhere as well."""
        arranged = []
        for message in messages:
            changed = dict(message)
            if "tool_calls" in message:
                changed["tool_calls"] = [
                    {**call, "id": _own_id(call.get("id") or "")} for call in message["tool_calls"]
                ]
            if message["role"] == "tool":
                changed["tool_call_id"] = _own_id(message.get("tool_call_id") or "")
            arranged.append(changed)
        return arranged


def _read_named(stream: CallStream) -> Reading[bool]:
    name = yield from stream.word(_NAME)
    if not stream.is_tool(name):
        return False
    if (yield from stream.accept(_ID, behind=WHITE_SPACE)):
        yield from stream.skip_space()
        yield from stream.word(_NAME)
    # Tokenizers that have the marker make of it what others leave out.
    yield from stream.accept(_ARGUMENTS, behind=WHITE_SPACE)
    if (yield from stream.skip_space()) == "{":
        stream.begin(name)
        yield from stream.arguments()
        return True
    if (yield from stream.value()) == "null":
        stream.begin(name)
        stream.send_arguments("{}")
        return True
    return False


def _own_id(call_id: str) -> str:
    """An id that Mistral's templates take: itself, if it is one."""
    if _OWN_ID.fullmatch(call_id):
        return call_id
    number = int.from_bytes(hashlib.sha256(call_id.encode()).digest()[:8], "big")
    letters = []
    for _ in range(9):
        number, letter = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[letter])
    return "".join(letters)
