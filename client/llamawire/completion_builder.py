"""Adds the chunks of a stream up to the whole answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from llamawire.v1 import chat_pb2

_HEAD_FIELDS = ("id", "created", "model", "system_fingerprint", "service_tier")
_TEXT_FIELDS = ("content", "reasoning_content", "refusal")


@dataclass
class _ToolCallParts:
    id: str = ""
    type: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def add(self, delta: chat_pb2.ToolCallDelta) -> None:
        # Only arguments come in pieces; servers that repeat the rest mean the same by it.
        self.id = self.id or delta.id
        self.type = self.type or delta.type
        self.name = self.name or delta.function.name
        self.arguments.append(delta.function.arguments)

    def build(self) -> chat_pb2.ToolCall:
        function = chat_pb2.FunctionCall(name=self.name, arguments="".join(self.arguments))
        return chat_pb2.ToolCall(id=self.id, type=self.type, function=function)


@dataclass
class _ChoiceParts:
    index: int
    role: chat_pb2.Role.ValueType = chat_pb2.ROLE_UNSPECIFIED
    texts: dict[str, list[str]] = field(default_factory=dict)
    tool_calls: dict[int, _ToolCallParts] = field(default_factory=dict)
    logprobs: chat_pb2.Logprobs | None = None
    finish_reason: chat_pb2.FinishReason.ValueType = chat_pb2.FINISH_REASON_UNSPECIFIED
    matched_stop: str = ""

    def add(self, choice: chat_pb2.ChunkChoice) -> None:
        delta = choice.delta
        self.role = delta.role or self.role
        self.finish_reason = choice.finish_reason or self.finish_reason
        self.matched_stop = choice.matched_stop or self.matched_stop
        for name in _TEXT_FIELDS:
            if delta.HasField(name):  # type: ignore[arg-type]
                self.texts.setdefault(name, []).append(getattr(delta, name))
        for call in delta.tool_calls:
            self.tool_calls.setdefault(call.index, _ToolCallParts()).add(call)
        if choice.HasField("logprobs"):
            if self.logprobs is None:
                self.logprobs = chat_pb2.Logprobs()
            self.logprobs.MergeFrom(choice.logprobs)

    def build_tool_calls(self) -> list[chat_pb2.ToolCall]:
        return [call.build() for _, call in sorted(self.tool_calls.items())]

    def build(self) -> chat_pb2.Choice:
        texts = {name: "".join(pieces) for name, pieces in self.texts.items()}
        message = chat_pb2.Message(role=self.role, tool_calls=self.build_tool_calls())
        for name, text in texts.items():
            setattr(message, name, text)
        return chat_pb2.Choice(
            index=self.index,
            message=message,
            finish_reason=self.finish_reason,
            logprobs=self.logprobs,
            matched_stop=self.matched_stop,
        )


class CompletionBuilder:
    """The answer so far. Text is kept in pieces, so that a long answer costs no more a chunk than a short one."""

    def __init__(self) -> None:
        self._head = chat_pb2.ChatCompletion()
        self._choices: dict[int, _ChoiceParts] = {}

    def add(self, chunk: chat_pb2.ChatCompletionChunk) -> None:
        """Add what is new in `chunk`."""
        for name in _HEAD_FIELDS:
            if value := getattr(chunk, name):
                setattr(self._head, name, value)
        if chunk.HasField("usage"):
            self._head.usage.CopyFrom(chunk.usage)
        if chunk.HasField("timings"):
            self._head.timings.CopyFrom(chunk.timings)
        for choice in chunk.choices:
            if choice.index not in self._choices:
                self._choices[choice.index] = _ChoiceParts(choice.index)
            self._choices[choice.index].add(choice)

    def tool_calls(self, index: int) -> list[chat_pb2.ToolCall]:
        """The tool calls so far of the choice with that index."""
        return self._choices[index].build_tool_calls() if index in self._choices else []

    def build(self) -> chat_pb2.ChatCompletion:
        """The answer so far, as a message of its own: later chunks don't change it."""
        completion = chat_pb2.ChatCompletion()
        completion.CopyFrom(self._head)
        completion.choices.extend(choice.build() for _, choice in sorted(self._choices.items()))
        return completion
