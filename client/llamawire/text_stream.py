"""Streamed completions: chunks to iterate over, text alone, or the completion they add up to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from llamawire.attempts import Attempts
from llamawire.response_stream import AsyncResponseStream, ResponseStream, StreamState
from llamawire.text_completion import TextChunk, TextCompletion
from llamawire.text_completion_builder import TextCompletionBuilder
from llamawire.v1 import completion_pb2


class _StreamedText(StreamState[completion_pb2.CompletionChunk, TextChunk]):
    """The completion that the chunks of a stream add up to."""

    def __init__(self, attempts: Attempts) -> None:
        super().__init__(attempts)
        self._builder = TextCompletionBuilder()

    @property
    def completion(self) -> TextCompletion:
        """The completion as far as it has come."""
        return TextCompletion(self._builder.build(), self.request_id)

    def _take(self, response: completion_pb2.CompletionChunk) -> TextChunk:
        self._builder.add(response)
        return TextChunk(response)


class TextStream(ResponseStream[completion_pb2.CompletionChunk, TextChunk], _StreamedText):
    """A streamed completion.

        with client.completions.stream(model="smollm2", prompt="Once upon a time") as stream:
            for chunk in stream:
                print(chunk.text, end="")
        print(stream.completion.usage)

    A `for` loop closes the stream however it is left: to read one chunk and go on later, use `next(stream)`.
    Reading raises LlamawireError where the call fails; a stream that was closed early raises
    RequestCancelledError from then on. One thread reads; any may close.
    """

    @property
    def text_stream(self) -> Iterator[str]:
        """The pieces of the first choice's text that are still to come, none of them empty."""
        return (chunk.text for chunk in self if chunk.text)

    def result(self) -> TextCompletion:
        """Read to the end, and give the whole completion."""
        for _ in self:
            pass
        return self.completion


class AsyncTextStream(AsyncResponseStream[completion_pb2.CompletionChunk, TextChunk], _StreamedText):
    """A streamed completion, for asyncio: TextStream, awaited.

        async with client.completions.stream(model="smollm2", prompt="Once upon a time") as stream:
            async for chunk in stream:
                print(chunk.text, end="")

    An `async for` loop that is left early closes the stream as soon as the event loop gets to it; `async with`
    closes it then and there. To read one chunk and go on later, use `await anext(stream)`.
    """

    @property
    def text_stream(self) -> AsyncIterator[str]:
        """The pieces of the first choice's text that are still to come, none of them empty."""
        return (chunk.text async for chunk in self if chunk.text)

    async def result(self) -> TextCompletion:
        """Read to the end, and give the whole completion."""
        async for _ in self:
            pass
        return self.completion
