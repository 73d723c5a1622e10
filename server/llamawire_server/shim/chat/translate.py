"""Chat requests, from OpenAI's form to the gRPC contract's. Pure functions."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from llamawire.v1 import chat_pb2
from llamawire_server.errors import invalid_field
from llamawire_server.shim.chat import functions
from llamawire_server.shim.chat import request_schema as openai
from llamawire_server.shim.chat.allowed_tools import callable_tools, check_allowed_tools
from llamawire_server.shim.chat.own_fields import OwnFields
from llamawire_server.shim.chat.sampling_fields import BasicSamplingFields, FineSamplingFields
from llamawire_server.shim.http.waiting_fields import WaitingFields

# Fields that have the same name and type on both sides.
_SAME = (
    *BasicSamplingFields.model_fields,
    "n",
    "logprobs",
    "top_logprobs",
    "parallel_tool_calls",
    "reasoning_budget",
)

_SAME_OWN = (*FineSamplingFields.model_fields, *WaitingFields.model_fields)

# Chat templates know no more than high.
_EFFORTS = {"xhigh": "high", "max": "high"}

# Protocol buffers refuse messages that are nested deeper than 100; a level of a Struct takes three.
_MAX_STRUCT_DEPTH = 24

_MAX_EXACT_INTEGER = 2**53


def to_chat_request(request: openai.ChatCompletionRequest) -> chat_pb2.ChatCompletionRequest:
    """The same request for a `Service`.

    Raises ServiceError (INVALID) where a field can't be carried over, or two fields contradict each other.
    """
    functions.check_one_form(request)
    check_allowed_tools(request)
    same = {name: value for name in _SAME if (value := getattr(request, name)) is not None}
    message = chat_pb2.ChatCompletionRequest(model=request.model, user=request.user or "", **same)
    answered = functions.answered_call_ids(request.messages)
    message.messages.extend(
        _message(source, index, answered.get(index, "")) for index, source in enumerate(request.messages)
    )
    max_tokens = _max_tokens(request)
    if max_tokens is not None:
        message.max_tokens = max_tokens
    message.stop.extend([request.stop] if isinstance(request.stop, str) else request.stop or ())
    message.stop_token_ids.extend(request.stop_token_ids or ())
    message.logit_bias.update({int(token): bias for token, bias in (request.logit_bias or {}).items()})
    message.metadata.update(request.metadata or {})
    _carry_tools(request, message)
    if request.response_format is not None:
        message.response_format.CopyFrom(to_response_format(request.response_format))
    if request.reasoning_effort is not None:
        message.reasoning_effort = reasoning_effort(request.reasoning_effort)
    carry_own_fields(request, message)
    if request.prediction is not None:
        message.prediction.content = plain_text(request.prediction.content)
    if wants_continuous_usage(request.stream, request.stream_options):
        message.continuous_usage = True
    return message


def wants_continuous_usage(stream: bool | None, options: openai.StreamOptions | None) -> bool:
    """Whether every chunk is to have the usage. Raises ServiceError (INVALID) where there are to be no chunks, which
    OpenAI refuses, too, or the last one is to have none."""
    if options is None:
        return False
    if not stream:
        raise invalid_field("stream_options", "is only allowed where stream is true")
    if not options.continuous_usage_stats:
        return False
    if not options.include_usage:
        raise invalid_field("stream_options.continuous_usage_stats", "needs include_usage")
    return True


def reasoning_effort(name: str) -> chat_pb2.ReasoningEffort.ValueType:
    """The effort of that name: one of OpenAI's, or of those that are more than high."""
    return chat_pb2.ReasoningEffort.Value(f"REASONING_EFFORT_{_EFFORTS.get(name, name).upper()}")


def carry_own_fields(request: OwnFields, message: chat_pb2.ChatCompletionRequest) -> None:
    """Set what is given of them. Raises ServiceError (INVALID) where a field can't be carried over."""
    for name in _SAME_OWN:
        if (value := getattr(request, name)) is not None:
            setattr(message, name, value)
    if request.chat_template_kwargs is not None:
        _check_struct_value(request.chat_template_kwargs, "chat_template_kwargs", _MAX_STRUCT_DEPTH)
        message.chat_template_kwargs.update(request.chat_template_kwargs)


def _max_tokens(request: openai.ChatCompletionRequest) -> int | None:
    newer, older = request.max_completion_tokens, request.max_tokens
    if newer is not None and older is not None and newer != older:
        raise invalid_field("max_completion_tokens", "differs from max_tokens, its older name")
    return older if newer is None else newer


def _message(source: openai.Message, index: int, answered_call_id: str) -> chat_pb2.Message:
    if source.role == "function":
        return chat_pb2.Message(
            role=chat_pb2.ROLE_TOOL,
            tool_call_id=answered_call_id,
            **_content(source.content, f"messages[{index}].content"),
        )
    message = chat_pb2.Message(
        role=chat_pb2.Role.Value(f"ROLE_{source.role.upper()}"),
        name=source.name or "",
        tool_call_id=source.tool_call_id or "",
        reasoning_content=source.reasoning_content,
        refusal=source.refusal,
        **_content(source.content, f"messages[{index}].content"),
    )
    message.tool_calls.extend(
        chat_pb2.ToolCall(id=call.id, type=call.type, function=_function_call(call.function))
        for call in source.tool_calls or ()
    )
    if source.function_call is not None:
        message.tool_calls.add(
            id=functions.call_id(index), type="function", function=_function_call(source.function_call)
        )
    return message


