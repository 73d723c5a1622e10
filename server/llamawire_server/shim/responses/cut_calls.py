"""Calls that a limit cut, as they can stand in a conversation."""

from __future__ import annotations

import json

from pydantic_core import from_json

from llamawire_server.shim.responses.item_schema import ResponseFunctionCall


def is_cut(call: ResponseFunctionCall) -> bool:
    """Whether a limit ended the answer while the model wrote the call, or as it had."""
    return call.status == "incomplete"


def arguments_of(call: ResponseFunctionCall) -> str:
    """The call's arguments as they are; of a cut call a JSON object of what there is of them."""
    return _whole(call.arguments) if is_cut(call) else call.arguments


def _whole(arguments: str) -> str:
    try:
        found = from_json(arguments, allow_inf_nan=False, allow_partial=True)
    except ValueError:
        return "{}"
    if not isinstance(found, dict):
        return "{}"
    try:
        from_json(arguments, allow_inf_nan=False)
    except ValueError:
        return json.dumps(found, ensure_ascii=False)
    return arguments
