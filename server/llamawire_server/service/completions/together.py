"""Completions on their way through a worker: the generations of all prompts, as one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import TypeAlias

from llamawire_server.service.completions.answer import PromptEvents
from llamawire_server.worker.messages import Event

Steps: TypeAlias = "AsyncGenerator[list[Event], None]"
"""The events of one generation, as they come."""


async def together(generations: Sequence[Steps]) -> AsyncGenerator[list[PromptEvents], None]:
    """The events of several generations as they come, those of each in their order; ends when all have ended.

    The first that fails ends the others, and its error is raised. Leaving ends all of them. What a slow reader does
    not take stays with the generations, but for one batch of events of each.
    """
    if len(generations) == 1:
        async with contextlib.aclosing(generations[0]) as only:
            async for events in only:
                yield [(0, events)]
        return
    arrivals: asyncio.Queue[PromptEvents | Exception | None] = asyncio.Queue(len(generations))
    pumps = [asyncio.create_task(_pump(number, steps, arrivals)) for number, steps in enumerate(generations)]
    num_running = len(pumps)
    try:
        while num_running:
            news: list[PromptEvents] = []
            arrived = [await arrivals.get()]
            while not arrivals.empty():
                arrived.append(arrivals.get_nowait())
            for one in arrived:
                if isinstance(one, Exception):
                    raise one
                if one is None:
                    num_running -= 1
                else:
                    news.append(one)
            if news:
                yield news
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(number: int, steps: Steps, arrivals: asyncio.Queue[PromptEvents | Exception | None]) -> None:
    """Hand on the events of a generation, and then how it ended: None where it ended well."""
    try:
        async for events in steps:
            await arrivals.put((number, events))
    except Exception as error:
        await arrivals.put(error)
    else:
        await arrivals.put(None)
    finally:
        await steps.aclose()
