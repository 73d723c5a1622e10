"""What tests of coroutines wait for: what comes true in the end, and what an attempt fails with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from llamawire_server.errors import ServiceError

PATIENCE_SECONDS = 60


async def until(condition: Callable[[], object]) -> None:
    """Wait for what comes by way of processes, threads and timers."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.001)


async def settle() -> None:
    """Let every task run until it waits for something that the test holds back."""
    for _ in range(20):
        await asyncio.sleep(0)


async def refused(attempt: Awaitable[object]) -> ServiceError:
    """The error that an attempt ends with."""
    with pytest.raises(ServiceError) as caught:
        await attempt
    return caught.value
