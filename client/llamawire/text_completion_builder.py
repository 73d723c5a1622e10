"""Adds the chunks of a streamed completion up to the whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from llamawire.v1 import chat_pb2, completion_pb2

_HEAD_FIELDS = ("id", "created", "model", "system_fingerprint")


@dataclass
class _ChoiceParts:
    index: int
    texts: list[str] = field(default_factory=list)
    logprobs: completion_pb2.CompletionLogprobs | None = None
    finish_reason: chat_pb2.FinishReason.ValueType = chat_pb2.FINISH_REASON_UNSPECIFIED

    def add(self, choice: completion_pb2.CompletionChoice) -> None:
        self.texts.append(choice.text)
        self.finish_reason = choice.finish_reason or self.finish_reason
        if choice.HasField("logprobs"):
            if self.logprobs is None:
                self.logprobs = completion_pb2.CompletionLogprobs()
            self.logprobs.MergeFrom(choice.logprobs)

    def build(self) -> completion_pb2.CompletionChoice:
        return completion_pb2.CompletionChoice(
            index=self.index,
            text="".join(self.texts),
            logprobs=self.logprobs,
            finish_reason=self.finish_reason,
        )


class TextCompletionBuilder:
    """The completion so far. Text is kept in pieces, so that a long one costs no more a chunk than a short one."""

    def __init__(self) -> None:
        self._head = completion_pb2.Completion()
        self._choices: dict[int, _ChoiceParts] = {}

    def add(self, chunk: completion_pb2.CompletionChunk) -> None:
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

    def build(self) -> completion_pb2.Completion:
        """The completion so far, as a message of its own: later chunks don't change it."""
        completion = completion_pb2.Completion()
        completion.CopyFrom(self._head)
        completion.choices.extend(choice.build() for _, choice in sorted(self._choices.items()))
        return completion