def _content(content: str | list[openai.ContentPart] | None, path: str) -> dict[str, Any]:
    if content is None:
        return {}
    if isinstance(content, str):
        return {"content": content}
    return {"content_parts": [_part(part, f"{path}[{place}]") for place, part in enumerate(content)]}


def _part(part: openai.ContentPart, path: str) -> chat_pb2.ContentPart:
    if isinstance(part, openai.TextPart):
        return chat_pb2.ContentPart(text=part.text)
    if isinstance(part, openai.RefusalPart):
        return chat_pb2.ContentPart(refusal=part.refusal)
    if isinstance(part, openai.ImagePart):
        image = chat_pb2.ImageUrl(url=part.image_url.url, detail=part.image_url.detail or "")
        return chat_pb2.ContentPart(image_url=image)
    try:
        data = base64.b64decode(part.input_audio.data, validate=True)
    except (binascii.Error, ValueError):
        raise invalid_field(f"{path}.input_audio.data", "is not valid Base64") from None
    return chat_pb2.ContentPart(input_audio=chat_pb2.InputAudio(data=data, format=part.input_audio.format))


def plain_text(content: str | list[openai.TextPart]) -> str:
    """The text of a content that has no other parts."""
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _function_call(call: openai.FunctionCall) -> chat_pb2.FunctionCall:
    return chat_pb2.FunctionCall(name=call.name, arguments=call.arguments)


def _carry_tools(request: openai.ChatCompletionRequest, message: chat_pb2.ChatCompletionRequest) -> None:
    tools = request.tools or []
    for index in callable_tools(request):
        message.tools.add(function=_function(tools[index].function, f"tools[{index}].function"))
    for index, function in enumerate(request.functions or ()):
        message.tools.add(function=_function(function, f"functions[{index}]"))
    if request.functions is not None:
        message.parallel_tool_calls = False
    choice = request.tool_choice
    mode = choice.allowed_tools.mode if isinstance(choice, openai.AllowedToolsChoice) else choice
    if isinstance(mode, str):
        message.tool_choice.mode = chat_pb2.ToolChoice.Mode.Value(f"MODE_{mode.upper()}")
    elif isinstance(choice, openai.NamedToolChoice):
        message.tool_choice.function_name = choice.function.name
    elif request.function_call is not None:
        message.tool_choice.CopyFrom(functions.tool_choice(request.function_call))


def _function(function: openai.FunctionDefinition, path: str) -> chat_pb2.FunctionDefinition:
    return chat_pb2.FunctionDefinition(
        name=function.name,
        description=function.description or "",
        parameters=json_text(function.parameters, f"{path}.parameters"),
        strict=function.strict,
    )


def to_response_format(source: openai.ResponseFormat) -> chat_pb2.ResponseFormat:
    """The same form of an answer for a `Service`. Raises ServiceError (INVALID) where it can't be carried over."""
    if isinstance(source, openai.TextFormat):
        return chat_pb2.ResponseFormat(text=chat_pb2.TextFormat())
    if isinstance(source, openai.JsonObjectFormat):
        return chat_pb2.ResponseFormat(json_object=chat_pb2.JsonObjectFormat())
    if isinstance(source, openai.GrammarFormat):
        syntax = f"SYNTAX_{(source.syntax or 'unspecified').upper()}"
        grammar = chat_pb2.GrammarFormat(
            syntax=chat_pb2.GrammarFormat.Syntax.Value(syntax), grammar=source.grammar
        )
        return chat_pb2.ResponseFormat(grammar=grammar)
    schema = chat_pb2.JsonSchemaFormat(
        name=source.json_schema.name,
        description=source.json_schema.description or "",
        schema=json_text(source.json_schema.schema_, "response_format.json_schema.schema"),
        strict=source.json_schema.strict,
    )
    return chat_pb2.ResponseFormat(json_schema=schema)


def json_text(value: dict[str, Any] | None, path: str) -> str:
    """JSON as text, empty where there is none. Raises ServiceError (INVALID) for numbers that JSON has not."""
    if value is None:
        return ""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise invalid_field(path, "has a number that is out of range") from None


def _check_struct_value(value: object, path: str, depth: int) -> None:
    """Raises ServiceError where a google.protobuf.Struct would change or refuse the value."""
    if isinstance(value, dict | list):
        if depth == 0:
            raise invalid_field(path, f"is nested more than {_MAX_STRUCT_DEPTH} levels deep")
        for member in value.values() if isinstance(value, dict) else value:
            _check_struct_value(member, path, depth - 1)
    elif isinstance(value, int) and abs(value) > _MAX_EXACT_INTEGER:
        raise invalid_field(path, "has an integer that is out of range")
    elif isinstance(value, float) and abs(value) == float("inf"):
        raise invalid_field(path, "has a number that is out of range")
