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


def renaming(request: ChatCompletionRequest) -> Callable[[str], str]:
    """From a field's name in the gRPC request to the one that the request has it under."""
    return lambda name: _rename(name, request)


def _rename(name: str, request: ChatCompletionRequest) -> str:
    if allowed_tools(request) is not None and (found := _TOOL.match(name)):
        # The gRPC request has the allowed ones alone.
        name = f"tools[{callable_tools(request)[int(found[1])]}]{name[found.end() :]}"
    for pattern, replacement, applies in _RENAMINGS:
        if applies(request) and pattern.search(name):
            return pattern.sub(replacement, name)
    return name
