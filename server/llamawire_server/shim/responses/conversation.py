"""The items of a Responses request as the messages of a chat request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llamawire.v1 import chat_pb2
from llamawire_server.errors import invalid_field
from llamawire_server.shim.chat.places import Places
from llamawire_server.shim.responses import cut_calls
from llamawire_server.shim.responses import item_schema as schema
from llamawire_server.shim.responses.placed_items import PlacedItem


@dataclass(eq=False)
class _Entry:
    """A message that may still grow, and what answers its calls."""

    message: chat_pb2.Message
    path: str
    """What the caller calls the message."""
    names: dict[str, str] = field(default_factory=dict)
    """What the caller calls its fields, as in `Places`."""
    calls: list[tuple[schema.ResponseFunctionCall, PlacedItem]] = field(default_factory=list)
    """Its calls, each with where it came from."""
    results: list[_Entry] = field(default_factory=list)


class Conversation:
    """Messages, made of items one after the other.

    An assistant's turn is one message in chat, and several items here: what it reasoned, said and called. Outputs of
    functions may come anywhere after their calls; in chat they are right behind the message with these. A call that
    a limit cut has the arguments that there are of it, and is left out where nothing answers it.
    """

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        # The assistant's message that more items may join.
        self._turn: _Entry | None = None
        # By their ids, the messages with calls that have no output so far.
        self._callers: dict[str, _Entry] = {}

    def instruct(self, text: str) -> None:
        """Add the system message that a request has beside its input."""
        self._add(chat_pb2.Message(role=chat_pb2.ROLE_SYSTEM, content=text), "instructions")

    def take(self, placed: PlacedItem) -> None:
        """Add an item. Raises ServiceError (INVALID) where a field of it can't be carried over."""
        item, path = placed.item, placed.path
        if isinstance(item, schema.ResponseReasoning):
            self._reason(item, path)
        elif isinstance(item, schema.ResponseFunctionCall):
            self._call(item, placed)
        elif isinstance(item, schema.ResponseFunctionCallOutput):
            self._return(item, placed)
        elif item.role == "assistant":
            self._say(item, placed)
        else:
            message = chat_pb2.Message(role=chat_pb2.Role.Value(f"ROLE_{item.role.upper()}"))
            _set_content(message, item.content, f"{path}.content")
            self._add(message, path).names.update(placed.names(role="role", **_CONTENT))

    def finish(self) -> tuple[list[chat_pb2.Message], Places]:
        """The messages, and where they came from. Nothing can be added any more."""
        messages, places = [], Places()
        for entry in self._entries:
            _write_calls(entry)
            for each in (entry, *entry.results):
                messages.append(each.message)
                places.add(each.path).update(each.names)
        return messages, places

    def _reason(self, item: schema.ResponseReasoning, path: str) -> None:
        text = _reasoning(item)
        if not text:
            return
        turn = self._turn or self._begin_turn(path)
        if _has_text(turn.message) and not turn.calls:
            # It belongs to what comes next. After calls it belongs to them: they can't be left without answers.
            turn = self._begin_turn(path)
        message = turn.message
        so_far = f"{message.reasoning_content}\n" if message.HasField("reasoning_content") else ""
        message.reasoning_content = so_far + text
        turn.names["reasoning_content"] = path

    def _say(self, item: schema.ResponseMessage, placed: PlacedItem) -> None:
        turn = self._turn or self._begin_turn(placed.path)
        if _has_text(turn.message):
            turn = self._begin_turn(placed.path)
        _set_content(turn.message, item.content, f"{placed.path}.content")
        turn.names.update(placed.names(**_CONTENT))

    def _call(self, item: schema.ResponseFunctionCall, placed: PlacedItem) -> None:
        turn = self._turn or self._begin_turn(placed.path)
        turn.calls.append((item, placed))
        self._callers[item.call_id] = turn

    def _return(self, item: schema.ResponseFunctionCallOutput, placed: PlacedItem) -> None:
        message = chat_pb2.Message(role=chat_pb2.ROLE_TOOL, tool_call_id=item.call_id)
        _set_content(message, item.output, f"{placed.path}.output")
        caller = self._callers.pop(item.call_id, None)
        entry = self._add(message, placed.path, self._entries if caller is None else caller.results)
        entry.names.update(placed.names(tool_call_id="call_id", content="output", content_parts="output"))

    def _begin_turn(self, path: str) -> _Entry:
        self._turn = self._add(chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT), path)
        return self._turn

    def _add(self, message: chat_pb2.Message, path: str, entries: list[_Entry] | None = None) -> _Entry:
        """Add a message. entries: those behind which it goes, where not behind all."""
        self._turn = None
        entry = _Entry(message, path)
        (self._entries if entries is None else entries).append(entry)
        return entry


def _write_calls(entry: _Entry) -> None:
    """Write the calls into their message, but for those that were cut and that nothing answers."""
    answered = {result.message.tool_call_id for result in entry.results}
    for call, placed in entry.calls:
        if cut_calls.is_cut(call) and call.call_id not in answered:
            continue
        place = f"tool_calls[{len(entry.message.tool_calls)}]"
        function = chat_pb2.FunctionCall(name=call.name, arguments=cut_calls.arguments_of(call))
        entry.message.tool_calls.add(id=call.call_id, type="function", function=function)
        fields = {"": "", ".id": "call_id", ".function.name": "name", ".function.arguments": "arguments"}
        entry.names.update(placed.names(**{place + field: name for field, name in fields.items()}))
    if entry.calls and not entry.message.tool_calls and not _has_text(entry.message):
        # Chat templates that want user and assistant to take turns see that it had its turn.
        entry.message.content = ""


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
