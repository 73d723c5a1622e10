"""A chat request as a worker takes it."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any, Literal, TypeAlias

import msgspec
from google.protobuf import json_format

from llamawire.v1 import chat_pb2, completion_pb2
from llamawire_server.chat.grammar import Grammar
from llamawire_server.config import SamplingDefaults
from llamawire_server.engine.sequence import SamplingParameters
from llamawire_server.worker.messages import ChatPrompt, Generate

MAX_ARGUMENTS_DEPTH = 64

# Chat templates know no developer; it is the newer name of the same thing.
ROLE_NAMES = {
    chat_pb2.ROLE_SYSTEM: "system",
    chat_pb2.ROLE_DEVELOPER: "system",
    chat_pb2.ROLE_USER: "user",
    chat_pb2.ROLE_ASSISTANT: "assistant",
    chat_pb2.ROLE_TOOL: "tool",
}
EFFORT_NAMES = {
    chat_pb2.REASONING_EFFORT_NONE: "none",
    chat_pb2.REASONING_EFFORT_MINIMAL: "minimal",
    chat_pb2.REASONING_EFFORT_LOW: "low",
    chat_pb2.REASONING_EFFORT_MEDIUM: "medium",
    chat_pb2.REASONING_EFFORT_HIGH: "high",
}
TOOL_CHOICES = {
    chat_pb2.ToolChoice.MODE_NONE: "none",
    chat_pb2.ToolChoice.MODE_AUTO: "auto",
    chat_pb2.ToolChoice.MODE_REQUIRED: "required",
}
SYNTAXES: dict[int, Literal["gbnf", "lark", "regex"]] = {
    chat_pb2.GrammarFormat.SYNTAX_UNSPECIFIED: "gbnf",
    chat_pb2.GrammarFormat.SYNTAX_GBNF: "gbnf",
    chat_pb2.GrammarFormat.SYNTAX_LARK: "lark",
    chat_pb2.GrammarFormat.SYNTAX_REGEX: "regex",
}
# Templates look into the schema of a function's parameters, and a function without any takes none.
NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


SamplingRequest: TypeAlias = "chat_pb2.ChatCompletionRequest | completion_pb2.CompletionRequest"
"""What says how a model is to go on."""


def build_generate(
    request: chat_pb2.ChatCompletionRequest,
    request_id: int,
    defaults: SamplingDefaults,
    deadline: float | None = None,
) -> Generate:
    """The request with every absent field at the model's default. deadline: the caller's, by time.monotonic."""

    def given(name: Any, default: float) -> Any:
        return getattr(request, name) if request.HasField(name) else default

    return Generate(
        request_id=request_id,
        arrived=time.monotonic(),
        arrived_at=time.time(),
        prompt=build_prompt(request),
        sampling=build_sampling(request, defaults),
        max_tokens=given("max_tokens", defaults.max_tokens),
        is_max_tokens_explicit=request.HasField("max_tokens"),
        num_choices=given("n", 1),
        stops=list(request.stop),
        stop_token_ids=list(request.stop_token_ids),
        priority=request.priority,
        deadline=deadline,
        prediction=request.prediction.content,
        tool_choice=tool_choice(request),
        parallel_tool_calls=given("parallel_tool_calls", True),
        grammar=build_grammar(request.response_format),
        num_top_logprobs=request.top_logprobs if request.logprobs else None,
        reasoning_budget=_reasoning_budget(request),
        counts_tokens=request.continuous_usage,
    )


def build_sampling(request: SamplingRequest, defaults: SamplingDefaults) -> SamplingParameters:
    """How the request's tokens are chosen. Where it has no seed, there is a new one each time."""

    def given(name: Any, default: float) -> Any:
        return getattr(request, name) if request.HasField(name) else default

    return SamplingParameters(
        temperature=given("temperature", defaults.temperature),
        top_p=given("top_p", defaults.top_p),
        top_k=given("top_k", defaults.top_k),
        min_p=given("min_p", defaults.min_p),
        frequency_penalty=given("frequency_penalty", defaults.frequency_penalty),
        presence_penalty=given("presence_penalty", defaults.presence_penalty),
        repeat_penalty=given("repeat_penalty", defaults.repeat_penalty),
        seed=given("seed", secrets.randbits(31)),
        logit_bias=dict(request.logit_bias),
    )


