"""Handlers: a stream's events as method calls, for those who would rather be called than iterate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from llamawire.completion import Chunk, Completion, ToolCall
from llamawire.completion_builder import CompletionBuilder
from llamawire.errors import LlamawireError
from llamawire.v1 import chat_pb2

# What the methods give back: nothing, or something to await.
Told = TypeVar("Told", covariant=True)


class StreamHandler:
    """Told of a stream by `ChatStream.run`. Override what you need; nothing happens by default.

    What a method raises ends the stream and comes out of `run`.
    """

    def on_start(self) -> None:
        """The answer begins. Once, before anything else."""

    def on_token(self, text: str, choice_index: int) -> None:
        """More of a choice's text."""

    def on_reasoning(self, text: str, choice_index: int) -> None:
        """More of a choice's reasoning."""

    def on_tool_call(self, call: ToolCall, choice_index: int) -> None:
        """A call is whole: nothing more will come for it. A call that was cut off is never told."""

    def on_complete(self, completion: Completion) -> None:
        """The answer ended as it should. Last of all."""

    def on_error(self, error: LlamawireError) -> None:
        """The stream failed. Last of all; `run` raises the error afterwards."""


class AsyncStreamHandler:
    """Told of a stream by `AsyncChatStream.run`: StreamHandler with methods that are awaited."""

    async def on_start(self) -> None:
        """The answer begins. Once, before anything else."""

    async def on_token(self, text: str, choice_index: int) -> None:
        """More of a choice's text."""

    async def on_reasoning(self, text: str, choice_index: int) -> None:
        """More of a choice's reasoning."""

    async def on_tool_call(self, call: ToolCall, choice_index: int) -> None:
        """A call is whole: nothing more will come for it. A call that was cut off is never told."""

    async def on_complete(self, completion: Completion) -> None:
        """The answer ended as it should. Last of all."""

    async def on_error(self, error: LlamawireError) -> None:
        """The stream failed. Last of all; `run` raises the error afterwards."""


class _Handler(Protocol[Told]):
    """Either kind of handler."""

    def on_start(self) -> Told: ...
    def on_token(self, text: str, choice_index: int) -> Told: ...
    def on_reasoning(self, text: str, choice_index: int) -> Told: ...
    def on_tool_call(self, call: ToolCall, choice_index: int) -> Told: ...
    def on_complete(self, completion: Completion) -> Told: ...


# A choice that ended otherwise was cut off, and its last tool call with it.
_WHOLE = (
    chat_pb2.FINISH_REASON_STOP,
    chat_pb2.FINISH_REASON_TOOL_CALLS,
    chat_pb2.FINISH_REASON_FUNCTION_CALL,
)


class HandlerFeed(Generic[Told]):
    """Turns chunks into calls of a handler's methods, and yields what each gave, to be awaited or not."""

    def __init__(self, handler: _Handler[Told], builder: CompletionBuilder) -> None:
        self._handler = handler
        self._builder = builder
        self._is_started = False
        self._num_calls_told: dict[int, int] = {}

    def chunk(self, chunk: Chunk) -> Iterator[Told]:
        """Tell of a chunk, which the builder has already."""
        yield from self._start()
        for choice in chunk.choices:
            if choice.delta.reasoning_content:
                yield self._handler.on_reasoning(choice.delta.reasoning_content, choice.index)
            if choice.delta.content:
                yield self._handler.on_token(choice.delta.content, choice.index)
            if choice.delta.tool_calls or choice.finish_reason:
                yield from self._whole_calls(choice)

    def complete(self, completion: Completion) -> Iterator[Told]:
        """Tell that the stream ended well."""
        yield from self._start()
        yield self._handler.on_complete(completion)

    def _start(self) -> Iterator[Told]:
        if not self._is_started:
            self._is_started = True
            yield self._handler.on_start()

    def _whole_calls(self, choice: chat_pb2.ChunkChoice) -> Iterator[Told]:
        """Tell of the calls that are whole and untold. Calls open in order, so only the last can be unfinished."""
        calls = self._builder.tool_calls(choice.index)
        if choice.finish_reason not in _WHOLE:
            calls = calls[:-1]
        for call in calls[self._num_calls_told.get(choice.index, 0) :]:
            self._num_calls_told[choice.index] = self._num_calls_told.get(choice.index, 0) + 1
            yield self._handler.on_tool_call(ToolCall(call), choice.index)
