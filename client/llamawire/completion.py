"""Answers as Python reads them. Each wraps its proto, which stays within reach as `.proto`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llamawire.v1 import chat_pb2, usage_pb2
from llamawire.whole_answer import WholeAnswer


class ToolCall:
    """A function call that the model made."""

    __slots__ = ("proto",)

    def __init__(self, proto: chat_pb2.ToolCall) -> None:
        self.proto = proto

    @property
    def id(self) -> str:
        """What `tool(…, tool_call_id=…)` answers."""
        return self.proto.id

    @property
    def name(self) -> str:
        """The function's name."""
        return self.proto.function.name

    @property
    def arguments(self) -> str:
        """The arguments, as JSON."""
        return self.proto.function.arguments

    def parse_arguments(self) -> Any:
        """The arguments, parsed. Raises ValueError where they are not JSON, as when the answer was cut off."""
        return json.loads(self.arguments)

    def __repr__(self) -> str:
        return f"ToolCall(id={self.id!r}, name={self.name!r}, arguments={self.arguments!r})"


class Choice:
    """One answer of several."""

    __slots__ = ("proto",)

    def __init__(self, proto: chat_pb2.Choice) -> None:
        self.proto = proto

    @property
    def index(self) -> int:
        """Its place among the choices, from 0."""
        return self.proto.index

    @property
    def message(self) -> chat_pb2.Message:
        """The whole message, ready to be part of the next request."""
        return self.proto.message

    @property
    def text(self) -> str:
        """The text, without the reasoning."""
        return self.proto.message.content

    @property
    def reasoning(self) -> str:
        """What the model reasoned before it spoke."""
        return self.proto.message.reasoning_content

    @property
    def refusal(self) -> str:
        """Why the model refused to answer."""
        return self.proto.message.refusal

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The functions that are to be called."""
        return [ToolCall(call) for call in self.proto.message.tool_calls]

    @property
    def finish_reason(self) -> str | None:
        """Why it ended: "stop", "length", "tool_calls", "content_filter" …; None while it has not."""
        return finish_reason_name(self.proto.finish_reason)

    @property
    def matched_stop(self) -> str | None:
        """Which of the stop texts ended it; None where none did."""
        return self.proto.matched_stop or None

    @property
    def logprobs(self) -> chat_pb2.Logprobs:
        """The log probabilities of its text's tokens; empty where they were not asked for."""
        return self.proto.logprobs

    def parse(self) -> Any:
        """The text, parsed as JSON: for answers that were asked to follow a schema. Raises ValueError where it is not
        JSON, as when the answer was cut off."""
        return json.loads(self.text)

    def __repr__(self) -> str:
        return f"Choice(index={self.index}, text={self.text!r}, finish_reason={self.finish_reason!r})"


class Completion(WholeAnswer[chat_pb2.ChatCompletion]):
    """A whole answer. What is said of one choice (`text`, `tool_calls`, …) is said of the first."""

    __slots__ = ()

    @property
    def choices(self) -> list[Choice]:
        """The answers, by index."""
        return [Choice(choice) for choice in self.proto.choices]

    @property
    def message(self) -> chat_pb2.Message:
        """The whole message, ready to be part of the next request."""
        return self._first.message

    @property
    def text(self) -> str:
        """The text, without the reasoning."""
        return self._first.text

    @property
    def reasoning(self) -> str:
        """What the model reasoned before it spoke."""
        return self._first.reasoning

    @property
    def refusal(self) -> str:
        """Why the model refused to answer."""
        return self._first.refusal

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The functions that are to be called."""
        return self._first.tool_calls

    @property
    def finish_reason(self) -> str | None:
        """Why it ended: "stop", "length", "tool_calls", "content_filter" …; None while it has not."""
        return self._first.finish_reason

    @property
    def logprobs(self) -> chat_pb2.Logprobs:
        """The log probabilities of its text's tokens; empty where they were not asked for."""
        return self._first.logprobs

    def parse(self) -> Any:
        """The text, parsed as JSON: for answers that were asked to follow a schema. Raises ValueError where it is not
        JSON, as when the answer was cut off."""
        return self._first.parse()

    @property
    def _first(self) -> Choice:
        # Before the first chunk of a stream there is no choice yet; an empty one says so well enough.
        return Choice(self.proto.choices[0] if self.proto.choices else chat_pb2.Choice())

    def __repr__(self) -> str:
        return f"Completion(id={self.id!r}, model={self.model!r}, choices={self.choices!r})"


class Chunk:
    """A piece of a streamed answer. What is said of one choice is said of the choice with index 0."""

    __slots__ = ("proto",)

    def __init__(self, proto: chat_pb2.ChatCompletionChunk) -> None:
        self.proto = proto

    @property
    def text(self) -> str:
        """The new text; "" where there is none."""
        return self._first.delta.content

    @property
    def reasoning(self) -> str:
        """The new reasoning; "" where there is none."""
        return self._first.delta.reasoning_content

    @property
    def refusal(self) -> str:
        """More of why the model refuses; "" where there is none."""
        return self._first.delta.refusal

    @property
    def tool_calls(self) -> Sequence[chat_pb2.ToolCallDelta]:
        """More of the tool calls, by index: id and name on a call's first delta, then arguments to be appended."""
        return self._first.delta.tool_calls

    @property
    def logprobs(self) -> chat_pb2.Logprobs:
        """Those of the new text's tokens; empty where they were not asked for."""
        return self._first.logprobs

    @property
    def finish_reason(self) -> str | None:
        """Why the choice ended; None while it has not."""
        return finish_reason_name(self._first.finish_reason)

    @property
    def choices(self) -> Sequence[chat_pb2.ChunkChoice]:
        """What is new, at most one entry a choice."""
        return self.proto.choices

    @property
    def usage(self) -> usage_pb2.Usage:
        """What the answer has cost in tokens; all zero until the last chunk, but for `continuous_usage`."""
        return self.proto.usage

    @property
    def _first(self) -> chat_pb2.ChunkChoice:
        for choice in self.proto.choices:
            if choice.index == 0:
                return choice
        return chat_pb2.ChunkChoice()

    def __repr__(self) -> str:
        return f"Chunk(text={self.text!r}, finish_reason={self.finish_reason!r})"


def finish_reason_name(value: chat_pb2.FinishReason.ValueType) -> str | None:
    """OpenAI's name of a finish reason; None for an unspecified one. A newer server's is its number."""
    if value == chat_pb2.FINISH_REASON_UNSPECIFIED:
        return None
    if value not in chat_pb2.FinishReason.values():
        return str(value)
    return chat_pb2.FinishReason.Name(value).removeprefix("FINISH_REASON_").lower()