def build_prompt(request: chat_pb2.ChatCompletionRequest) -> ChatPrompt:
    """What of the request shapes the prompt."""
    variables = _integers(json_format.MessageToDict(request.chat_template_kwargs))
    if request.reasoning_effort in EFFORT_NAMES:
        variables["reasoning_effort"] = EFFORT_NAMES[request.reasoning_effort]
    if request.HasField("reasoning_budget"):
        # Some models were trained to keep to one (Seed-OSS).
        variables.setdefault("thinking_budget", request.reasoning_budget)
    if request.reasoning_effort == chat_pb2.REASONING_EFFORT_NONE:
        # What most templates go by that can do without.
        variables.setdefault("enable_thinking", False)
    # What may not be called would only tempt the model.
    tools = [_tool(tool.function) for tool in request.tools] if tool_choice(request) != "none" else []
    return ChatPrompt(template_messages(request), tools, variables)


def template_messages(request: chat_pb2.ChatCompletionRequest) -> list[dict[str, Any]]:
    """The conversation as Hugging Face's chat templates expect it."""
    return [_message(message) for message in request.messages]


def tool_choice(request: chat_pb2.ChatCompletionRequest) -> str:
    """Whether and which function is to be called: "none", "auto", "required" or "function:NAME"."""
    choice = request.tool_choice
    if choice.function_name:
        return f"function:{choice.function_name}"
    return TOOL_CHOICES.get(choice.mode, "auto") if request.tools else "none"


def _tool(function: chat_pb2.FunctionDefinition) -> dict[str, Any]:
    described: dict[str, Any] = {"name": function.name}
    if function.description:
        described["description"] = function.description
    described["parameters"] = json.loads(function.parameters) if function.parameters else NO_PARAMETERS
    return {"type": "function", "function": described}


def build_grammar(wanted: chat_pb2.ResponseFormat) -> Grammar | None:
    """What a text must follow; None: it may be any."""
    kind = wanted.WhichOneof("format")
    if kind == "json_object":
        return Grammar("json_object")
    if kind == "json_schema":
        return Grammar("json_schema", wanted.json_schema.schema)
    if kind == "grammar":
        return Grammar(SYNTAXES[wanted.grammar.syntax], wanted.grammar.grammar)
    return None


def _reasoning_budget(request: chat_pb2.ChatCompletionRequest) -> int | None:
    if request.HasField("reasoning_budget"):
        return request.reasoning_budget
    return 0 if request.reasoning_effort == chat_pb2.REASONING_EFFORT_NONE else None


def _message(message: chat_pb2.Message) -> dict[str, Any]:
    """A message as Hugging Face's chat templates expect it."""
    content = message.content
    if message.content_parts:
        content = "\n".join(part.text or part.refusal for part in message.content_parts)
    elif message.HasField("refusal") and not content:
        content = message.refusal
    result: dict[str, Any] = {"role": ROLE_NAMES[message.role], "content": content}
    if message.name:
        result["name"] = message.name
    if message.tool_call_id:
        result["tool_call_id"] = message.tool_call_id
    if message.HasField("reasoning_content"):
        result["reasoning_content"] = message.reasoning_content
    if message.tool_calls:
        result["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": _arguments(call.function.arguments)},
            }
            for call in message.tool_calls
        ]
    return result


def _arguments(text: str) -> Any:
    """Templates write arguments out as JSON themselves; those that are no JSON stay as they came.

    So do those that JSON can say and a message to the worker can't: numbers of more than 64 bits, half a surrogate
    pair, nesting without end.
    """
    try:
        arguments = json.loads(text)
        msgspec.msgpack.encode(arguments)
    except (ValueError, OverflowError, RecursionError):
        return text
    return arguments if _is_shallow(arguments, MAX_ARGUMENTS_DEPTH) else text


def _is_shallow(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    entries = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_shallow(entry, depth - 1) for entry in entries)


def _integers(value: Any) -> Any:
    """google.protobuf.Struct has doubles only; templates compare with whole numbers.

    A double beyond 2^53 is no count of anything, and as an integer it might have hundreds of digits.
    """
    if isinstance(value, dict):
        return {key: _integers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_integers(entry) for entry in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    return value
