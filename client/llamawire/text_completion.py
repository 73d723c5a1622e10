"""Completions as Python reads them. Each wraps its proto, which stays within reach as `.proto`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llamawire.completion import finish_reason_name
from llamawire.v1 import completion_pb2, usage_pb2
from llamawire.whole_answer import WholeAnswer


class TextChoice:
    """One choice of several; of a chunk, what is new in one."""

    __slots__ = ("proto",)

    def __init__(self, proto: completion_pb2.CompletionChoice) -> None:
        self.proto = proto

    @property
    def index(self) -> int:
        """Its place among the choices: the prompt's number * n + its number among those of its prompt."""
        return self.proto.index

    @property
    def text(self) -> str:
        """The text; with `echo` the prompt's too."""
        return self.proto.text

    @property
    def finish_reason(self) -> str | None:
        """Why it ended: "stop" or "length"; None while it has not."""
        return finish_reason_name(self.proto.finish_reason)

    @property
    def logprobs(self) -> Sequence[completion_pb2.CompletionTokenLogprob]:
        """How likely the text's tokens were, one by one; empty where that was not asked for."""
        return self.proto.logprobs.tokens

    def parse(self) -> Any:
        """The text, parsed as JSON: for completions that were asked to follow a schema. Raises ValueError where it is
        not JSON, as when it was cut off."""
        return json.loads(self.text)

    def __repr__(self) -> str:
        return f"TextChoice(index={self.index}, text={self.text!r}, finish_reason={self.finish_reason!r})"


class TextCompletion(WholeAnswer[completion_pb2.Completion]):
    """All choices of a completion. What is said of one choice (`text`, `logprobs`, …) is said of the first."""

    __slots__ = ()

    @property
    def choices(self) -> list[TextChoice]:
        """The choices, by index: those of the first prompt, then those of the next one."""
        return [TextChoice(choice) for choice in self.proto.choices]

    @property
    def text(self) -> str:
        """The text; with `echo` the prompt's too."""
        return self._first.text

    @property
    def finish_reason(self) -> str | None:
        """Why it ended: "stop" or "length"; None while it has not."""
        return self._first.finish_reason

    @property
    def logprobs(self) -> Sequence[completion_pb2.CompletionTokenLogprob]:
        """How likely the text's tokens were, one by one; empty where that was not asked for."""
        return self._first.logprobs

    def parse(self) -> Any:
        """The text, parsed as JSON: for completions that were asked to follow a schema. Raises ValueError where it is
        not JSON, as when it was cut off."""
        return self._first.parse()

    @property
    def _first(self) -> TextChoice:
        # Before the first chunk of a stream there is no choice yet; an empty one says so well enough.
        return TextChoice(self.proto.choices[0] if self.proto.choices else completion_pb2.CompletionChoice())

    def __repr__(self) -> str:
        return f"TextCompletion(id={self.id!r}, model={self.model!r}, choices={self.choices!r})"


class TextChunk:
    """A piece of a streamed completion. What is said of one choice is said of the choice with index 0."""

    __slots__ = ("proto",)

    def __init__(self, proto: completion_pb2.CompletionChunk) -> None:
        self.proto = proto

    @property
    def text(self) -> str:
        """The new text; "" where there is none."""
        return self._first.text

    @property
    def logprobs(self) -> Sequence[completion_pb2.CompletionTokenLogprob]:
        """Those of the new text's tokens; empty where they were not asked for."""
        return self._first.logprobs.tokens

    @property
    def finish_reason(self) -> str | None:
        """Why the choice ended; None while it has not."""
        return finish_reason_name(self._first.finish_reason)

    @property
    def choices(self) -> Sequence[completion_pb2.CompletionChoice]:
        """What is new, at most one entry a choice."""
        return self.proto.choices

    @property
    def usage(self) -> usage_pb2.Usage:
        """What the answer has cost in tokens; all zero until the last chunk, but for `continuous_usage`."""
        return self.proto.usage

    @property
    def _first(self) -> completion_pb2.CompletionChoice:
        for choice in self.proto.choices:
            if choice.index == 0:
                return choice
        return completion_pb2.CompletionChoice()

    def __repr__(self) -> str:
        return f"TextChunk(text={self.text!r}, finish_reason={self.finish_reason!r})"
