"""Streamed answers of any provider that speaks OpenAI's API: the bytes of a response, read as chunks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterable, Iterator
from types import TracebackType

import grpc

from llamawire.attempts import Attempts
from llamawire.completion import Chunk
from llamawire.dialects.chunk_feed import ChunkFeed
from llamawire.dialects.event_parser import MAX_EVENT_BYTES
from llamawire.errors import ConnectionFailedError, DeadlineExceededError, LlamawireError
from llamawire.stream import AsyncReadAnswer, ReadAnswer

_READ_BYTES = 64 * 1024


class SSEChatStream(ReadAnswer):
    """A streamed answer in the body of an HTTP response, read by a thread: `ChatStream` for other providers.

        with SSEChatStream(response) as stream:
            for chunk in stream:
                print(chunk.text, end="")
        print(stream.completion.usage)

    The answer is over at `[DONE]`. Reading raises LlamawireError: the one that an error object in the stream stands
    for, MalformedResponseError for what can't be read and for a stream that ends without `[DONE]`,
    ConnectionFailedError and DeadlineExceededError for what the body raises. A stream that was closed early raises
    RequestCancelledError from then on. One thread reads; any may close, but whether that ends a read which waits is
    for the body's own `close` to say.
    """

    def __init__(
        self,
        body: Iterable[bytes],
        *,
        release: Callable[[], object] | None = None,
        request_id: str = "",
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        """Read `body`: a response of http.client or urllib, `response.iter_bytes()` of httpx, or any bytes in pieces.

        `release` is called once when the answer is over, failed or was closed, and is to end the request and free
        its connection, such as httpx's `response.close`; by default the body's own `close`, where it has one.
        `request_id` names the request in what is raised.
        """
        super().__init__(_single_attempt(request_id))
        self._pieces = _pieces_of(body)
        self._release: Callable[[], object] | None = release or getattr(body, "close", None)
        self._feed = ChunkFeed(max_event_bytes)

    def recv(self) -> Chunk | None:
        """The next chunk; None once the answer is over."""
        return next(self, None)

    def __next__(self) -> Chunk:
        """The next chunk; waits for it."""
        while not self._has_ended:
            try:
                self._raise_failure()
                chunk = self._feed.next_chunk()
                if chunk is not None:
                    return self._take(chunk)
                if self._feed.is_done:
                    self._has_ended = True
                    self._free()
                elif (piece := self._next_piece()) is not None:
                    self._feed.add(piece)
                else:
                    self._raise_failure()  # a body that was closed may seem to have ended
                    self._feed.end()
            except LlamawireError as error:
                error.request_id = error.request_id or self.request_id
                self._failure = error
                self._free()
                raise
        raise StopIteration

    def __iter__(self) -> Generator[Chunk, None, None]:
        """The chunks that are still to come. A loop that is left closes the stream, as `ChatStream` has it."""
        try:
            while (chunk := self.recv()) is not None:
                yield chunk
        finally:
            self.close()

    def close(self) -> None:
        """End the request, unless it is over, and free its connection. What came until now stays."""
        self._mark_closed()
        self._free()

    def __enter__(self) -> SSEChatStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next_piece(self) -> bytes | None:
        try:
            return next(self._pieces, None)
        except Exception as error:
            self._raise_failure()  # a body that is closed by another thread fails in its own way
            raise _broken(error, self.request_id) from error

    def _free(self) -> None:
        release, self._release = self._release, None
        try:
            if release is not None:
                release()
        except ValueError:
            self._release = release  # a generator that another thread is in: that one closes it


class AsyncSSEChatStream(AsyncReadAnswer):
    """A streamed answer in the body of an HTTP response, read by a task: SSEChatStream, awaited.

    async with httpx_client.stream("POST", url, json=request) as response:
        async with AsyncSSEChatStream(response.aiter_bytes()) as stream:
            async for chunk in stream:
                print(chunk.text, end="")
    """

    def __init__(
        self,
        body: AsyncIterable[bytes],
        *,
        release: Callable[[], Awaitable[object]] | None = None,
        request_id: str = "",
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        """Read `body`: `response.aiter_bytes()` of httpx, `response.content.iter_any()` of aiohttp, or any other.

        `release` is SSEChatStream's, awaited; by default the body's own `aclose`, where it has one.
        """
        super().__init__(_single_attempt(request_id))
        self._pieces = aiter(body)
        self._release: Callable[[], Awaitable[object]] | None = release or getattr(body, "aclose", None)
        self._feed = ChunkFeed(max_event_bytes)

    async def recv(self) -> Chunk | None:
        """The next chunk; None once the answer is over."""
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            return None

    async def __anext__(self) -> Chunk:
        """The next chunk."""
        while not self._has_ended:
            try:
                self._raise_failure()
                chunk = self._feed.next_chunk()
                if chunk is not None:
                    return self._take(chunk)
                if self._feed.is_done:
                    self._has_ended = True
                    await self._free()
                elif (piece := await self._next_piece()) is not None:
                    self._feed.add(piece)
                else:
                    self._raise_failure()  # a body that was closed may seem to have ended
                    self._feed.end()
            except LlamawireError as error:
                error.request_id = error.request_id or self.request_id
                self._failure = error
                await self._free()
                raise
        raise StopAsyncIteration

    async def __aiter__(self) -> AsyncGenerator[Chunk, None]:
        """The chunks that are still to come. A loop that is left closes the stream, as `AsyncChatStream` has it."""
        try:
            while (chunk := await self.recv()) is not None:
                yield chunk
        finally:
            await self.close()

    async def close(self) -> None:
        """End the request, unless it is over, and free its connection. What came until now stays."""
        self._mark_closed()
        await self._free()

    async def __aenter__(self) -> AsyncSSEChatStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _next_piece(self) -> bytes | None:
        try:
            return await self._pieces.__anext__()
        except StopAsyncIteration:
            return None
        except asyncio.CancelledError:
            # The body was interrupted somewhere inside: nothing more can be read of it.
            self._raise_failure()
            await self.close()
            raise
        except Exception as error:
            self._raise_failure()
            raise _broken(error, self.request_id) from error

    async def _free(self) -> None:
        release, self._release = self._release, None
        try:
            if release is not None:
                await release()
        except RuntimeError:
            self._release = release  # a generator that another task is in: that one closes it


def _single_attempt(request_id: str) -> Attempts:
    return Attempts(timeout_seconds=None, retries=0, metadata=(), request_id=request_id)


def _pieces_of(body: Iterable[bytes]) -> Iterator[bytes]:
    """What there is of a body, as soon as it is there. http.client's are iterated over by lines, however long."""
    read = getattr(body, "read1", None)
    return iter(lambda: read(_READ_BYTES), b"") if callable(read) else iter(body)


def _broken(error: Exception, request_id: str) -> LlamawireError:
    """What a body's own exception means."""
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return DeadlineExceededError(
            f"the rest of the answer did not come in time: {error}",
            code=grpc.StatusCode.DEADLINE_EXCEEDED,
            reason="READ_TIMEOUT",
            request_id=request_id,
        )
    return ConnectionFailedError(
        f"the connection broke before the answer was complete: {error}",
        code=grpc.StatusCode.UNAVAILABLE,
        reason="CONNECTION_BROKEN",
        request_id=request_id,
    )
