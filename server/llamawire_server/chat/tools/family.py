"""What the families have in common."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llamawire_server.chat.tools.call_stream import CallStream, Reading
from llamawire_server.chat.tools.conversation import (
    Messages,
    add_instructions,
    arguments_object,
    arguments_text,
    copied,
    one_call_each,
    results_as_user,
    with_functions,
)
from llamawire_server.chat.tools.lark import LarkWriter
from llamawire_server.chat.tools.template_traits import TemplateTraits
from llamawire_server.chat.tools.tool_format import CallParser, Choice, Message, Named, SpecialToken, Tool


class Family(ABC):
    """A `ToolFormat`, of a family whose models were trained on one way of writing calls.

    What the model's own template can't do (see `TemplateTraits`) is done in its place, in the family's words.
    """

    name: str
    markers: tuple[str, ...] = ()
    item_separator = ", "
    key_separator = ": "
    """Regular expressions of what stands between JSON's parts in calls that the models were trained on."""

    def __init__(self, traits: TemplateTraits | None = None) -> None:
        self.traits = traits or TemplateTraits()

    def parser(
        self, tools: Sequence[Tool], next_id: Callable[[], str], *, is_either: bool = False
    ) -> CallParser:
        """For one answer; see `ToolFormat`."""
        return CallStream(tools, next_id, self.read, is_either=is_either)

    def lark(self, tools: Sequence[Tool], choice: Choice, parallel: bool, is_special: SpecialToken) -> str:
        """The whole answer after the reasoning; see `ToolFormat`."""
        lark = LarkWriter(is_special, item_separator=self.item_separator, key_separator=self.key_separator)
        if isinstance(choice, Named):
            tools = [tool for tool in tools if tool.name == choice.name]
            if not tools:
                raise ValueError(f"no tool is named {choice.name!r}")
        if choice == "none" or not tools:
            lark.rule("start", lark.text())
        else:
            self.write_grammar(lark, tools, is_required=choice != "auto", is_parallel=parallel)
        return str(lark)

    def prepare(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[Messages, list[dict[str, Any]]]:
        """What the template gets; see `ToolFormat`."""
        prepared = self.arrange(copied(messages))
        if not self.traits.shows_several_calls:
            prepared = one_call_each(prepared)
        prepared = [self._call_message(message) for message in prepared]
        if not self.traits.shows_results:
            prepared = self.place_results(prepared)
        if tools and not self.traits.shows_tools:
            functions = [dict(tool["function"]) for tool in tools]
            told = add_instructions(
                prepared, self.instructions(functions), takes_system=self.traits.takes_system
            )
            return told, []
        return prepared, [_completed(tool) for tool in tools]

    @abstractmethod
    def read(self, stream: CallStream) -> Reading[None]:
        """Tell an answer's calls from its content."""

    @abstractmethod
    def write_grammar(
        self, lark: LarkWriter, tools: Sequence[Tool], *, is_required: bool, is_parallel: bool
    ) -> None:
        """Write the rule `start`, for at least one tool: calls only, or any text and then calls, if any.

        is_parallel: whether several calls may be made.
        """

    @abstractmethod
    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """Calls as the model writes them, of names and JSON texts of arguments."""

    def instructions(self, functions: Sequence[Mapping[str, Any]]) -> str:
        """What a model is told of tools whose template does not describe them."""
        example = self.write_calls([("name-of-the-function", '{"name-of-the-argument": "value"}')])
        described = "\n".join(json.dumps(function, ensure_ascii=False) for function in functions)
        return (
            "# Tools\n\nYou may call one or more functions to assist with the user's request. These are the "
            f"functions, each with its arguments as a JSON schema:\n<tools>\n{described}\n</tools>\n\n"
            f"To call a function, write its name and its arguments like this:\n{example}\n"
            "Call functions only when they are needed. Their results are given to you afterwards."
        )

    def place_results(self, messages: Messages) -> Messages:
        """The conversation without messages of the role `tool`, for templates that don't know it."""
        return results_as_user(messages)

    def arrange(self, messages: Messages) -> Messages:
        """The conversation in an order and with ids that the family's templates take."""
        return messages

    def _call_message(self, message: dict[str, Any]) -> dict[str, Any]:
        """An assistant's message with calls, as the template takes it."""
        if "tool_calls" not in message:
            return message
        if not self.traits.shows_calls:
            functions = [arguments_text(dict(call["function"])) for call in message["tool_calls"]]
            text = self.write_calls([(function["name"], function["arguments"]) for function in functions])
            content = message.get("content")
            written = {**message, "content": f"{content}\n{text}" if content else text}
            del written["tool_calls"]
            return written
        message = with_functions(
            message, arguments_text if self.traits.takes_text_arguments else arguments_object
        )
        return {**message, "content": message.get("content") or self.traits.empty_content}


def _completed(tool: Mapping[str, Any]) -> dict[str, Any]:
    """With what templates read of every function, whether it is there or not."""
    function = dict(tool["function"])
    function.setdefault("description", "")
    if not function.get("parameters"):
        function["parameters"] = {"type": "object", "properties": {}}
    return {**tool, "type": "function", "function": function}


def call_objects(calls: Sequence[tuple[str, str]], key: str = "arguments") -> list[str]:
    """Each call as a JSON object, spaced as Python's json does it."""
    return [f'{{"name": {json.dumps(name)}, "{key}": {arguments}}}' for name, arguments in calls]
