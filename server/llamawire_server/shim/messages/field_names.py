"""Names of bad fields, from the gRPC chat request's to those of Anthropic's requests."""

from __future__ import annotations

import re
from collections.abc import Callable

from llamawire_server.shim.chat.places import Places

_RENAMINGS = [
    (re.compile(r"^stop\b"), "stop_sequences"),
    (re.compile(r"^(tools\[\d+])\.function\.parameters"), r"\1.input_schema"),
    (re.compile(r"^(tools\[\d+])\.function\b"), r"\1"),
    (re.compile(r"^tool_choice\.function_name$"), "tool_choice.name"),
    (re.compile(r"^parallel_tool_calls$"), "tool_choice.disable_parallel_tool_use"),
    (re.compile(r"^response_format\.json_schema\b"), "output_config.format"),
    (re.compile(r"^response_format\b"), "output_config.format"),
    (re.compile(r"^reasoning_budget$"), "thinking.budget_tokens"),
    (re.compile(r"^reasoning_effort$"), "output_config.effort"),
    (re.compile(r"^user$"), "metadata.user_id"),
]


def renaming(places: Places) -> Callable[[str], str]:
    """From a field's name in the chat request to the one that the request has it under. places: its messages'."""

    def rename(name: str) -> str:
        for pattern, replacement in _RENAMINGS:
            if pattern.search(name):
                return pattern.sub(replacement, name)
        return places.rename(name)

    return rename
