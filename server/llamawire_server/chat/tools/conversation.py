"""Conversations with calls and results, rewritten for templates that would not take them as they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from llamawire_server.chat.tools.tool_format import Message

Messages = list[dict[str, Any]]

# What of an assistant's message is beside its calls.
_SAID = frozenset({"content", "reasoning_content", "thinking"})


def copied(messages: Sequence[Message]) -> Messages:
    """With the names of the functions beside their results, as some templates want them, and nothing empty.

    What is in the messages can be replaced without changing the originals, but not changed in place.
    """
    names: dict[str, str] = {}
    copies = []
    for message in messages:
        copy = dict(message)
        if not copy.get("tool_calls"):
            copy.pop("tool_calls", None)
        for call in copy.get("tool_calls", ()):
            names[call.get("id", "")] = call["function"]["name"]
        if copy["role"] == "tool" and not copy.get("name") and copy.get("tool_call_id") in names:
            copy["name"] = names[copy["tool_call_id"]]
        copies.append(copy)
    return copies


def with_functions(
    message: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """The message with each called function (`name` and `arguments`) changed."""
    calls = [{**call, "function": change(dict(call["function"]))} for call in message["tool_calls"]]
    return {**message, "tool_calls": calls}


def arguments_object(function: dict[str, Any]) -> dict[str, Any]:
    """With arguments that are an object wherever their text is one, as most templates want them."""
    return {**function, "arguments": parse_arguments(function.get("arguments"))}


def arguments_text(function: dict[str, Any]) -> dict[str, Any]:
    """With arguments that are JSON text."""
    return {**function, "arguments": write_arguments(function.get("arguments"))}


def parse_arguments(arguments: Any) -> Any:
    """The object that they are or that their text is; of no object what was given."""
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        return {}
    if not isinstance(arguments, str):
        return arguments
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments


def write_arguments(arguments: Any) -> str:
    """Their JSON text."""
    if isinstance(arguments, str) and arguments.strip():
        return arguments
    return json.dumps(arguments or {}, ensure_ascii=False)


def add_instructions(messages: Messages, text: str, *, takes_system: bool) -> Messages:
    """With a text in the system message, or before the first user's where templates take no system message."""
    first = messages[0] if messages else {"role": "user", "content": ""}
    rest = messages[1:]
    if first["role"] == "system":
        told = {**first, "content": f"{first['content']}\n\n{text}" if first["content"] else text}
        return [told, *rest] if takes_system else add_instructions(rest, told["content"], takes_system=False)
    if takes_system:
        return [{"role": "system", "content": text}, *messages]
    if first["role"] == "user":
        return [{**first, "content": f"{text}\n\n{first['content']}"}, *rest]
    return [{"role": "user", "content": text}, *messages]


def results_as_user(messages: Messages) -> Messages:
    """With results as a user's message: one for all results in a row and for what the user says after them.

    Templates that know no results want user and assistant to take turns.
    """
    written: Messages = []
    is_open = False
    for message in messages:
        is_result = message["role"] == "tool"
        text = message.get("content") or ""
        if is_result:
            text = f"<tool_response>\n{text}\n</tool_response>"
        if is_open and (is_result or message["role"] == "user"):
            written[-1] = {**written[-1], "content": f"{written[-1]['content']}\n{text}"}
        elif is_result:
            written.append({"role": "user", "content": text})
        else:
            written.append(message)
        is_open = is_result
    return written


def one_call_each(messages: Messages) -> Messages:
    """With a message of its own for every call, its result behind it, for templates that take one call at a time."""
    split: Messages = []
    at = 0
    while at < len(messages):
        message = messages[at]
        at += 1
        calls = message.get("tool_calls", ())
        if len(calls) < 2:
            split.append(message)
            continue
        results = []
        while at < len(messages) and messages[at]["role"] == "tool":
            results.append(messages[at])
            at += 1
        for number, call in enumerate(calls):
            if number == 1:
                # What was said and thought before the calls was so once.
                message = {key: value for key, value in message.items() if key not in _SAID}
            split.append({**message, "tool_calls": [call]})
            split.extend(_taken(results, call.get("id")))
        split.extend(results)
    return split


def _taken(results: Messages, call_id: str | None) -> Iterable[dict[str, Any]]:
    """Take the results of a call out of the list."""
    own = [result for result in results if result.get("tool_call_id") == call_id]
    results[:] = [result for result in results if result.get("tool_call_id") != call_id]
    return own
