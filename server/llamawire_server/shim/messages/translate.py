"""Anthropic's requests, translated to the gRPC contract's chat requests. Pure functions."""

from __future__ import annotations

from llamawire.v1 import chat_pb2
from llamawire_server.errors import FieldViolation, unsupported
from llamawire_server.shim.chat.places import Places
from llamawire_server.shim.chat.translate import carry_own_fields, json_text, reasoning_effort
from llamawire_server.shim.messages import request_schema as schema
from llamawire_server.shim.messages.conversation import Conversation
from llamawire_server.shim.messages.request_schema import CountRequest, MessageRequest

_MODES = {
    "auto": chat_pb2.ToolChoice.MODE_AUTO,
    "any": chat_pb2.ToolChoice.MODE_REQUIRED,
    "none": chat_pb2.ToolChoice.MODE_NONE,
}


def to_chat_request(request: CountRequest) -> tuple[chat_pb2.ChatCompletionRequest, Places]:
    """The same request for a `Service`, and where its messages came from.

    Raises ServiceError: INVALID where a field can't be carried over, UNSUPPORTED where an answer would have to go on
    from what the assistant's last message says.
    """
    conversation = _conversation(request)
    message = chat_pb2.ChatCompletionRequest(model=request.model, messages=conversation.messages)
    _carry_thinking(request.thinking, message)
    # After it: what the caller says to the chat template itself goes before.
    carry_own_fields(request, message)
    _carry_tools(request, message)
    if request.output_config is not None:
        _carry_output(request.output_config, message)
    if isinstance(request, MessageRequest):
        _carry_sampling(request, message)
    return message, conversation.places


def _conversation(request: CountRequest) -> Conversation:
    conversation = Conversation()
    if request.system:
        conversation.instruct(request.system)
    for index, turn in enumerate(request.messages):
        conversation.take(turn, index)
    if request.messages and request.messages[-1].role == "assistant":
        place = f"messages[{len(request.messages) - 1}].role"
        raise unsupported(
            [FieldViolation(place, "the last message can't be the assistant's: answers don't go on from it")]
        )
    return conversation


def _carry_sampling(request: MessageRequest, message: chat_pb2.ChatCompletionRequest) -> None:
    message.max_tokens = request.max_tokens
    if request.temperature is not None:
        message.temperature = request.temperature
    if request.top_p is not None:
        message.top_p = request.top_p
    message.stop.extend(request.stop_sequences or ())
    if request.metadata is not None:
        message.user = request.metadata.user_id or ""
    if request.stream:
        # The message begins with what its prompt costs.
        message.continuous_usage = True


def _carry_thinking(thinking: schema.Thinking | None, message: chat_pb2.ChatCompletionRequest) -> None:
    if isinstance(thinking, schema.MessageThinkingOff):
        message.reasoning_effort = chat_pb2.REASONING_EFFORT_NONE
    elif thinking is not None:
        # What most chat templates go by that leave it to the caller.
        message.chat_template_kwargs.update({"enable_thinking": True})
    if isinstance(thinking, schema.MessageThinkingOn):
        message.reasoning_budget = thinking.budget_tokens


def _carry_tools(request: CountRequest, message: chat_pb2.ChatCompletionRequest) -> None:
    for index, tool in enumerate(request.tools or ()):
        message.tools.add(function=_function(tool, f"tools[{index}]"))
    choice = request.tool_choice
    if choice is None:
        return
    if isinstance(choice, schema.MessageToolChoice):
        message.tool_choice.function_name = choice.name
    else:
        message.tool_choice.mode = _MODES[choice.type]
    if not isinstance(choice, schema.MessageNoneChoice) and choice.disable_parallel_tool_use is not None:
        message.parallel_tool_calls = not choice.disable_parallel_tool_use


def _function(tool: schema.MessageTool, path: str) -> chat_pb2.FunctionDefinition:
    return chat_pb2.FunctionDefinition(
        name=tool.name,
        description=tool.description or "",
        parameters=json_text(tool.input_schema, f"{path}.input_schema"),
        strict=tool.strict,
    )


def _carry_output(wanted: schema.MessageOutputConfig, message: chat_pb2.ChatCompletionRequest) -> None:
    if wanted.effort is not None and message.reasoning_effort != chat_pb2.REASONING_EFFORT_NONE:
        message.reasoning_effort = reasoning_effort(wanted.effort)
    if wanted.format is not None:
        text = json_text(wanted.format.schema_, "output_config.format.schema")
        form = chat_pb2.JsonSchemaFormat(name="answer", schema=text)
        message.response_format.json_schema.CopyFrom(form)
