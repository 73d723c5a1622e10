"""The parent's side of a worker, with a child that has no model: starting, asking, leaving, dying, stopping."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from llamawire_server.config import ModelSettings
from llamawire_server.errors import Condition, ServiceError
from llamawire_server.worker import process as process_module
from llamawire_server.worker.messages import Completed, Failed, TextDelta, Tokenize, Tokens
from llamawire_server.worker.process import Mailbox, WorkerProcess

CHILD = Path(__file__).with_name("scripted_child.py")
PATIENCE_SECONDS = 30

Children = list[asyncio.subprocess.Process]


@pytest.fixture(autouse=True)
def children(monkeypatch: pytest.MonkeyPatch) -> Children:
    """The processes that were started, which run the scripted child."""
    started: Children = []
    create = asyncio.create_subprocess_exec

    async def create_scripted(*command: Any, **options: Any) -> asyncio.subprocess.Process:
        assert command[:3] == (sys.executable, "-m", "llamawire_server.worker.child")
        started.append(await create(sys.executable, str(CHILD), *command[3:], **options))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", create_scripted)
    return started


class Starter:
    """Starts workers and notes what they report."""

    def __init__(self) -> None:
        self.progress: list[float] = []
        self.ends: list[str] = []

    async def __call__(self, path: str = "good") -> WorkerProcess:
        return await WorkerProcess.start(
            Path(path), ModelSettings(), None, on_progress=self.progress.append, on_end=self.ends.append
        )


@pytest.fixture
def start() -> Starter:
    return Starter()


@pytest.fixture
async def worker(start: Starter) -> AsyncIterator[WorkerProcess]:
    worker = await start()
    yield worker
    await worker.stop()


def tokenize(worker: WorkerProcess, text: str) -> Tokenize:
    return Tokenize(worker.next_request_id(), text, add_special=False, parse_special=False)


async def ask(worker: WorkerProcess, text: str, timeout_seconds: float | None = None) -> list[int]:
    answer = worker.ask(tokenize(worker, text), Tokens, timeout_seconds)
    return (await asyncio.wait_for(answer, PATIENCE_SECONDS)).tokens


async def refused(attempt: Awaitable[object]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await attempt
    return caught.value


async def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.001)


async def test_a_worker_reports_loads_answers_and_stops(start: Starter, children: Children) -> None:
    worker = await start()
    assert start.progress == [0.5]
    assert worker.facts.context_length == 3
    assert await ask(worker, "cancelled?") == []
    await worker.stop()
    assert [child.returncode for child in children] == [0]
    assert start.ends == [], "it did not end by itself"
    assert (await refused(ask(worker, "cancelled?"))).reason == "WORKER_CRASHED"


@pytest.mark.parametrize(("path", "message"), [("refuse", "no tensors"), ("crash", "was ended by SIGABRT")])
async def test_a_load_that_fails_says_why_and_leaves_no_process(
    start: Starter, children: Children, path: str, message: str
) -> None:
    error = await refused(start(path))
    assert (error.condition, error.reason) == (Condition.ENGINE, "MODEL_LOAD_FAILED")
    assert message in str(error)
    assert children[0].returncode is not None
    assert start.ends == []


async def test_a_start_that_is_cancelled_leaves_no_process(start: Starter, children: Children) -> None:
    starting = asyncio.create_task(start("hang"))
    await until(lambda: start.progress)
    starting.cancel()
    await asyncio.wait({starting})
    assert starting.cancelled()
    assert children[0].returncode == -signal.SIGKILL


async def test_a_start_that_fails_before_it_can_speak_leaves_no_process(
    start: Starter, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(**_: Any) -> Any:
        raise OSError("no more of them")

    monkeypatch.setattr(asyncio, "open_unix_connection", fail)
    with pytest.raises(OSError, match="no more of them"):
        await start()
    assert children[0].returncode is not None


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGSEGV, "SIGSEGV"), (35, "signal 35"), (signal.SIGILL, "doctor")]
)
async def test_a_worker_that_dies_fails_all_its_requests(start: Starter, number: int, name: str) -> None:
    worker = await start()
    waiting = [asyncio.create_task(ask(worker, "wait")) for _ in range(3)]
    await until(lambda: worker.num_requests == 3)
    errors = [await refused(ask(worker, f"signal {int(number)}")), *[await refused(call) for call in waiting]]
    assert {error.reason for error in errors} == {"WORKER_CRASHED"}
    assert all(name in str(error) for error in errors)
    assert len(start.ends) == 1
    assert name in start.ends[0]
    assert worker.num_requests == 0
    assert (await refused(ask(worker, "x"))).reason == "WORKER_CRASHED"
    await worker.stop()
    assert len(start.ends) == 1


async def test_a_deadline_ends_a_request_there_too(worker: WorkerProcess) -> None:
    error = await refused(ask(worker, "wait", timeout_seconds=0.01))
    assert (error.condition, error.reason) == (Condition.DEADLINE, "DEADLINE_EXCEEDED")
    assert worker.num_requests == 0
    assert await ask(worker, "cancelled?", timeout_seconds=PATIENCE_SECONDS) == [1]


async def test_who_leaves_cancels_and_who_was_answered_does_not(worker: WorkerProcess) -> None:
    await ask(worker, "cancelled?")
    leaving = asyncio.create_task(ask(worker, "wait"))
    await until(lambda: worker.num_requests == 1)
    leaving.cancel()
    await asyncio.wait({leaving})
    assert worker.num_requests == 0
    assert await ask(worker, "cancelled?") == [2]


async def test_stopping_fails_what_is_running(start: Starter) -> None:
    worker = await start()
    waiting = asyncio.create_task(ask(worker, "wait"))
    await until(lambda: worker.num_requests == 1)
    await worker.stop()
    assert (await refused(waiting)).reason == "WORKER_STOPPED"
    assert start.ends == []


async def test_a_worker_that_does_not_end_is_killed(
    start: Starter, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "STOP_GRACE_SECONDS", 0.05)
    worker = await start()
    await ask(worker, "do not end")
    await worker.stop()
    assert children[0].returncode == -signal.SIGKILL


LATE = Failed(1, "DEADLINE", "DEADLINE_EXCEEDED", "late")
DELTA = TextDelta(1, 0, "x")
COMPLETED = Completed(1, 1, 0, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("put", "taken"),
    [
        ([DELTA, DELTA], [DELTA, DELTA]),
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
