"""The tools that may be called, where a request's `tool_choice` names some of those that it lists.

The contract has no such choice: the model is told of the named tools, and of no others.
"""

from __future__ import annotations

from llamawire_server.errors import invalid_field
from llamawire_server.shim.chat.request_schema import AllowedTools, AllowedToolsChoice, ChatCompletionRequest


def allowed_tools(request: ChatCompletionRequest) -> AllowedTools | None:
    """What the request's `tool_choice` narrows its tools to; None where it does not."""
    choice = request.tool_choice
    return choice.allowed_tools if isinstance(choice, AllowedToolsChoice) else None


def callable_tools(request: ChatCompletionRequest) -> list[int]:
    """The places in the request's `tools` of those that may be called, in their order."""
    allowed = allowed_tools(request)
    tools = request.tools or []
    if allowed is None:
        return list(range(len(tools)))
    names = {tool.function.name for tool in allowed.tools}
    return [index for index, tool in enumerate(tools) if tool.function.name in names]


def check_allowed_tools(request: ChatCompletionRequest) -> None:
    """Raises ServiceError (INVALID) where the `tool_choice` allows what is not among the request's tools."""
    allowed = allowed_tools(request)
    if allowed is None:
        return
    place = "tool_choice.allowed_tools"
    if request.functions is not None:
        raise invalid_field(place, "needs tools in place of functions")
    known = {tool.function.name for tool in request.tools or ()}
    for index, tool in enumerate(allowed.tools):
        name = tool.function.name
        if name not in known:
            raise invalid_field(f"{place}.tools[{index}].function.name", f"no tool is named '{name[:64]}'")
