"""Starting what has to be ended again where nobody takes it over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def within(seconds: float, start: Awaitable[T], discard: Callable[[T], Awaitable[None]]) -> T:
    """What `start` gives. Where it takes longer, or this is cancelled, what it gives all the same is discarded.

    asyncio.wait_for is no help: a cancel that comes in the moment in which the start is done is lost in some versions
    of Python, and the outcome in others. Raises asyncio.TimeoutError, and whatever the start raises.
    """
    starting = asyncio.ensure_future(start)
    try:
        await asyncio.wait({starting}, timeout=seconds)
    except asyncio.CancelledError:
        await _end(starting, discard)
        raise
    if starting.done():
        return starting.result()
    await _end(starting, discard)
    raise asyncio.TimeoutError


async def _end(starting: asyncio.Future[T], discard: Callable[[T], Awaitable[None]]) -> None:
    starting.cancel()
    await asyncio.wait({starting})
    if not starting.cancelled() and starting.exception() is None:
        await discard(starting.result())
