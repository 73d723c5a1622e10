"""Names of bad fields, from the gRPC request's to those that the caller used."""

from __future__ import annotations

import re
from collections.abc import Callable

from llamawire_server.shim.completions.request_schema import CompletionRequest

_PROMPT = re.compile(r"^prompt\[(?P<number>\d+)](\.text|\.tokens(?P<token>\[\d+])?)?$")
_GRAMMAR = re.compile(r"^response_format\.grammar\.(grammar|syntax)\b")


def renaming(request: CompletionRequest) -> Callable[[str], str]:
    """From a field's name in the gRPC request to the one that the request has it under."""
    return lambda name: _rename(name, request)


def _rename(name: str, request: CompletionRequest) -> str:
    if name == "stop[0]" and isinstance(request.stop, str):
        return "stop"
    if found := _PROMPT.match(name):
        number = f"[{found['number']}]" if _is_several(request) else ""
        return f"prompt{number}{found['token'] or ''}"
    return _GRAMMAR.sub(r"response_format.\1", name)


def _is_several(request: CompletionRequest) -> bool:
    """Whether the prompt is an array of prompts."""
    prompt = request.prompt
    return isinstance(prompt, list) and not any(isinstance(entry, int) for entry in prompt[:1])
