"""Responses requests, from OpenAI's form to the gRPC contract's chat requests. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from llamawire.v1 import chat_pb2
from llamawire_server.errors import invalid_field
from llamawire_server.shim.chat.places import Places
from llamawire_server.shim.chat.translate import (
    carry_own_fields,
    json_text,
    reasoning_effort,
    to_response_format,
)
from llamawire_server.shim.responses.conversation import Conversation
from llamawire_server.shim.responses.placed_items import PlacedItem
from llamawire_server.shim.responses.request_schema import (
    LOGPROBS,
    Format,
    ResponseAllowedTools,
    ResponseFunctionChoice,
    ResponseJsonSchemaFormat,
    ResponseRequest,
    ResponseTool,
)


def to_chat_request(
    request: ResponseRequest, items: Iterable[PlacedItem]
) -> tuple[chat_pb2.ChatCompletionRequest, Places]:
    """The same request for a `Service`, and where its messages came from.

    items: those of the whole conversation, of which the request may have named some only by an id.

    Raises ServiceError (INVALID) where a field can't be carried over, or two fields contradict each other.
    """
    messages, places = _conversation(request, items).finish()
    message = chat_pb2.ChatCompletionRequest(
        model=request.model,
        messages=messages,
        temperature=request.temperature,
        top_p=request.top_p,
        max_tokens=request.max_output_tokens,
        parallel_tool_calls=request.parallel_tool_calls,
        reasoning_budget=request.reasoning_budget,
        user=request.user or "",
        metadata=request.metadata or {},
    )
    carry_own_fields(request, message)
    _carry_logprobs(request, message)
    _carry_tools(request, message)
    if request.text is not None and request.text.format is not None:
        message.response_format.CopyFrom(_form(request.text.format))
    if request.reasoning is not None and request.reasoning.effort is not None:
        message.reasoning_effort = reasoning_effort(request.reasoning.effort)
    return message, places


def callable_tools(request: ResponseRequest) -> list[int]:
    """The places in the request's `tools` of those that its `tool_choice` allows, in their order."""
    tools = request.tools or []
    if not isinstance(request.tool_choice, ResponseAllowedTools):
        return list(range(len(tools)))
    names = {tool.name for tool in request.tool_choice.tools}
    return [index for index, tool in enumerate(tools) if tool.name in names]


def _conversation(request: ResponseRequest, items: Iterable[PlacedItem]) -> Conversation:
    conversation = Conversation()
    if request.instructions is not None:
        conversation.instruct(request.instructions)
    for placed in items:
        conversation.take(placed)
    return conversation


def _carry_logprobs(request: ResponseRequest, message: chat_pb2.ChatCompletionRequest) -> None:
    if LOGPROBS in (request.include or ()):
        message.logprobs = True
        message.top_logprobs = request.top_logprobs or 0
    elif request.top_logprobs:
        raise invalid_field("top_logprobs", f'needs "{LOGPROBS}" in include')


def _carry_tools(request: ResponseRequest, message: chat_pb2.ChatCompletionRequest) -> None:
    tools = request.tools or []
    for index in callable_tools(request):
        message.tools.add(function=_function(tools[index], f"tools[{index}]"))
    choice = request.tool_choice
    if isinstance(choice, ResponseFunctionChoice):
        message.tool_choice.function_name = choice.name
        return
    if isinstance(choice, ResponseAllowedTools):
        _check_allowed_tools(choice, tools)
    mode = choice.mode if isinstance(choice, ResponseAllowedTools) else choice
    if mode is not None:
        message.tool_choice.mode = chat_pb2.ToolChoice.Mode.Value(f"MODE_{mode.upper()}")


def _check_allowed_tools(choice: ResponseAllowedTools, tools: list[ResponseTool]) -> None:
    known = {tool.name for tool in tools}
    for index, tool in enumerate(choice.tools):
        if tool.name not in known:
            raise invalid_field(f"tool_choice.tools[{index}].name", f"no tool is named '{tool.name[:64]}'")


def _function(tool: ResponseTool, path: str) -> chat_pb2.FunctionDefinition:
    return chat_pb2.FunctionDefinition(
        name=tool.name,
        description=tool.description or "",
        parameters=json_text(tool.parameters, f"{path}.parameters"),
        strict=tool.strict,
    )


def _form(source: Format) -> chat_pb2.ResponseFormat:
    if not isinstance(source, ResponseJsonSchemaFormat):
        return to_response_format(source)
    schema = chat_pb2.JsonSchemaFormat(
        name=source.name,
        description=source.description or "",
        schema=json_text(source.schema_, "text.format.schema"),
        strict=source.strict,
    )
    return chat_pb2.ResponseFormat(json_schema=schema)
