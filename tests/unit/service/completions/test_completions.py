"""Several generations as one: what comes, what fails, and what ends when the reader leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from llamawire_server.errors import ServiceError, engine_fault
from llamawire_server.service.completions.together import together
from llamawire_server.worker.messages import Event, TextDelta


class Source:
    """A generation that says what it is told to."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[list[Event] | Exception | None] = asyncio.Queue()
        self.num_taken = 0
        self.has_begun = False
        self.is_over = False

    def say(self, text: str) -> None:
        self.said.put_nowait([TextDelta(1, 0, text, [1])])

    def end(self, error: Exception | None = None) -> None:
        self.said.put_nowait(error)

    async def events(self) -> AsyncGenerator[list[Event], None]:
        self.has_begun = True
        try:
            while (events := await self.said.get()) is not None:
                if isinstance(events, Exception):
                    raise events
                self.num_taken += 1
                yield events
        finally:
            self.is_over = True


def texts(step: list[tuple[int, list[Event]]]) -> list[tuple[int, str]]:
    return [(number, event.text) for number, events in step for event in events]  # type: ignore[union-attr]


async def test_each_is_told_with_its_number_and_in_its_order() -> None:
    sources = [Source() for _ in range(3)]
    for number, source in enumerate(sources):
        for letter in "abc":
            source.say(f"{letter}{number}")
        source.end()
    told = [one async for step in together([s.events() for s in sources]) for one in texts(step)]
    for number in range(3):
        assert [text for n, text in told if n == number] == [f"{letter}{number}" for letter in "abc"]
    assert all(source.is_over for source in sources)


async def test_one_alone() -> None:
    source = Source()
    source.say("a")
    steps = together([source.events()])
    assert texts(await anext(steps)) == [(0, "a")]
    await steps.aclose()
    assert source.is_over


async def test_what_comes_does_not_wait_for_the_others() -> None:
    quiet, talkative = Source(), Source()
    steps = together([quiet.events(), talkative.events()])
    talkative.say("a")
    assert texts(await anext(steps)) == [(1, "a")]
    talkative.say("b")
    assert texts(await anext(steps)) == [(1, "b")]
    assert quiet.has_begun
    await steps.aclose()


async def test_leaving_ends_all() -> None:
    sources = [Source() for _ in range(3)]
    steps = together([s.events() for s in sources])
    sources[0].say("a")
    await anext(steps)
    await steps.aclose()
    assert [source.is_over for source in sources] == [True] * 3


async def test_a_cancelled_reader_ends_all() -> None:
    sources = [Source() for _ in range(3)]

    async def read() -> None:
        async for _ in together([s.events() for s in sources]):
            pass

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.01)
    reading.cancel()
    await asyncio.wait({reading})
    assert reading.cancelled()
    assert [source.is_over for source in sources] == [True] * 3


async def test_the_first_failure_ends_the_others() -> None:
    good, bad = Source(), Source()
    steps = together([good.events(), bad.events()])
    good.say("a")
    await anext(steps)
    bad.end(engine_fault("no"))
    with pytest.raises(ServiceError, match="no"):
        await anext(steps)
    assert good.is_over


async def test_what_nobody_reads_stays_where_it_is() -> None:
    """Where it is, it becomes one larger piece."""
    sources = [Source() for _ in range(2)]
    for source in sources:
        for _ in range(50):
            source.say("x")
    steps = together([s.events() for s in sources])
    await anext(steps)
    for _ in range(20):
        await asyncio.sleep(0)
    assert sum(source.num_taken for source in sources) <= 10
    await steps.aclose()
