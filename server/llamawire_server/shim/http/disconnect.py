"""Work that ends when its caller hangs up.

Starlette notices a hang-up only when it sends, and not at all while an answer that is not streamed is
computed. Here the connection is watched beside the work, and the work cancelled at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from llamawire_server.errors import Condition, ServiceError, engine_fault

logger = logging.getLogger(__name__)

T = TypeVar("T")


class CallerGoneError(Exception):
    """The caller hung up: nobody is there to be answered."""


class Calls:
    """The work that is being done for callers over HTTP."""

    def __init__(self) -> None:
        self._works: set[asyncio.Task[Any]] = set()
        self._aborted = False

    async def run(self, work: Coroutine[Any, Any, T], receive: Receive) -> T:
        """Await `work`, whose request body must have been read to its end.

        Returns or raises what the work does; raises CallerGoneError when the caller hangs up first. When the
        calls are aborted it raises ServiceError: NOT_READY where they were before the work began, ENGINE
        otherwise, since NOT_READY promises that nothing was done. However it ends, the work's clean-up is over.
        """
        working = asyncio.create_task(work)
        watching = asyncio.create_task(_wait_for_disconnect(receive))
        self._works.add(working)
        is_refused = self._aborted
        if is_refused:
            working.cancel()  # which keeps it from taking its first step
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise CallerGoneError
            if working.cancelled() and is_refused:
                raise ServiceError(Condition.NOT_READY, "SERVER_STOPPING", "the server is stopping")
            if working.cancelled():
                raise engine_fault("the server stopped before the answer was complete", "SERVER_STOPPED")
            return working.result()
        finally:
            self._works.discard(working)
            abandoned = working.cancel()
            watching.cancel()
            outcome, _ = await asyncio.gather(working, watching, return_exceptions=True)
            if abandoned and isinstance(outcome, Exception) and not isinstance(outcome, ServiceError):
                logger.error("the clean-up of an abandoned call failed", exc_info=outcome)

    def abort(self) -> None:
        """End all work now, and whatever is begun later."""
        self._aborted = True
        for working in self._works:
            working.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
