"""Streamed answers: chunks to iterate over, text alone, the answer they add up to, or a handler that is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from types import TracebackType
from typing import Protocol, TypeAlias

import grpc

from llamawire.attempts import Attempts
from llamawire.completion import Chunk, Completion
from llamawire.completion_builder import CompletionBuilder
from llamawire.errors import LlamawireError, RequestCancelledError
from llamawire.handler import AsyncStreamHandler, HandlerFeed, StreamHandler
from llamawire.metadata import Received
from llamawire.v1 import chat_pb2


class StreamedCall(Protocol):
    """What ChatStream uses of gRPC's call."""

    def __next__(self) -> chat_pb2.ChatCompletionChunk: ...
    def initial_metadata(self) -> Received: ...
    def cancel(self) -> bool: ...


OpenCall: TypeAlias = "Callable[[Attempts], StreamedCall]"
AioStreamedCall: TypeAlias = (
    "grpc.aio.UnaryStreamCall[chat_pb2.ChatCompletionRequest, chat_pb2.ChatCompletionChunk]"
)
OpenAioCall: TypeAlias = "Callable[[Attempts], AioStreamedCall]"


class _StreamState:
    """What is known of a stream, whichever way its chunks come in.

    A stream is open until it ended well, failed or was closed. Only the first of these counts, and one that
    did not end well never looks as if it had.
    """

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._builder = CompletionBuilder()
        self._has_begun = False
        self._has_ended = False
        self._failure: LlamawireError | None = None

    @property
    def completion(self) -> Completion:
        """The answer as far as it has come."""
        return Completion(self._builder.build(), self.request_id)

    @property
    def request_id(self) -> str:
        """The id under which the server logs the call; the one that was sent, until it answers."""
        return self._attempts.request_id

    def _begin(self, initial_metadata: Received) -> None:
        """The server's first sign. What follows is part of one answer, so nothing is tried again any more."""
        self._has_begun = True
        self._attempts.note_metadata(initial_metadata)

    def _take(self, proto: chat_pb2.ChatCompletionChunk) -> Chunk:
        self._builder.add(proto)
        return Chunk(proto)

    def _wait_after(self, rpc_error: grpc.RpcError) -> float:
        """Seconds until the call is to be opened again. Raises the LlamawireError where it is not."""
        try:
            if self._failure is not None:
                raise self._failure from rpc_error
            return self._attempts.wait_after(rpc_error, may_retry=not self._has_begun)
        except LlamawireError as error:
            self._failure = error
            raise

    def _mark_closed(self) -> None:
        if not self._has_ended and self._failure is None:
            self._failure = RequestCancelledError(
                "the stream was closed before its end",
                code=grpc.StatusCode.CANCELLED,
                reason="STREAM_CLOSED",
                request_id=self.request_id,
            )

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


class ChatStream(_StreamState):
    """A streamed answer.

        with client.chat.stream(model="smollm2", messages=[user("Hello!")]) as stream:
            for chunk in stream:
                print(chunk.text, end="")
        print(stream.completion.usage)

    A `for` loop closes the stream however it is left: to read one chunk and go on later, use `next(stream)`.
    Reading raises LlamawireError where the call fails; a stream that was closed early raises
    RequestCancelledError from then on. One thread reads; any may close.
    """

    def __init__(self, open_call: OpenCall, attempts: Attempts) -> None:
        super().__init__(attempts)
        self._open_call = open_call
        self._closed = threading.Event()
        self._call = open_call(attempts)

    def __next__(self) -> Chunk:
        """The next chunk; waits for it."""
        while not self._has_ended:
            self._raise_failure()
            try:
                proto = next(self._call)
                if not self._has_begun:
                    self._begin(self._call.initial_metadata())
                return self._take(proto)
            except StopIteration:
                self._has_ended = True
            except grpc.RpcError as error:
                if not self._closed.wait(self._wait_after(error)):
                    self._call = self._open_call(self._attempts)
                    if self._closed.is_set():  # closed meanwhile, when there was no call to cancel
                        self._call.cancel()
        raise StopIteration

    def __iter__(self) -> Generator[Chunk, None, None]:
        """The chunks that are still to come."""
        try:
            while True:
                try:
                    chunk = next(self)
                except StopIteration:
                    return
                yield chunk
        finally:
            self.close()

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

    def close(self) -> None:
        """Cancel the call, unless it is over, and free it. What came until now stays in `completion`."""
        self._mark_closed()
        self._closed.set()
        self._call.cancel()

    def __enter__(self) -> ChatStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncChatStream(_StreamState):
    """A streamed answer, for asyncio: ChatStream, awaited.

        async with client.chat.stream(model="smollm2", messages=[user("Hello!")]) as stream:
            async for chunk in stream:
                print(chunk.text, end="")

    An `async for` loop that is left early closes the stream as soon as the event loop gets to it; `async with`
    closes it then and there. To read one chunk and go on later, use `await anext(stream)`.
    """

    def __init__(self, open_call: OpenAioCall, attempts: Attempts) -> None:
        super().__init__(attempts)
        self._open_call = open_call
        self._closed = asyncio.Event()
        self._call = open_call(attempts)

    async def __anext__(self) -> Chunk:
        """The next chunk."""
        while not self._has_ended:
            self._raise_failure()
            try:
                proto = await self._call.read()
                if not self._has_begun:
                    self._begin(await self._call.initial_metadata())
            except asyncio.CancelledError:
                self._raise_failure()  # gRPC says it this way, too, where `close` ended the call
                self._mark_closed()
                raise
            except grpc.RpcError as error:
                await self._pause(self._wait_after(error))
                if not self._closed.is_set():
                    self._call = self._open_call(self._attempts)
                continue
            if isinstance(proto, chat_pb2.ChatCompletionChunk):
                return self._take(proto)
            self._has_ended = True  # grpc.aio.EOF
        raise StopAsyncIteration

    async def __aiter__(self) -> AsyncGenerator[Chunk, None]:
        """The chunks that are still to come."""
        try:
            while True:
                try:
                    chunk = await self.__anext__()
                except StopAsyncIteration:
                    return
                yield chunk
        finally:
            await self.close()

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
        async with self:
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
        return completion

    async def close(self) -> None:
        """Cancel the call, unless it is over, and free it. What came until now stays in `completion`."""
        self._mark_closed()
        self._closed.set()
        self._call.cancel()

    async def __aenter__(self) -> AsyncChatStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _pause(self, seconds: float) -> None:
        """Wait, unless the stream is closed meanwhile."""
        try:
            await asyncio.wait_for(self._closed.wait(), seconds)
        except asyncio.TimeoutError:
            return
