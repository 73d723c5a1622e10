"""OpenAI's older function calling, in terms of tools.

A message made at most one call, which had no id, and the answer to it named the function instead.
"""

from __future__ import annotations

from collections.abc import Sequence

from llamawire.v1 import chat_pb2
from llamawire_server.errors import FieldViolation, invalid_field, unsupported
from llamawire_server.shim.chat.request_schema import ChatCompletionRequest, FunctionName, Message


def uses_functions(request: ChatCompletionRequest) -> bool:
    """Whether the request is in the older form, so that its answer must be too."""
    return request.functions is not None


def check_one_form(request: ChatCompletionRequest) -> None:
    """Raises ServiceError where the older and the newer form are mixed."""
    if request.functions is not None and request.tools is not None:
        raise invalid_field("functions", "can't be combined with tools")
    if request.function_call is not None and request.tool_choice is not None:
        raise invalid_field("function_call", "can't be combined with tool_choice")
    if request.functions is not None and request.parallel_tool_calls:
        raise unsupported([FieldViolation("parallel_tool_calls", "needs tools in place of functions")])


def tool_choice(choice: str | FunctionName) -> chat_pb2.ToolChoice:
    """`function_call` as a `tool_choice`."""
    if isinstance(choice, FunctionName):
        return chat_pb2.ToolChoice(function_name=choice.name)
    return chat_pb2.ToolChoice(mode=chat_pb2.ToolChoice.Mode.Value(f"MODE_{choice.upper()}"))


def call_id(index: int) -> str:
    """The id given to the call that message number `index` made."""
    return f"function_call_{index}"


def answered_call_ids(messages: Sequence[Message]) -> dict[int, str]:
    """For each message of role "function", by its number, the id of the call that it answers: the last one of it.

    Raises ServiceError (INVALID) where no earlier message calls that function.
    """
    last_calls: dict[str | None, str] = {}
    answered = {}
    for index, message in enumerate(messages):
        if message.role == "function":
            if message.name not in last_calls:
                raise invalid_field(f"messages[{index}].name", "no earlier message calls this function")
            answered[index] = last_calls[message.name]
        if message.function_call is not None:
            last_calls[message.function_call.name] = call_id(index)
    return answered
