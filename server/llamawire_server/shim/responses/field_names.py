"""Names of bad fields, from the gRPC chat request's to those of a Responses request."""

from __future__ import annotations

import re
from collections.abc import Callable

from llamawire_server.shim.chat.places import Places
from llamawire_server.shim.responses.request_schema import ResponseRequest
from llamawire_server.shim.responses.translate import callable_tools

_TOOL = re.compile(r"^tools\[(\d+)](\.function\b)?")

_RENAMINGS = [
    (re.compile(r"^messages$"), "input"),
    (re.compile(r"^max_tokens$"), "max_output_tokens"),
    (re.compile(r"^response_format\.(json_schema|grammar)\b"), "text.format"),
    (re.compile(r"^response_format\b"), "text.format"),
    (re.compile(r"^tool_choice\.function_name$"), "tool_choice.name"),
    (re.compile(r"^reasoning_effort$"), "reasoning.effort"),
    (re.compile(r"^logprobs$"), "include"),
]


def renaming(request: ResponseRequest, places: Places) -> Callable[[str], str]:
    """From a field's name in the chat request to the one that the request has it under. places: its messages'."""
    tools = callable_tools(request)

    def rename(name: str) -> str:
        if (found := _TOOL.match(name)) and int(found[1]) < len(tools):
            return f"tools[{tools[int(found[1])]}]{name[found.end() :]}"
        for pattern, replacement in _RENAMINGS:
            if pattern.search(name):
                return pattern.sub(replacement, name)
        return places.rename(name)

    return rename
