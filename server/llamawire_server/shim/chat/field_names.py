"""Names of bad fields, from the gRPC request's to those that the caller used."""

from __future__ import annotations

import re
from collections.abc import Callable

from llamawire_server.shim.chat.allowed_tools import allowed_tools, callable_tools
from llamawire_server.shim.chat.functions import uses_functions
from llamawire_server.shim.chat.request_schema import ChatCompletionRequest

_Renaming = tuple[re.Pattern[str], str, Callable[[ChatCompletionRequest], bool]]

_TOOL = re.compile(r"^tools\[(\d+)]")


def _always(_request: ChatCompletionRequest) -> bool:
    return True


_RENAMINGS: list[_Renaming] = [
    (re.compile(r"^(messages\[\d+])\.content_parts\b"), r"\1.content", _always),
    (
        re.compile(r"^max_tokens$"),
        "max_completion_tokens",
        lambda request: request.max_completion_tokens is not None,
    ),
    (re.compile(r"^stop\[0]$"), "stop", lambda request: isinstance(request.stop, str)),
    (re.compile(r"^response_format\.grammar\.(grammar|syntax)\b"), r"response_format.\1", _always),
    (re.compile(r"^tools(\[\d+])\.function\b"), r"functions\1", uses_functions),
    (re.compile(r"^tools\b"), "functions", uses_functions),
    (re.compile(r"^tool_choice\.function_name$"), "function_call.name", uses_functions),
    (re.compile(r"^tool_choice\.function_name$"), "tool_choice.function.name", _always),
]


# What the older form's one call, and the answer to it, are to the service.
_CALL = re.compile(r"^messages\[(\d+)]\.tool_calls\[0](\.id$|\.function)?")
_RESULT = re.compile(r"^messages\[(\d+)]\.tool_call_id$")


def renaming(request: ChatCompletionRequest) -> Callable[[str], str]:
    """From a field's name in the gRPC request to the one that the request has it under."""
    return lambda name: _rename(name, request)


def _rename(name: str, request: ChatCompletionRequest) -> str:
    if allowed_tools(request) is not None and (found := _TOOL.match(name)):
        # The gRPC request has the allowed ones alone.
        name = f"tools[{callable_tools(request)[int(found[1])]}]{name[found.end() :]}"
    if (match := _CALL.match(name)) and _calls_in_older_form(request, int(match[1])):
        return f"messages[{match[1]}].function_call{name[match.end() :]}"
    if (match := _RESULT.match(name)) and _is_older_result(request, int(match[1])):
        return f"messages[{match[1]}].name"
    for pattern, replacement, applies in _RENAMINGS:
        if applies(request) and pattern.search(name):
            return pattern.sub(replacement, name)
    return name


def _calls_in_older_form(request: ChatCompletionRequest, index: int) -> bool:
    messages = request.messages[index : index + 1]
    return any(message.function_call is not None and not message.tool_calls for message in messages)


def _is_older_result(request: ChatCompletionRequest, index: int) -> bool:
    return any(message.role == "function" for message in request.messages[index : index + 1])
