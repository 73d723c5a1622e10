"""Watchers of all models, a quick one and a slow one, who must know in the end how each model stands."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterable
from types import TracebackType

from llamawire import AsyncClient, AsyncModelWatch, LlamawireError
from llamawire.v1 import model_pb2

# Between two looks at the news, in seconds, by watcher.
PAUSES = {"quick": 0.0, "slow": 0.5}


class Watching:
    """Both watchers, for as long as the context lasts."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._watches: dict[str, AsyncModelWatch] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._failures: dict[str, LlamawireError] = {}
        self._is_over = asyncio.Event()

    async def __aenter__(self) -> Watching:
        self._client = AsyncClient(self._target, retries=0)
        for name, pause in PAUSES.items():
            self._watches[name] = self._client.models.watch(timeout_seconds=math.inf)
            self._tasks.append(asyncio.create_task(self._watch(name, pause)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for watch in self._watches.values():
            await watch.close()
        await self._client.close()

    def hurry(self) -> None:
        """Let the slow one catch up: what is on its way to a caller can't be taken back for later news."""
        self._is_over.set()

    def fault(self, models: Iterable[model_pb2.Model]) -> str:
        """What a watcher doesn't know of these models; empty where both know all."""
        if self._failures:
            return f"a watch has failed: {self._failures}"
        expected = {model.name: model.state for model in models}
        for name, watch in self._watches.items():
            known = {model.name: model.state for model in watch.models.values()}
            if known != expected:
                return f"the {name} watcher knows {known}, and the models are {expected}"
        return ""

    async def _watch(self, name: str, pause: float) -> None:
        with contextlib.suppress(StopAsyncIteration):
            try:
                while True:
                    await self._watches[name].__anext__()
                    if not self._is_over.is_set():
                        await asyncio.sleep(pause)
            except LlamawireError as error:
                self._failures[name] = error
