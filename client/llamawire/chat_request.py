"""Chat requests from keyword arguments, in the forms that come naturally in Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar

from google.protobuf import struct_pb2

from llamawire.answer_form import json_schema
from llamawire.chat import MessageLike, given, to_message
from llamawire.request_fields import build
from llamawire.v1 import chat_pb2, completion_pb2, embedding_pb2

if TYPE_CHECKING:
    from typing_extensions import Unpack

_Value = TypeVar("_Value")

ToolLike: TypeAlias = "chat_pb2.Tool | chat_pb2.FunctionDefinition | Mapping[str, Any]"
ToolChoiceLike: TypeAlias = "chat_pb2.ToolChoice | str | Mapping[str, Any]"
ResponseFormatLike: TypeAlias = "chat_pb2.ResponseFormat | str | Mapping[str, Any] | type[Any]"


class ChatOptions(TypedDict, total=False):
    """Every field of ChatCompletionRequest. None is the same as leaving a field out; 0 is not."""

    model: str | None
    messages: Iterable[MessageLike] | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    repeat_penalty: float | None
    seed: int | None
    max_tokens: int | None
    stop: str | Sequence[str] | None
    stop_token_ids: Sequence[int] | None
    n: int | None
    logprobs: bool | None
    top_logprobs: int | None
    logit_bias: Mapping[int, float] | None
    tools: Iterable[ToolLike] | None
    """Protos or mappings in OpenAI's form; the parameters' JSON Schema may be a mapping."""
    tool_choice: ToolChoiceLike | None
    """"none", "auto", "required", {"type": "function", "function": {"name": …}} or a proto."""
    parallel_tool_calls: bool | None
    response_format: ResponseFormatLike | None
    """"text", "json_object", {"type": "json_schema", "json_schema": {"name": …, "schema": {…}}},
    {"type": "grammar", "grammar": …, "syntax": "gbnf" | "lark" | "regex"}, a type that `schema_of` takes, or a
    proto."""
    reasoning_effort: str | chat_pb2.ReasoningEffort.ValueType | None
    """"none", "minimal", "low", "medium", "high" or the enum."""
    reasoning_budget: int | None
    """The most tokens of reasoning; 0: none at all."""
    chat_template_kwargs: Mapping[str, Any] | struct_pb2.Struct | None
    prediction: str | Mapping[str, Any] | chat_pb2.Prediction | None
    """What the answer will mostly be: its text, {"type": "content", "content": …} or a proto."""
    user: str | None
    metadata: Mapping[str, str] | None
    """The request's own notes. What rides beside the call is `call_metadata`."""
    wait_for_model: bool | None
    """Whether to wait for a model that is not loaded. False: the call raises UnavailableError at once, and is not
    tried again, while the model is being loaded."""
    priority: int | None
    """Where the request stands in the model's line: lower goes first, and a step is worth ten seconds of waiting."""
    continuous_usage: bool | None
    """Whether every chunk of a stream has the usage by then, and not the last one alone."""


def request(
    base: chat_pb2.ChatCompletionRequest | None = None, /, **options: Unpack[ChatOptions]
) -> chat_pb2.ChatCompletionRequest:
    """A chat request: that of `base`, where it is given, with the options in place of its fields.

    `base` is not changed. Raises TypeError for an unknown option or a value of the wrong type, and
    ValueError for a value that stands for nothing; whether the values make sense is for the server to say.
    """
    return build(chat_pb2.ChatCompletionRequest, "a chat request", base, options, _CONVERSIONS)


def waits_for_model(
    message: chat_pb2.ChatCompletionRequest
    | completion_pb2.CompletionRequest
    | embedding_pb2.CreateEmbeddingsRequest,
) -> bool:
    """Whether a request is to wait for its model."""
    return message.wait_for_model if message.HasField("wait_for_model") else True


def to_tool(value: ToolLike) -> chat_pb2.Tool:
    """The tool that a proto, a mapping in OpenAI's form or a mapping of the function alone stands for."""
    if isinstance(value, chat_pb2.Tool):
        return value
    if isinstance(value, chat_pb2.FunctionDefinition):
        return chat_pb2.Tool(function=value)
    function = given(_unwrap(value, "function") if "function" in value else value)
    if "parameters" in function:
        function["parameters"] = _to_json(function["parameters"])
    return chat_pb2.Tool(function=chat_pb2.FunctionDefinition(**function))


def to_tool_choice(value: ToolChoiceLike) -> chat_pb2.ToolChoice:
    """The choice that a proto, one of "none", "auto", "required", or a mapping in OpenAI's form stands for."""
    if isinstance(value, chat_pb2.ToolChoice):
        return value
    if isinstance(value, str):
        modes = {
            "none": chat_pb2.ToolChoice.MODE_NONE,
            "auto": chat_pb2.ToolChoice.MODE_AUTO,
            "required": chat_pb2.ToolChoice.MODE_REQUIRED,
        }
        return chat_pb2.ToolChoice(mode=_look_up("tool_choice", value, modes))
    return chat_pb2.ToolChoice(function_name=_unwrap(value, "function")["name"])


