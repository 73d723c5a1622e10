"""A worker that dies: its requests go on in the next one, with the same model, or are told why not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from supervised_workers import POLICY, Children, Starter, Stream, ask
from waiting import refused, until

from llamawire_server.config import WorkerSettings
from llamawire_server.worker.parent.supervisor import Supervisor


def open_files() -> list[str]:
    """What this process holds open."""
    return [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV])
async def test_a_worker_that_dies_costs_nobody_a_number(
    start: Starter, worker: Supervisor, number: signal.Signals
) -> None:
    streams = [Stream(worker) for _ in range(8)]
    for reached in (1, 10, 20):
        await until(lambda reached=reached: all(len(stream.text) > 2 * reached for stream in streams))
        pid = worker.pid
        assert pid is not None
        os.kill(pid, number)
        await until(lambda pid=pid: worker.pid not in (None, pid) or worker.num_requests == 0)
    for stream in streams:
        assert await stream.whole() == stream.expected
    assert start.news[:2] == [f"was ended by {number.name}", "ready"]


async def test_a_worker_that_was_stopped_is_killed_and_its_requests_go_on(
    start: Starter, worker: Supervisor
) -> None:
    streams = [Stream(worker, max_tokens=60) for _ in range(8)]
    await until(lambda: all(stream.text for stream in streams))
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    for stream in streams:
        assert await stream.whole() == stream.expected
    assert start.news == ["was stopped by a signal, and killed", "ready"]


async def test_a_request_that_makes_progress_outlives_any_number_of_deaths(
    start: Starter, worker: Supervisor
) -> None:
    stream = Stream(worker, f"die 2 {int(signal.SIGSEGV)} 28")
    assert await stream.whole() == stream.expected
    assert start.news.count("ready") == 13 > POLICY.max_restarts


async def test_who_left_is_not_taken_up_again_after_a_death(worker: Supervisor) -> None:
    leaving = Stream(worker, "wait")
    staying = Stream(worker)
    await until(lambda: staying.text)
    leaving.task.cancel()
    await asyncio.wait({leaving.task})
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    assert await staying.whole() == staying.expected
    assert await ask(worker, "cancelled?") == []


async def test_a_worker_that_sends_nonsense_is_replaced(start: Starter, worker: Supervisor) -> None:
    stream = Stream(worker)
    error = await refused(ask(worker, "nonsense"))
    assert error.reason == "WORKER_CRASHED"
    assert "can't be read" in start.news[0]
    assert await stream.whole() == stream.expected


@pytest.mark.parametrize(("number", "name"), [(35, "signal 35"), (signal.SIGILL, "doctor")])
async def test_the_cause_of_a_death_is_told(
    start: Starter, worker: Supervisor, number: int, name: str
) -> None:
    error = await refused(ask(worker, f"signal {int(number)}"))
    assert name in str(error)
    assert name in start.news[0]


async def test_a_restart_that_can_not_be_had_just_now_is_tried_again(
    start: Starter, worker: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(worker)
    await until(lambda: stream.text)
    create = asyncio.create_subprocess_exec
    num_failures = 2

    async def fail_first(*command: Any, **options: Any) -> Any:
        nonlocal num_failures
        num_failures -= 1
        if num_failures >= 0:
            raise BlockingIOError("no more processes")
        return await create(*command, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", fail_first)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    assert await stream.whole() == stream.expected
    again = "could not load the model again: no worker could be started: no more processes"
    assert start.news == ["was ended by SIGKILL", again, again, "ready"]


async def test_a_worker_that_dies_again_and_again_is_given_up_with_its_requests(
    start: Starter, children: Children
) -> None:
    # Whoever lives for longer than some of the longest pauses begins anew: not to happen here.
    policy = WorkerSettings(max_restarts=6, first_pause_seconds=0.001, longest_pause_seconds=10.0)
    worker = await start(policy=policy)
    waiting = [Stream(worker, "wait") for _ in range(2)]
    num_kills = 0
    while not start.news or not start.news[-1].startswith("end: "):
        pid = worker.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            num_kills += 1
            await until(lambda pid=pid: worker.pid != pid)
        await asyncio.sleep(0.001)
    assert num_kills == policy.max_restarts + 1
    assert {(await stream.error()).reason for stream in waiting} == {"WORKER_CRASHED"}
    assert (await refused(ask(worker, "x"))).reason == "WORKER_CRASHED"
    await worker.stop()
    assert all(child.returncode is not None for child in children)


async def test_a_model_that_can_not_be_loaded_again_fails_its_requests_with_the_reason(
    start: Starter, tmp_path: Path
) -> None:
    worker = await start(f"refuse-later {tmp_path / 'mark'}")
    waiting = Stream(worker, "wait")
    await ask(worker, "cancelled?")
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    error = await waiting.error()
    assert error.reason == "WORKER_CRASHED"
    assert "the file is gone" in str(error)
    assert start.news[-1] == "end: could not load the model again: the file is gone"
    assert (await refused(ask(worker, "x"))).reason == "WORKER_CRASHED"
    await worker.stop()


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux opens a file again that is not there any more"
)
async def test_who_goes_on_does_so_with_the_same_model(start: Starter, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_text("good")
    worker = await start(str(file))
    stream = Stream(worker)
    await until(lambda: stream.text)
    other = tmp_path / "other"
    other.write_text("refuse")
    other.replace(file)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    assert await stream.whole() == stream.expected
    await worker.stop()
    error = await refused(start(str(file)))
    assert "no tensors" in str(error)
    assert not [path for path in open_files() if str(tmp_path) in path], "nothing is held longer than need be"


async def test_who_can_not_go_on_with_the_same_model_is_told(start: Starter, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_text("good")
    worker = await start(str(file))
    stream = Stream(worker, "wait")
    await ask(worker, "cancelled?")
    file.write_text("good, but another")
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    error = await stream.error()
    assert error.reason == "WORKER_CRASHED"
    assert "the model's file was changed" in str(error)
    await worker.stop()
