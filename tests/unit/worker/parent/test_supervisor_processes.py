"""A worker's process from its parent's side: how it begins, how it ends, and that none is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from supervised_workers import POLICY, Children, Starter, ask
from waiting import PATIENCE_SECONDS, refused, until

from llamawire_server.config import WorkerSettings
from llamawire_server.errors import Condition, ServiceError
from llamawire_server.worker.parent import process as process_module


async def test_a_worker_reports_loads_answers_and_stops(start: Starter, children: Children) -> None:
    worker = await start()
    assert start.progress == [0.5]
    assert worker.facts.context_length == 3
    assert await ask(worker, "cancelled?") == []
    await worker.stop()
    assert [child.returncode for child in children] == [0]
    assert start.news == [], "it did not end by itself"
    assert (await refused(ask(worker, "cancelled?"))).reason == "MODEL_UNLOADED"


@pytest.mark.parametrize(("path", "message"), [("refuse", "no tensors"), ("crash", "was ended by SIGABRT")])
async def test_a_load_that_fails_says_why_and_leaves_no_process(
    start: Starter, children: Children, path: str, message: str
) -> None:
    error = await refused(start(path))
    assert (error.condition, error.reason) == (Condition.ENGINE, "MODEL_LOAD_FAILED")
    assert message in str(error)
    assert [child.returncode is None for child in children] == [False], "once: it would fail again"
    assert start.news == []


async def test_a_load_that_takes_too_long_is_ended(start: Starter, children: Children) -> None:
    error = await refused(start("hang", load_timeout_seconds=0.5))
    assert "within 0.5 s" in str(error)
    assert children[0].returncode == -signal.SIGKILL


async def test_a_load_that_is_killed_is_begun_again(
    start: Starter, children: Children, tmp_path: Path
) -> None:
    worker = await start(f"killed-first {tmp_path / 'mark'}")
    assert len(children) == 2
    assert start.progress == [0.5, 0.0, 0.5]
    await worker.stop()


async def test_a_load_that_somebody_stopped_is_killed_and_fails_in_the_end(
    start: Starter, children: Children
) -> None:
    policy = WorkerSettings(hang_seconds=0.1, max_restarts=1, first_pause_seconds=0.001)
    error = await refused(start("stop", policy))
    assert error.reason == "MODEL_LOAD_FAILED"
    assert [child.returncode for child in children] == [-signal.SIGKILL] * 2


async def test_a_start_that_is_cancelled_leaves_no_process(start: Starter, children: Children) -> None:
    starting = asyncio.create_task(start("hang"))
    await until(lambda: start.progress)
    starting.cancel()
    await asyncio.wait({starting})
    assert starting.cancelled()
    assert children[0].returncode == -signal.SIGKILL


@pytest.mark.parametrize("num_ticks", range(12))
async def test_a_start_that_is_cancelled_as_it_ends_leaves_no_process(
    start: Starter, children: Children, num_ticks: int
) -> None:
    starting = asyncio.create_task(start())
    await until(lambda: start.progress)
    for _ in range(num_ticks):
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait({starting})
    if not starting.cancelled():
        await starting.result().stop()
    assert children[0].returncode is not None


async def test_a_start_that_fails_before_it_can_speak_leaves_no_process(
    start: Starter, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(**_: Any) -> Any:
        raise OSError("no more of them")

    monkeypatch.setattr(asyncio, "open_unix_connection", fail)
    error = await refused(start())
    assert (error.reason, len(children)) == ("MODEL_LOAD_FAILED", POLICY.max_restarts + 1)
    assert "no more of them" in str(error)
    assert all(child.returncode is not None for child in children)


async def test_stopping_fails_what_is_running_with_the_given_error(start: Starter) -> None:
    worker = await start()
    waiting = asyncio.create_task(ask(worker, "wait"))
    await until(lambda: worker.num_requests == 1)
    await worker.stop(ServiceError(Condition.CANCELLED, "MODEL_UNLOADED", "it was unloaded"))
    error = await refused(waiting)
    assert (error.condition, error.reason, str(error)) == (
        Condition.CANCELLED,
        "MODEL_UNLOADED",
        "it was unloaded",
    )
    assert start.news == []


async def test_a_worker_that_does_not_end_is_killed(
    start: Starter, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "STOP_GRACE_SECONDS", 0.05)
    worker = await start()
    await ask(worker, "do not end")
    await worker.stop()
    assert children[0].returncode == -signal.SIGKILL


@pytest.mark.parametrize("num_ticks", [None, *range(12)])
async def test_stopping_while_it_is_started_again_leaves_no_process(
    start: Starter, children: Children, num_ticks: int | None
) -> None:
    worker = await start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    await until(lambda: len(children) == 2)
    if num_ticks is not None:
        await until(lambda: len(start.progress) == 2)
        for _ in range(num_ticks):
            await asyncio.sleep(0)
    await asyncio.wait_for(worker.stop(), PATIENCE_SECONDS)
    assert all(child.returncode is not None for child in children)


async def test_a_process_that_nobody_can_look_after_is_ended(start: Starter, children: Children) -> None:
    def fail(memory_bytes: int) -> None:
        raise RuntimeError("a mistake")

    start.note_memory = fail  # type: ignore[method-assign]
    worker = await start()
    error = await refused(ask(worker, "grow"))
    assert error.reason == "WORKER_CRASHED"
    assert start.news == ["end: could not be looked after"]
    assert children[0].returncode is not None
    await worker.stop()
