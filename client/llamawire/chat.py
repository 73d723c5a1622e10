"""Messages of a conversation: a builder a role, and what may stand in for a message.

messages=[system("Answer in one sentence."), user("Why is the sky blue?")]
messages=[user("What is this?", image("https://example.com/cat.png"))]
messages=[("user", "Why is the sky blue?")]
messages=[{"role": "user", "content": "Why is the sky blue?"}]
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from llamawire.v1 import chat_pb2

Part: TypeAlias = "str | chat_pb2.ContentPart"
MessageLike: TypeAlias = "chat_pb2.Message | tuple[str, str] | Mapping[str, Any]"

_ROLES = {
    "system": chat_pb2.ROLE_SYSTEM,
    "developer": chat_pb2.ROLE_DEVELOPER,
    "user": chat_pb2.ROLE_USER,
    "assistant": chat_pb2.ROLE_ASSISTANT,
    "tool": chat_pb2.ROLE_TOOL,
}


def system(*content: Part, name: str = "") -> chat_pb2.Message:
    """Instructions to the model."""
    return _message(chat_pb2.ROLE_SYSTEM, content, name=name)


def developer(*content: Part, name: str = "") -> chat_pb2.Message:
    """Instructions to the model, under OpenAI's newer name."""
    return _message(chat_pb2.ROLE_DEVELOPER, content, name=name)


def user(*content: Part, name: str = "") -> chat_pb2.Message:
    """What a person or a program asks: a text, or several parts in order."""
    return _message(chat_pb2.ROLE_USER, content, name=name)


def assistant(
    *content: Part,
    name: str = "",
    tool_calls: Iterable[chat_pb2.ToolCall] = (),
    reasoning: str | None = None,
    refusal: str | None = None,
) -> chat_pb2.Message:
    """What the model said earlier. An answer goes back as it came: `completion.message`."""
    return _message(
        chat_pb2.ROLE_ASSISTANT,
        content,
        name=name,
        tool_calls=tool_calls,
        reasoning_content=reasoning,
        refusal=refusal,
    )


def tool(*content: Part, tool_call_id: str, name: str = "") -> chat_pb2.Message:
    """What a tool call gave."""
    return _message(chat_pb2.ROLE_TOOL, content, tool_call_id=tool_call_id, name=name)


def text(content: str) -> chat_pb2.ContentPart:
    """A text, as one part of a message."""
    return chat_pb2.ContentPart(text=content)


def image(url: str, *, detail: str = "") -> chat_pb2.ContentPart:
    """A picture, by a data: or https: URL. `detail` is "auto", "low" or "high"."""
    return chat_pb2.ContentPart(image_url=chat_pb2.ImageUrl(url=url, detail=detail))


def audio(data: bytes, *, audio_format: str) -> chat_pb2.ContentPart:
    """A sound. `audio_format` is "wav" or "mp3"."""
    return chat_pb2.ContentPart(input_audio=chat_pb2.InputAudio(data=data, format=audio_format))


def to_message(value: MessageLike) -> chat_pb2.Message:
    """The message that a proto, a (role, text) pair or a mapping in OpenAI's form stands for.

    Raises ValueError for an unknown role, key or part, and TypeError for any other kind of value.
    """
    if isinstance(value, chat_pb2.Message):
        return value
    if isinstance(value, Mapping):
        return _message_from_mapping(value)
    if isinstance(value, tuple):
        role, text_content = value
        return _message(_role(role), (text_content,))
    raise TypeError(f"not a message: {value!r}; give a Message, a (role, text) pair or a mapping")


def given(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping without its nulls, which in OpenAI's form mean the same as absence.

    A proto's constructor takes it as keywords, and raises ValueError for a key that is no field.
    """
    return {key: value for key, value in mapping.items() if value is not None}


def _message(role: chat_pb2.Role.ValueType, content: tuple[Part, ...], **fields: Any) -> chat_pb2.Message:
    """A single text becomes `content`, anything else `content_parts`; no parts at all leave both absent."""
    if len(content) == 1 and isinstance(content[0], str):
        return chat_pb2.Message(role=role, content=content[0], **fields)
    parts = [text(part) if isinstance(part, str) else part for part in content]
    return chat_pb2.Message(role=role, content_parts=parts, **fields)


def _message_from_mapping(value: Mapping[str, Any]) -> chat_pb2.Message:
    fields = given(value)
    role = _role(fields.pop("role", None))
    content = fields.pop("content", ())
    fields["tool_calls"] = [_tool_call(call) for call in fields.get("tool_calls", ())]
    return _message(role, (content,) if isinstance(content, str) else tuple(map(_part, content)), **fields)


def _role(name: object) -> chat_pb2.Role.ValueType:
    role = _ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        raise ValueError(f"{name!r} is not a role; the roles are {', '.join(_ROLES)}")
    return role


def _tool_call(value: chat_pb2.ToolCall | Mapping[str, Any]) -> chat_pb2.ToolCall:
    return value if isinstance(value, chat_pb2.ToolCall) else chat_pb2.ToolCall(**given(value))


def _part(value: chat_pb2.ContentPart | Mapping[str, Any]) -> chat_pb2.ContentPart:
    """A part in OpenAI's form names its type, and holds its content under that name."""
    if isinstance(value, chat_pb2.ContentPart):
        return value
    fields = given(value)
    kind = fields.pop("type", None)
    if kind not in fields:
        raise ValueError(f"a part of type {kind!r} has its content under that name: {value!r}")
    if kind == "input_audio":
        sound = fields[kind]
        fields[kind] = {**sound, "data": base64.b64decode(sound["data"], validate=True)}
    return chat_pb2.ContentPart(**fields)
