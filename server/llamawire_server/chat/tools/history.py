"""What is wrong with the calls and results of a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from llamawire_server.chat.tools.conversation import parse_arguments
from llamawire_server.chat.tools.tool_format import Message

Problem = tuple[str, str]
"""The field's path, as in `messages[1].tool_calls[0].id`, and what is wrong with it."""


def check_history(messages: Sequence[Message]) -> list[Problem]:
    """What of the calls and results makes no sense; the rest of the messages is not looked at.

    A result follows the message whose call it answers, with nothing but other results between, and answers it once.
    Whoever goes on after calls has answered them all; calls that end the conversation may wait for their answers.
    """
    return list(_problems(messages))


def _problems(messages: Sequence[Message]) -> Iterator[Problem]:
    waiting: dict[str, str] = {}  # calls without an answer: by their ids, the fields that have these
    known: set[str] = set()  # the ids of the latest message with calls
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        if message["role"] == "tool":
            yield from _result_problems(place, message, waiting, known)
            continue
        for field in waiting.values():
            yield field, "no message with role tool answers this call"
        waiting, known = {}, set()
        if message["role"] != "assistant":
            continue
        for number, call in enumerate(message.get("tool_calls") or ()):
            field = f"{place}.tool_calls[{number}]"
            yield from _call_problems(field, call, known)
            call_id = call.get("id") or ""
            known.add(call_id)
            if call_id:
                waiting[call_id] = f"{field}.id"


def _call_problems(field: str, call: Any, known: set[str]) -> Iterator[Problem]:
    call_id = call.get("id") or ""
    if not call_id:
        yield f"{field}.id", "is required: a message with role tool answers by it"
    elif call_id in known:
        yield f"{field}.id", f"{call_id!r} is the id of another call of this message"
    function = call.get("function") or {}
    if not function.get("name"):
        yield f"{field}.function.name", "is required"
    if not isinstance(parse_arguments(function.get("arguments")), dict):
        yield f"{field}.function.arguments", "must be a JSON object"


def _result_problems(
    place: str, message: Message, waiting: dict[str, str], known: set[str]
) -> Iterator[Problem]:
    field = f"{place}.tool_call_id"
    call_id = message.get("tool_call_id") or ""
    if not known:
        yield f"{place}.role", "a message with role tool must follow an assistant's message with tool_calls"
    elif not call_id:
        yield field, "is required in a message with role tool"
    elif call_id in waiting:
        del waiting[call_id]
    elif call_id in known:
        yield field, f"the call {call_id!r} was answered before"
    else:
        yield field, f"no call of the assistant's message before has the id {call_id!r}"
