"""The items of a Responses request as the messages of a chat request."""

from __future__ import annotations

from collections.abc import Sequence

from llamawire.v1 import chat_pb2
from llamawire_server.errors import invalid_field
from llamawire_server.shim.chat.places import Places
from llamawire_server.shim.responses import item_schema as schema

# What the fields of earlier responses' items are called by: the request itself does not have these items.
_HISTORY = "previous_response_id"


class Conversation:
    """Messages, made of items one after the other.

    An assistant's turn is one message in chat, and several items here: what it reasoned, said and called.
    """

    def __init__(self) -> None:
        self.messages: list[chat_pb2.Message] = []
        self.places = Places()
        # The assistant's message that more items may join, and the names of its fields.
        self._turn: tuple[chat_pb2.Message, dict[str, str]] | None = None

    def instruct(self, text: str) -> None:
        """Add the system message that a request has beside its input."""
        self._add(chat_pb2.Message(role=chat_pb2.ROLE_SYSTEM, content=text), "instructions")

    def ask(self, text: str) -> None:
        """Add an input that is nothing but a user's text."""
        self._add(chat_pb2.Message(role=chat_pb2.ROLE_USER, content=text), "input")

    def remember(self, item: schema.ResponseItem) -> None:
        """Add an item of an earlier response."""
        self._take(item, _HISTORY)

    def take(self, item: schema.ResponseItem, index: int) -> None:
        """Add an item of the input. Raises ServiceError (INVALID) where a field of it can't be carried over."""
        self._take(item, f"input[{index}]")

    def _take(self, item: schema.ResponseItem, path: str) -> None:
        if isinstance(item, schema.ResponseReasoning):
            self._reason(item, path)
        elif isinstance(item, schema.ResponseFunctionCall):
            self._call(item, path)
        elif isinstance(item, schema.ResponseFunctionCallOutput):
            self._return(item, path)
        elif item.role == "assistant":
            self._say(item, path)
        else:
            message = chat_pb2.Message(role=chat_pb2.Role.Value(f"ROLE_{item.role.upper()}"))
            _set_content(message, item.content, f"{path}.content")
            self._name(self._add(message, path), path, role="role", **_CONTENT)

    def _reason(self, item: schema.ResponseReasoning, path: str) -> None:
        text = _reasoning(item)
        if not text:
            return
        message, names = self._turn or self._begin_turn(path)
        if _has_text(message) and not message.tool_calls:
            # It belongs to what comes next. After calls it belongs to them: they can't be left without answers.
            message, names = self._begin_turn(path)
        so_far = f"{message.reasoning_content}\n" if message.HasField("reasoning_content") else ""
        message.reasoning_content = so_far + text
        names["reasoning_content"] = path

    def _say(self, item: schema.ResponseMessage, path: str) -> None:
        message, names = self._turn or self._begin_turn(path)
        if _has_text(message):
            message, names = self._begin_turn(path)
        _set_content(message, item.content, f"{path}.content")
        self._name(names, path, **_CONTENT)

    def _call(self, item: schema.ResponseFunctionCall, path: str) -> None:
        message, names = self._turn or self._begin_turn(path)
        field = f"tool_calls[{len(message.tool_calls)}]"
        function = chat_pb2.FunctionCall(name=item.name, arguments=item.arguments)
        message.tool_calls.add(id=item.call_id, type="function", function=function)
        self._name(
            names,
            path,
            **{
                field: "",
                f"{field}.id": "call_id",
                f"{field}.function.name": "name",
                f"{field}.function.arguments": "arguments",
            },
        )

    def _return(self, item: schema.ResponseFunctionCallOutput, path: str) -> None:
        message = chat_pb2.Message(role=chat_pb2.ROLE_TOOL, tool_call_id=item.call_id)
        _set_content(message, item.output, f"{path}.output")
        names = self._add(message, path)
        self._name(names, path, tool_call_id="call_id", content="output", content_parts="output")

    def _begin_turn(self, path: str) -> tuple[chat_pb2.Message, dict[str, str]]:
        message = chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT)
        names = self._add(message, path)
        self._turn = message, names
        return self._turn

    def _add(self, message: chat_pb2.Message, path: str) -> dict[str, str]:
        self._turn = None
        self.messages.append(message)
        return self.places.add(path)

    def _name(self, names: dict[str, str], path: str, **fields: str) -> None:
        """Note what the caller calls fields of a message: the item's, or its own fields."""
        if path != _HISTORY:
            names.update({field: f"{path}.{name}" if name else path for field, name in fields.items()})


_CONTENT = {"content": "content", "content_parts": "content"}


def _has_text(message: chat_pb2.Message) -> bool:
    return message.HasField("content") or bool(message.content_parts)


def _reasoning(item: schema.ResponseReasoning) -> str:
    return "\n".join(part.text for part in item.content or item.summary or ())


def _set_content(message: chat_pb2.Message, content: str | Sequence[schema.MessagePart], path: str) -> None:
    if isinstance(content, str):
        message.content = content
    else:
        message.content_parts.extend(_part(part, f"{path}[{index}]") for index, part in enumerate(content))


def _part(part: schema.MessagePart, path: str) -> chat_pb2.ContentPart:
    if isinstance(part, schema.ResponseRefusal):
        return chat_pb2.ContentPart(refusal=part.refusal)
    if not isinstance(part, schema.ResponseInputImage):
        return chat_pb2.ContentPart(text=part.text)
    if part.image_url is None:
        raise invalid_field(f"{path}.image_url", "is required")
    return chat_pb2.ContentPart(image_url=chat_pb2.ImageUrl(url=part.image_url, detail=part.detail or ""))
