"""Calls that a limit cut, as they can stand in a conversation."""

from __future__ import annotations

from llamawire_server.shim.cut_arguments import as_object
from llamawire_server.shim.responses.item_schema import ResponseFunctionCall


def is_cut(call: ResponseFunctionCall) -> bool:
    """Whether a limit ended the answer while the model wrote the call, or as it had."""
    return call.status == "incomplete"


def arguments_of(call: ResponseFunctionCall) -> str:
    """The call's arguments as they are; of a cut call a JSON object of what there is of them."""
    return as_object(call.arguments) if is_cut(call) else call.arguments
