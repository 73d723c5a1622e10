"""Responses as a server streams them: read, tried again before the first one, closed early."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

import grpc

from llamawire.attempts import Attempts
from llamawire.errors import LlamawireError, RequestCancelledError
from llamawire.metadata import Received

ResponseT = TypeVar("ResponseT")
ResponseT_co = TypeVar("ResponseT_co", covariant=True)
ItemT = TypeVar("ItemT")
SelfT = TypeVar("SelfT")


class StreamedCall(Protocol[ResponseT_co]):
    """What ResponseStream uses of gRPC's call."""

    def __next__(self) -> ResponseT_co: ...
    def initial_metadata(self) -> Received: ...
    def cancel(self) -> bool: ...


OpenCall: TypeAlias = "Callable[[Attempts], StreamedCall[ResponseT]]"
OpenAioCall: TypeAlias = "Callable[[Attempts], grpc.aio.UnaryStreamCall[Any, ResponseT]]"


class StreamState(Generic[ResponseT, ItemT]):
    """What is known of a stream, whichever way its responses come in.

    A stream is open until it ended well, failed or was closed. Only the first of these counts, and one that
    did not end well never looks as if it had.
    """

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._has_begun = False
        self._has_ended = False
        self._failure: LlamawireError | None = None

    @property
    def request_id(self) -> str:
        """The id under which the server logs the call; the one that was sent, until it answers."""
        return self._attempts.request_id

    def _take(self, response: ResponseT) -> ItemT:
        """What the reader gets of a response."""
        raise NotImplementedError

    def _begin(self, initial_metadata: Received) -> None:
        """The server's first sign. What follows is part of one answer, so nothing is tried again any more."""
        self._has_begun = True
        self._attempts.note_metadata(initial_metadata)

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


class ResponseStream(StreamState[ResponseT, ItemT]):
    """A stream that is read by a thread. One thread reads; any may close.

    A `for` loop closes the stream however it is left: to read one item and go on later, use `next(stream)`.
    Reading raises LlamawireError where the call fails; a stream that was closed early raises
    RequestCancelledError from then on.
    """

    def __init__(self, open_call: OpenCall[ResponseT], attempts: Attempts) -> None:
        super().__init__(attempts)
        self._open_call = open_call
        self._closed = threading.Event()
        self._call = open_call(attempts)

    def __next__(self) -> ItemT:
        """The next item; waits for it."""
        while not self._has_ended:
            self._raise_failure()
            try:
                response = next(self._call)
                if not self._has_begun:
                    self._begin(self._call.initial_metadata())
                return self._take(response)
            except StopIteration:
                self._has_ended = True
            except grpc.RpcError as error:
                if not self._closed.wait(self._wait_after(error)):
                    self._call = self._open_call(self._attempts)
                    if self._closed.is_set():  # closed meanwhile, when there was no call to cancel
                        self._call.cancel()
        raise StopIteration

    def __iter__(self) -> Generator[ItemT, None, None]:
        """The items that are still to come."""
        try:
            while True:
                try:
                    item = next(self)
                except StopIteration:
                    return
                yield item
        finally:
            self.close()

    def close(self) -> None:
        """Cancel the call, unless it is over, and free it. What came until now stays."""
        self._mark_closed()
        self._closed.set()
        self._call.cancel()

    def __enter__(self: SelfT) -> SelfT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncResponseStream(StreamState[ResponseT, ItemT]):
    """A stream that is read by a task: ResponseStream, awaited.

    An `async for` loop that is left early closes the stream as soon as the event loop gets to it; `async with`
    closes it then and there. To read one item and go on later, use `await anext(stream)`.
    """

    def __init__(self, open_call: OpenAioCall[ResponseT], attempts: Attempts) -> None:
        super().__init__(attempts)
        self._open_call = open_call
        self._closed = asyncio.Event()
        self._call = open_call(attempts)

    async def __anext__(self) -> ItemT:
        """The next item."""
        while not self._has_ended:
            self._raise_failure()
            try:
                response = await self._call.read()
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
            if response is grpc.aio.EOF:
                self._has_ended = True
            else:
                return self._take(cast("ResponseT", response))  # which `read` says less of
        raise StopAsyncIteration

    async def __aiter__(self) -> AsyncGenerator[ItemT, None]:
        """The items that are still to come."""
        try:
            while True:
                try:
                    item = await self.__anext__()
                except StopAsyncIteration:
                    return
                yield item
        finally:
            await self.close()

    async def close(self) -> None:
        """Cancel the call, unless it is over, and free it. What came until now stays."""
        self._mark_closed()
        self._closed.set()
        self._call.cancel()

    async def __aenter__(self: SelfT) -> SelfT:
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
