"""Where events wait for their reader."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llamawire_server.worker.messages import Completed, Failed, TextDelta
from llamawire_server.worker.parent.mailbox import Mailbox

LATE = Failed(1, "DEADLINE", "DEADLINE_EXCEEDED", "late")
DELTA = TextDelta(1, 0, "x", [1])
COMPLETED = Completed(1, 1, 0, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("put", "taken"),
    [
        ([DELTA, DELTA], [TextDelta(1, 0, "xx", [1, 1])]),
        ([DELTA, LATE, DELTA], [DELTA, LATE]),
        ([LATE, DELTA, COMPLETED], [LATE]),
        ([DELTA, COMPLETED, LATE], [DELTA, COMPLETED]),
    ],
)
async def test_nothing_follows_the_last_event(put: list[Any], taken: list[Any]) -> None:
    mailbox = Mailbox()
    for event in put:
        mailbox.put(event)
    assert await mailbox.take() == taken


async def test_a_mailbox_waits_for_the_first_event() -> None:
    mailbox = Mailbox()
    taking = asyncio.create_task(mailbox.take())
    await asyncio.sleep(0)
    assert not taking.done()
    mailbox.put(DELTA)
    assert await taking == [DELTA]


async def test_what_comes_after_a_reader_has_left_is_there_for_the_next_one() -> None:
    mailbox = Mailbox()
    taking = asyncio.create_task(mailbox.take())
    await asyncio.sleep(0)
    taking.cancel()
    mailbox.put(DELTA)
    await asyncio.wait({taking})
    mailbox.put(COMPLETED)
    assert await mailbox.take() == [DELTA, COMPLETED]
