"""Who is to blame for a worker's deaths: that request fails alone, and all others are answered."""

from __future__ import annotations

import asyncio
import signal

import pytest
from supervised_workers import Starter, Stream, ask

from llamawire_server.errors import Condition
from llamawire_server.worker.parent.supervisor import Supervisor


async def test_a_worker_that_hangs_under_a_request_is_killed_and_the_request_fails_alone(
    start: Starter, worker: Supervisor
) -> None:
    others = [Stream(worker, max_tokens=200) for _ in range(2)]
    suspect = Stream(worker, "hang 0")
    error = await suspect.error()
    assert error.reason == "WORKER_CRASHED"
    assert "hung" in str(error)
    for stream in others:
        assert await stream.whole() == stream.expected


@pytest.mark.parametrize("place", [0, 7])
async def test_who_is_there_at_two_deaths_and_gets_nowhere_fails_alone(
    start: Starter, worker: Supervisor, place: int
) -> None:
    before = [Stream(worker, max_tokens=90) for _ in range(3)]
    suspect = Stream(worker, f"poison {place}")
    after = [Stream(worker, max_tokens=90) for _ in range(3)]
    error = await suspect.error()
    assert (error.condition, error.reason) == (Condition.ENGINE, "WORKER_CRASHED")
    assert suspect.text == "".join(f"{number} " for number in range(place))
    for stream in (*before, *after):
        assert await stream.whole() == stream.expected
    assert not any(news.startswith("end: ") for news in start.news)
    assert await ask(worker, "cancelled?") == []


async def test_who_waits_in_the_workers_line_is_never_to_blame(worker: Supervisor) -> None:
    answered = Stream(worker, f"die 1 {int(signal.SIGSEGV)} 20")
    in_line = [Stream(worker, "queue") for _ in range(2)]
    assert await answered.whole() == answered.expected
    assert not any(stream.task.done() for stream in in_line)
    for stream in in_line:
        stream.task.cancel()
    await asyncio.wait([stream.task for stream in in_line])


async def test_two_poisonous_requests_are_found_one_by_one(worker: Supervisor) -> None:
    streams = [Stream(worker, command) for command in ("count", "poison 0", "count", "poison 0", "count")]
    errors = [await streams[1].error(), await streams[3].error()]
    assert [error.reason for error in errors] == ["WORKER_CRASHED"] * 2
    for stream in streams[::2]:
        assert await stream.whole() == stream.expected


async def test_an_innocent_that_comes_later_waits_for_the_trial_and_is_answered(worker: Supervisor) -> None:
    suspect = Stream(worker, "poison 0")
    late = []
    while not suspect.task.done():
        late.append(Stream(worker, max_tokens=3))
        await asyncio.sleep(0.02)
    assert (await suspect.error()).reason == "WORKER_CRASHED"
    for stream in late:
        assert await stream.whole() == stream.expected
