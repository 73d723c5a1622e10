"""What a worker's callers get of it, and give it to know: refusals, deadlines, cancels, and its memory."""

from __future__ import annotations

import asyncio
import os
import signal

from supervised_workers import Starter, Stream, ask
from waiting import PATIENCE_SECONDS, refused, until

from llamawire_server.config import WorkerSettings
from llamawire_server.errors import Condition
from llamawire_server.worker.messages import Tokenize, Tokens
from llamawire_server.worker.parent.supervisor import Supervisor


async def test_a_worker_that_refuses_says_when_to_come_back(worker: Supervisor) -> None:
    request = Tokenize(worker.next_request_id(), "busy", add_special=False, parse_special=False)
    error = await refused(worker.ask(request, Tokens))
    assert (error.condition, error.reason) == (Condition.BUSY, "DEADLINE_UNREACHABLE")
    assert error.retry_after_seconds == 7.5


async def test_a_deadline_ends_a_request_there_too(worker: Supervisor) -> None:
    error = await refused(ask(worker, "wait", timeout_seconds=0.01))
    assert (error.condition, error.reason) == (Condition.DEADLINE, "DEADLINE_EXCEEDED")
    assert worker.num_requests == 0
    assert await ask(worker, "cancelled?", timeout_seconds=PATIENCE_SECONDS) == [1]


async def test_a_deadline_counts_while_the_worker_is_away(start: Starter) -> None:
    policy = WorkerSettings(first_pause_seconds=60, longest_pause_seconds=60)
    worker = await start(policy=policy)
    for _ in range(2):  # the first restart has no pause
        await until(lambda: worker.pid)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        await until(lambda: not worker.pid)
    error = await refused(ask(worker, "cancelled?", timeout_seconds=0.01))
    assert error.reason == "DEADLINE_EXCEEDED"
    await asyncio.wait_for(worker.stop(), PATIENCE_SECONDS)


async def test_who_leaves_cancels_and_who_was_answered_does_not(worker: Supervisor) -> None:
    await ask(worker, "cancelled?")
    leaving = asyncio.create_task(ask(worker, "wait"))
    await until(lambda: worker.num_requests == 1)
    leaving.cancel()
    await asyncio.wait({leaving})
    assert worker.num_requests == 0
    assert await ask(worker, "cancelled?") == [2]


async def test_a_reader_that_is_slow_to_read_the_end_is_no_work(start: Starter) -> None:
    worker = await start(policy=WorkerSettings(hang_seconds=0.3))
    request = Tokenize(worker.next_request_id(), "cancelled?", add_special=False, parse_special=False)
    reading = worker.events(request)
    await anext(reading)
    stream = Stream(worker, max_tokens=3)
    await until(lambda: worker.num_requests == 0)
    await asyncio.sleep(1)
    assert start.news == [], "it was not taken for hanging"
    await reading.aclose()
    assert await stream.whole() == stream.expected
    await worker.stop()


async def test_memory_that_has_grown_is_told(start: Starter, worker: Supervisor) -> None:
    assert worker.facts.memory_bytes == 7
    await ask(worker, "grow")
    assert worker.facts.memory_bytes == 8
    assert start.news == ["8 bytes"]
