"""An answer as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bench.asks import Ask


@dataclass
class Usage:
    """What a server says that an answer cost; 0 where it doesn't say."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    accepted_prediction_tokens: int = 0


class Stream:
    """One answer: when its chunks with text came, and what was counted. Times are perf_counter's, in seconds."""

    def __init__(self) -> None:
        self.asked_at = time.perf_counter()
        self.chunk_times: list[float] = []
        self.usage = Usage()
        self._texts: list[str] = []
        self._has_begun = asyncio.Event()

    def take(self, text: str) -> None:
        """Note that text came."""
        self.chunk_times.append(time.perf_counter())
        self._texts.append(text)
        if len(self._texts) == 1:
            self._has_begun.set()

    async def has_begun(self) -> None:
        """Wait for the first text."""
        await self._has_begun.wait()

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._texts)

    @property
    def num_tokens(self) -> int:
        """As the server counted them; one a chunk where it doesn't say."""
        return self.usage.completion_tokens or len(self.chunk_times)

    @property
    def first_token_seconds(self) -> float:
        """From the asking to the first text."""
        return self.chunk_times[0] - self.asked_at


# Fills the stream and returns at its end; cancelled, it takes its request back.
Caller = Callable[[Ask, Stream], Awaitable[None]]


class NoAnswerError(Exception):
    """A server refused a request or broke its answer off."""


class Call:
    """A request on its way."""

    def __init__(self, caller: Caller, asked: Ask) -> None:
        self.stream = Stream()
        self._task = asyncio.ensure_future(caller(asked, self.stream))

    async def begin(self) -> None:
        """Wait for the first text. Raises NoAnswerError where the answer ends without."""
        waiter = asyncio.ensure_future(self.stream.has_begun())
        await asyncio.wait((waiter, self._task), return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if not self.stream.chunk_times:
            await self._task
            raise NoAnswerError("an answer without text")

    async def end(self) -> Stream:
        """Wait for the whole answer. Raises NoAnswerError."""
        await self._task
        if not self.stream.chunk_times:
            raise NoAnswerError("an answer without text")
        return self.stream

    @property
    def is_over(self) -> bool:
        return self._task.done()

    def cancel(self) -> None:
        """Take the request back, at once."""
        self._task.cancel()

    async def gone(self) -> None:
        """Wait until the request is taken back here; the server may not know yet."""
        await asyncio.gather(self._task, return_exceptions=True)


async def run_together(caller: Caller, asks: Sequence[Ask]) -> list[Stream]:
    """All at once. Raises NoAnswerError where one of them gets no answer."""
    calls = [Call(caller, asked) for asked in asks]
    return [await call.end() for call in calls]