def to_stops(value: str | Sequence[str]) -> Sequence[str]:
    """Stop strings, of which one may stand for itself."""
    return [value] if isinstance(value, str) else value


def to_logit_bias(value: Mapping[int, float]) -> dict[int, float]:
    """A bias by token, whose number may be in digits."""
    return {int(token): bias for token, bias in value.items()}


def to_response_format(value: ResponseFormatLike) -> chat_pb2.ResponseFormat:
    """The form that a proto, the name of one, a mapping in OpenAI's form or a type stands for."""
    if isinstance(value, chat_pb2.ResponseFormat):
        return value
    if isinstance(value, type):
        return json_schema(value)
    fields = {"type": value} if isinstance(value, str) else given(value)
    build = _look_up("response_format", fields.pop("type", None), _RESPONSE_FORMATS)
    return build(fields)


def _text_format(fields: dict[str, Any]) -> chat_pb2.ResponseFormat:
    return chat_pb2.ResponseFormat(text=chat_pb2.TextFormat(**fields))


def _json_object_format(fields: dict[str, Any]) -> chat_pb2.ResponseFormat:
    return chat_pb2.ResponseFormat(json_object=chat_pb2.JsonObjectFormat(**fields))


def _json_schema_format(fields: dict[str, Any]) -> chat_pb2.ResponseFormat:
    json_schema = given(_unwrap(fields, "json_schema"))
    if "schema" in json_schema:
        json_schema["schema"] = _to_json(json_schema["schema"])
    return chat_pb2.ResponseFormat(json_schema=chat_pb2.JsonSchemaFormat(**json_schema))


def _grammar_format(fields: dict[str, Any]) -> chat_pb2.ResponseFormat:
    syntaxes = {
        "gbnf": chat_pb2.GrammarFormat.SYNTAX_GBNF,
        "lark": chat_pb2.GrammarFormat.SYNTAX_LARK,
        "regex": chat_pb2.GrammarFormat.SYNTAX_REGEX,
    }
    syntax = _look_up("syntax", fields.pop("syntax", "gbnf"), syntaxes)
    return chat_pb2.ResponseFormat(grammar=chat_pb2.GrammarFormat(syntax=syntax, **fields))


_RESPONSE_FORMATS: dict[str, Callable[[dict[str, Any]], chat_pb2.ResponseFormat]] = {
    "text": _text_format,
    "json_object": _json_object_format,
    "json_schema": _json_schema_format,
    "grammar": _grammar_format,
}


def _to_reasoning_effort(value: str | chat_pb2.ReasoningEffort.ValueType) -> int:
    if not isinstance(value, str):
        return value
    efforts = {
        "none": chat_pb2.REASONING_EFFORT_NONE,
        "minimal": chat_pb2.REASONING_EFFORT_MINIMAL,
        "low": chat_pb2.REASONING_EFFORT_LOW,
        "medium": chat_pb2.REASONING_EFFORT_MEDIUM,
        "high": chat_pb2.REASONING_EFFORT_HIGH,
    }
    return _look_up("reasoning_effort", value, efforts)


def _to_struct(value: Mapping[str, Any] | struct_pb2.Struct) -> struct_pb2.Struct:
    if isinstance(value, struct_pb2.Struct):
        return value
    struct = struct_pb2.Struct()
    struct.update(dict(value))
    return struct


def to_prediction(value: str | Mapping[str, Any] | chat_pb2.Prediction) -> chat_pb2.Prediction:
    """The prediction that a proto, a text or a mapping in OpenAI's form stands for."""
    if isinstance(value, chat_pb2.Prediction):
        return value
    if isinstance(value, str):
        return chat_pb2.Prediction(content=value)
    return chat_pb2.Prediction(content=_unwrap(value, "content"))


def _to_json(schema: str | Mapping[str, Any]) -> str:
    return schema if isinstance(schema, str) else json.dumps(schema, ensure_ascii=False, allow_nan=False)


def _look_up(what: str, name: object, choices: Mapping[str, _Value]) -> _Value:
    if not isinstance(name, str) or name not in choices:
        raise ValueError(f"{name!r} is not a {what}; it is one of {', '.join(choices)}")
    return choices[name]


def _unwrap(value: Mapping[str, Any], name: str) -> Any:
    """What OpenAI's form holds under `name`, beside nothing but a type."""
    if name not in value or not value.keys() <= {"type", name}:
        raise ValueError(f"this has {name!r} and nothing beside it but a type: {value!r}")
    return value[name]


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "messages": lambda messages: [to_message(message) for message in messages],
    "stop": to_stops,
    "logit_bias": to_logit_bias,
    "tools": lambda tools: [to_tool(tool) for tool in tools],
    "tool_choice": to_tool_choice,
    "response_format": to_response_format,
    "reasoning_effort": _to_reasoning_effort,
    "chat_template_kwargs": _to_struct,
    "prediction": to_prediction,
}
