"""Streamed answers: chunks to iterate over, text alone, the answer they add up to, or a handler that is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator

from llamawire.attempts import Attempts
from llamawire.completion import Chunk, Completion
from llamawire.completion_builder import CompletionBuilder
from llamawire.errors import LlamawireError
from llamawire.handler import AsyncStreamHandler, HandlerFeed, StreamHandler
from llamawire.response_stream import AsyncResponseStream, ResponseStream, StreamState
from llamawire.v1 import chat_pb2


class _StreamedAnswer(StreamState[chat_pb2.ChatCompletionChunk, Chunk]):
    """The answer that the chunks of a stream add up to."""

    def __init__(self, attempts: Attempts) -> None:
        super().__init__(attempts)
        self._builder = CompletionBuilder()

    @property
    def completion(self) -> Completion:
        """The answer as far as it has come."""
        return Completion(self._builder.build(), self.request_id)

    def _take(self, response: chat_pb2.ChatCompletionChunk) -> Chunk:
        self._builder.add(response)
        return Chunk(response)


class ReadAnswer(_StreamedAnswer):
    """What a thread can do with a streamed answer, whichever way its chunks come in."""

    def __iter__(self) -> Iterator[Chunk]:
        """The chunks that are still to come. A loop that is left closes the stream."""
        raise NotImplementedError

    @property
    def text_stream(self) -> Iterator[str]:
        """The pieces of the first choice's text that are still to come, none of them empty."""
        return (chunk.text for chunk in self if chunk.text)

    def result(self) -> Completion:
        """Read to the end, and give the whole answer."""
        for _ in self:
            pass
        return self.completion

    def run(self, handler: StreamHandler) -> Completion:
        """Read to the end, tell `handler` of everything, and give the whole answer."""
        feed = HandlerFeed(handler, self._builder)
        try:
            for chunk in self:
                for _ in feed.chunk(chunk):
                    pass
            completion = self.completion
            for _ in feed.complete(completion):
                pass
        except LlamawireError as error:
            if error is self._failure:  # and not one that the handler let out
                handler.on_error(error)
            raise
        return completion


class AsyncReadAnswer(_StreamedAnswer):
    """What a task can do with a streamed answer, whichever way its chunks come in."""

    def __aiter__(self) -> AsyncIterator[Chunk]:
        """The chunks that are still to come. A loop that is left closes the stream."""
        raise NotImplementedError

    async def close(self) -> None:
        """End the call, unless it is over, and free it."""
        raise NotImplementedError

    @property
    def text_stream(self) -> AsyncIterator[str]:
        """The pieces of the first choice's text that are still to come, none of them empty."""
        return (chunk.text async for chunk in self if chunk.text)

    async def result(self) -> Completion:
        """Read to the end, and give the whole answer."""
        async for _ in self:
            pass
        return self.completion

    async def run(self, handler: AsyncStreamHandler) -> Completion:
        """Read to the end, tell `handler` of everything, and give the whole answer."""
        feed: HandlerFeed[Awaitable[None]] = HandlerFeed(handler, self._builder)
        try:
            async for chunk in self:
                for told in feed.chunk(chunk):
                    await told
            completion = self.completion
            for told in feed.complete(completion):
                await told
        except LlamawireError as error:
            if error is self._failure:  # and not one that the handler let out
                await handler.on_error(error)
            raise
        finally:
            await self.close()
        return completion


class ChatStream(ResponseStream[chat_pb2.ChatCompletionChunk, Chunk], ReadAnswer):
    """A streamed answer.

        with client.chat.stream(model="smollm2", messages=[user("Hello!")]) as stream:
            for chunk in stream:
                print(chunk.text, end="")
        print(stream.completion.usage)

    A `for` loop closes the stream however it is left: to read one chunk and go on later, use `next(stream)`.
    Reading raises LlamawireError where the call fails; a stream that was closed early raises
    RequestCancelledError from then on. One thread reads; any may close.
    """


class AsyncChatStream(AsyncResponseStream[chat_pb2.ChatCompletionChunk, Chunk], AsyncReadAnswer):
    """A streamed answer, for asyncio: ChatStream, awaited.

        async with client.chat.stream(model="smollm2", messages=[user("Hello!")]) as stream:
            async for chunk in stream:
                print(chunk.text, end="")

    An `async for` loop that is left early closes the stream as soon as the event loop gets to it; `async with`
    closes it then and there. To read one chunk and go on later, use `await anext(stream)`.
    """
