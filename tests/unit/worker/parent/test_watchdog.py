"""Workers that hang, and those that only take their time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from waiting import until

from llamawire_server.worker.parent.watchdog import LoadWatch, StepWatch, is_stopped

HANG_SECONDS = 0.1
PATIENCE_SECONDS = 60


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


async def test_silence_at_work_is_a_hang(process: subprocess.Popen[bytes]) -> None:
    watch = StepWatch(HANG_SECONDS, 0.0, lambda: True)
    with watch.over(process.pid, process.kill):
        await until(lambda: watch.finding)
    assert watch.finding is not None
    assert watch.finding.cause.startswith("hung for")
    assert not watch.finding.is_from_outside
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL


async def test_silence_without_work_is_none() -> None:
    num_looks = 0

    def look() -> bool:
        nonlocal num_looks
        num_looks += 1
        return False

    watch = StepWatch(HANG_SECONDS, 0.0, look)
    with watch.over(os.getpid(), pytest.fail):
        await until(lambda: num_looks > 30)
    assert watch.finding is None


async def test_a_large_model_may_take_its_time(process: subprocess.Popen[bytes]) -> None:
    num_looks = 0

    def look() -> bool:
        nonlocal num_looks
        num_looks += 1
        return True

    watch = StepWatch(HANG_SECONDS, HANG_SECONDS / 64, look)
    with watch.over(process.pid, process.kill):
        await until(lambda: num_looks > 40)
        assert watch.finding is None, "five of its steps take fifty looks"
        await until(lambda: watch.finding)
    assert num_looks > 50


async def test_steps_that_took_long_before_may_do_so_again(process: subprocess.Popen[bytes]) -> None:
    num_looks = 0

    def look() -> bool:
        nonlocal num_looks
        num_looks += 1
        if num_looks in (8, 16):
            watch.note_life()
        return True

    watch = StepWatch(HANG_SECONDS, 0.0, look)
    with watch.over(process.pid, process.kill):
        await until(lambda: watch.finding)
    assert num_looks > 16 + 5 * 7


@pytest.mark.skipif(sys.platform != "linux", reason="other systems don't say which processes are stopped")
async def test_who_was_stopped_was_so_from_outside(process: subprocess.Popen[bytes]) -> None:
    assert not is_stopped(process.pid)
    process.send_signal(signal.SIGSTOP)
    await until(lambda: is_stopped(process.pid))
    watch = StepWatch(HANG_SECONDS, 1e6, lambda: True)
    with watch.over(process.pid, process.kill):
        await until(lambda: watch.finding)
    assert watch.finding is not None
    assert watch.finding.is_from_outside


@pytest.mark.skipif(sys.platform != "linux", reason="other systems don't say which processes are stopped")
async def test_a_load_may_take_any_time_but_not_stand_still(process: subprocess.Popen[bytes]) -> None:
    killed: list[bool] = []
    with LoadWatch(process.pid, HANG_SECONDS, lambda: killed.append(True)):
        await asyncio.sleep(5 * HANG_SECONDS)
        assert killed == []
        process.send_signal(signal.SIGSTOP)
        await until(lambda: killed)
    assert not is_stopped(2**30), "no such process"
