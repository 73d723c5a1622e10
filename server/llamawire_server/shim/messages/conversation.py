"""Anthropic's messages as those of a chat request."""

from __future__ import annotations

from llamawire.v1 import chat_pb2
from llamawire_server.errors import invalid_field
from llamawire_server.shim.chat.places import Places
from llamawire_server.shim.chat.translate import json_text
from llamawire_server.shim.messages import block_schema as schema
from llamawire_server.shim.messages.request_schema import MessageTurn, System

_ROLES = {
    "user": chat_pb2.ROLE_USER,
    "assistant": chat_pb2.ROLE_ASSISTANT,
    "system": chat_pb2.ROLE_SYSTEM,
}

# Whose turns may have blocks that not all may have.
_SPEAKERS = {
    "thinking": "assistant",
    "redacted_thinking": "assistant",
    "tool_use": "assistant",
    "tool_result": "user",
}


class Conversation:
    """Messages, made of turns one after the other.

    Turns of one speaker that follow each other are one message, as Anthropic's API has it; but each result of a tool,
    which is part of a user's turn there, is a message of its own in chat.
    """

    def __init__(self) -> None:
        self.messages: list[chat_pb2.Message] = []
        self.places = Places()
        # What the fields of the last message are called.
        self._names: dict[str, str] = {}

    def instruct(self, system: System) -> None:
        """Add what a request says to the model beside its messages."""
        message = self._begin(chat_pb2.ROLE_SYSTEM, "system", content="system")
        if isinstance(system, str):
            self._say(message, chat_pb2.ContentPart(text=system), "system")
            return
        for index, block in enumerate(system):
            self._say(message, chat_pb2.ContentPart(text=block.text), f"system[{index}]")

    def take(self, turn: MessageTurn, index: int) -> None:
        """Add a turn. Raises ServiceError (INVALID) where a field of it can't be carried over."""
        path = f"messages[{index}]"
        if isinstance(turn.content, str):
            self._say(self._of(turn, path), chat_pb2.ContentPart(text=turn.content), f"{path}.content")
            return
        if not turn.content:
            self._begin(_ROLES[turn.role], path, content=f"{path}.content")
        for number, block in enumerate(turn.content):
            place = f"{path}.content[{number}]"
            if _SPEAKERS.get(block.type, turn.role) != turn.role:
                raise invalid_field(f"{place}.type", f"no {turn.role}'s message can have a {block.type}")
            self._take(block, turn, path, place)

    def _take(self, block: schema.Block, turn: MessageTurn, path: str, place: str) -> None:
        if isinstance(block, schema.MessageToolResultBlock):
            self._return(block, place)
        elif isinstance(block, schema.MessageToolUseBlock):
            self._call(self._of(turn, path), block, place)
        elif isinstance(block, schema.MessageThinkingBlock):
            message = self._of(turn, path)
            so_far = f"{message.reasoning_content}\n" if message.HasField("reasoning_content") else ""
            message.reasoning_content = so_far + block.thinking
        elif not isinstance(block, schema.MessageRedactedThinkingBlock):
            self._say(self._of(turn, path), _part(block), place)

    def _say(self, message: chat_pb2.Message, part: chat_pb2.ContentPart, place: str) -> None:
        self._names[f"content_parts[{len(message.content_parts)}]"] = place
        message.content_parts.append(part)

    def _call(self, message: chat_pb2.Message, block: schema.MessageToolUseBlock, place: str) -> None:
        field = f"tool_calls[{len(message.tool_calls)}]"
        arguments = json_text(block.input, f"{place}.input")
        function = chat_pb2.FunctionCall(name=block.name, arguments=arguments)
        message.tool_calls.add(id=block.id, type="function", function=function)
        self._names[field] = place
        self._names[f"{field}.id"] = f"{place}.id"
        self._names[f"{field}.function.name"] = f"{place}.name"
        self._names[f"{field}.function.arguments"] = f"{place}.input"

    def _return(self, block: schema.MessageToolResultBlock, place: str) -> None:
        content = f"{place}.content"
        message = self._begin(
            chat_pb2.ROLE_TOOL,
            place,
            tool_call_id=f"{place}.tool_use_id",
            content=content,
            content_parts=content,
        )
        message.tool_call_id = block.tool_use_id
        given = block.content or ""
        if isinstance(given, str):
            message.content = given
        else:
            message.content_parts.extend(map(_part, given))

    def _of(self, turn: MessageTurn, path: str) -> chat_pb2.Message:
        """The message that the turn goes on with: the last one, or a new one."""
        role = _ROLES[turn.role]
        if self.messages and self.messages[-1].role == role:
            return self.messages[-1]
        return self._begin(role, path, content=f"{path}.content")

    def _begin(self, role: chat_pb2.Role.ValueType, place: str, **names: str) -> chat_pb2.Message:
        self._names = self.places.add(place, **names)
        self.messages.append(chat_pb2.Message(role=role))
        return self.messages[-1]


def _part(block: schema.ResultBlock) -> chat_pb2.ContentPart:
    if isinstance(block, schema.MessageTextBlock):
        return chat_pb2.ContentPart(text=block.text)
    source = block.source
    if isinstance(source, schema.MessageImageUrl):
        url = source.url
    else:
        url = f"data:{source.media_type};base64,{source.data}"
    return chat_pb2.ContentPart(image_url=chat_pb2.ImageUrl(url=url))
