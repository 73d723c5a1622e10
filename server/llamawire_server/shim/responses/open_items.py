"""The items of a streamed response while they are written: each knows the events that it is made of."""

from __future__ import annotations

from typing import Protocol

from llamawire.v1 import chat_pb2
from llamawire_server.shim.http.event_text import named_event
from llamawire_server.shim.http.response_types import Json
from llamawire_server.shim.responses import items


class EventWriter:
    """Collects events, numbered one after the other."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._num_written = 0

    def write(self, event_type: str, **fields: object) -> None:
        """Add an event."""
        event = {"type": event_type, **fields, "sequence_number": self._num_written}
        self._written.append(named_event(event_type, event))
        self._num_written += 1

    def take(self) -> bytes:
        """The events that were added since the last time."""
        written = b"".join(self._written)
        self._written.clear()
        return written


class OpenItem(Protocol):
    """An item that more may come of."""

    def close(self, status: str) -> Json:
        """Write the events of its end; gives the whole item. status: "completed", or "incomplete" where it is cut."""
        ...

    def so_far(self) -> Json:
        """What there is of it, as an incomplete item."""
        ...


class OpenReasoning:
    """What the model is reasoning."""

    def __init__(self, writer: EventWriter, index: int) -> None:
        """index: its place in the output."""
        self._writer = writer
        self._id = items.new_id("reasoning")
        self._item = {"item_id": self._id, "output_index": index}
        self._part = {**self._item, "content_index": 0}
        self._index = index
        self._text: list[str] = []
        item = items.reasoning(self._id, None, "in_progress")
        writer.write("response.output_item.added", output_index=index, item=item)
        writer.write("response.content_part.added", **self._part, part=items.reasoning_text(""))

    def add(self, text: str) -> None:
        """Write more of it."""
        self._text.append(text)
        self._writer.write("response.reasoning_text.delta", **self._part, delta=text)

    def so_far(self) -> Json:
        return items.reasoning(self._id, "".join(self._text), "incomplete")

    def close(self, status: str) -> Json:
        text = "".join(self._text)
        item = items.reasoning(self._id, text, status)
        self._writer.write("response.reasoning_text.done", **self._part, text=text)
        self._writer.write("response.content_part.done", **self._part, part=items.reasoning_text(text))
        self._writer.write("response.output_item.done", output_index=self._index, item=item)
        return item


class OpenMessage:
    """What the model is saying: texts and refusals, one part after the other."""

    def __init__(self, writer: EventWriter, index: int) -> None:
        """index: its place in the output."""
        self._writer = writer
        self._id = items.new_id("message")
        self._index = index
        self._parts: list[Json] = []
        # Of the part that is open.
        self._kind = ""
        self._text: list[str] = []
        self._logprobs: list[Json] = []
        item = items.message(self._id, [], "in_progress")
        writer.write("response.output_item.added", output_index=index, item=item)

    def add_text(self, text: str, logprobs: chat_pb2.Logprobs) -> None:
        """Write more text. logprobs: of tokens whose text came with it or before it."""
        self._open("output_text")
        tokens = items.token_logprobs(logprobs) if logprobs.content else []
        self._text.append(text)
        self._logprobs += tokens
        self._writer.write("response.output_text.delta", **self._place(), delta=text, logprobs=tokens)

    def add_refusal(self, text: str) -> None:
        """Write more of a refusal."""
        self._open("refusal")
        self._text.append(text)
        self._writer.write("response.refusal.delta", **self._place(), delta=text)

    def so_far(self) -> Json:
        parts = [*self._parts, self._part()] if self._kind else self._parts
        return items.message(self._id, parts, "incomplete")

    def close(self, status: str) -> Json:
        self._open(self._kind or "output_text")
        self._close_part()
        item = items.message(self._id, self._parts, status)
        self._writer.write("response.output_item.done", output_index=self._index, item=item)
        return item

    def _open(self, kind: str) -> None:
        """Go on with a part of this kind."""
        if kind == self._kind:
            return
        if self._kind:
            self._close_part()
        self._kind = kind
        self._writer.write("response.content_part.added", **self._place(), part=self._part())

    def _close_part(self) -> None:
        part = self._part()
        if self._kind == "refusal":
            self._writer.write("response.refusal.done", **self._place(), refusal=part["refusal"])
        else:
            done = {"text": part["text"], "logprobs": part["logprobs"]}
            self._writer.write("response.output_text.done", **self._place(), **done)
        self._writer.write("response.content_part.done", **self._place(), part=part)
        self._parts.append(part)
        self._kind, self._text, self._logprobs = "", [], []

    def _part(self) -> Json:
        text = "".join(self._text)
        return items.refusal(text) if self._kind == "refusal" else items.text(text, self._logprobs)

    def _place(self) -> Json:
        return {"item_id": self._id, "output_index": self._index, "content_index": len(self._parts)}


class OpenCall:
    """A call that the model is making."""

    def __init__(self, writer: EventWriter, index: int, call: chat_pb2.ToolCallDelta) -> None:
        """index: its place in the output. call: its first delta, of which the arguments are still to be added."""
        self._writer = writer
        self._id = items.new_id("function_call")
        self._call_id, self._name = call.id, call.function.name
        self._index = index
        self._arguments: list[str] = []
        writer.write("response.output_item.added", output_index=index, item=self._item("in_progress"))

    def add(self, arguments: str) -> None:
        """Write more of its arguments."""
        if not arguments:
            return
        self._arguments.append(arguments)
        place = {"item_id": self._id, "output_index": self._index}
        self._writer.write("response.function_call_arguments.delta", **place, delta=arguments)

    def so_far(self) -> Json:
        return self._item("incomplete")

    def close(self, status: str) -> Json:
        item = self._item(status)
        done = {"name": self._name, "arguments": item["arguments"]}
        place = {"item_id": self._id, "output_index": self._index}
        self._writer.write("response.function_call_arguments.done", **place, **done)
        self._writer.write("response.output_item.done", output_index=self._index, item=item)
        return item

    def _item(self, status: str) -> Json:
        return items.function_call(self._id, self._call_id, self._name, "".join(self._arguments), status)
