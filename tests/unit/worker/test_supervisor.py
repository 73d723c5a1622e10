"""A model's worker from its parent's side, with a child without a model: it starts, answers, dies, goes on, stops."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sampling import GREEDY

from llamawire_server.config import ModelSettings, WorkerSettings
from llamawire_server.errors import Condition, ServiceError
from llamawire_server.worker import process as process_module
from llamawire_server.worker.messages import ChatPrompt, Completed, Generate, TextDelta, Tokenize, Tokens
from llamawire_server.worker.supervisor import Supervisor

CHILD = Path(__file__).with_name("scripted_child.py")
PATIENCE_SECONDS = 60
POLICY = WorkerSettings(
    hang_seconds=1.0, max_restarts=6, first_pause_seconds=0.001, longest_pause_seconds=0.01
)

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
    """Starts workers and notes what is told of them."""

    def __init__(self) -> None:
        self.progress: list[float] = []
        self.news: list[str] = []

    async def __call__(
        self, path: str = "good", policy: WorkerSettings = POLICY, load_timeout_seconds: float = 60.0
    ) -> Supervisor:
        return await Supervisor.start(Path(path), ModelSettings(), None, self, policy, load_timeout_seconds)

    def note_progress(self, share: float) -> None:
        self.progress.append(share)

    def note_death(self, cause: str, pause_seconds: float) -> None:
        self.news.append(cause)

    def note_memory(self, memory_bytes: int) -> None:
        self.news.append(f"{memory_bytes} bytes")

    def note_ready(self) -> None:
        self.news.append("ready")

    def note_end(self, cause: str) -> None:
        self.news.append(f"end: {cause}")


@pytest.fixture
def start() -> Starter:
    return Starter()


@pytest.fixture
async def worker(start: Starter) -> AsyncIterator[Supervisor]:
    worker = await start()
    yield worker
    await worker.stop()


async def ask(worker: Supervisor, text: str, timeout_seconds: float | None = None) -> list[int]:
    request = Tokenize(worker.next_request_id(), text, add_special=False, parse_special=False)
    answer = worker.ask(request, Tokens, timeout_seconds)
    return (await asyncio.wait_for(answer, PATIENCE_SECONDS)).tokens


class Stream:
    """A caller who reads an answer of so many numbers."""

    def __init__(self, worker: Supervisor, command: str = "count", max_tokens: int = 30) -> None:
        self.text = ""
        self.request_id = worker.next_request_id()
        self._max_tokens = max_tokens
        request = Generate(
            request_id=self.request_id,
            arrived=time.monotonic(),
            arrived_at=time.time(),
            prompt=ChatPrompt([{"role": "user", "content": command}]),
            sampling=GREEDY,
            max_tokens=max_tokens,
            is_max_tokens_explicit=True,
            num_choices=1,
            stops=[],
            stop_token_ids=[],
        )
        self.task = asyncio.create_task(self._read(worker, request))

    @property
    def expected(self) -> str:
        return "".join(f"{number} " for number in range(self._max_tokens))

    async def _read(self, worker: Supervisor, request: Generate) -> Completed:
        async for events in worker.events(request):
            for event in events:
                if isinstance(event, TextDelta):
                    self.text += event.text
                elif isinstance(event, Completed):
                    return event
        raise AssertionError("a stream ends with what it cost")

    async def whole(self) -> str:
        completed = await asyncio.wait_for(self.task, PATIENCE_SECONDS)
        assert completed.num_completion_tokens == self._max_tokens
        return self.text

    async def error(self) -> ServiceError:
        return await refused(asyncio.wait_for(self.task, PATIENCE_SECONDS))


async def refused(attempt: Awaitable[object]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await attempt
    return caught.value


async def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.001)


def open_files() -> list[str]:
    """What this process holds open."""
    return [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


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


@pytest.mark.parametrize(("number", "name"), [(35, "signal 35"), (signal.SIGILL, "doctor")])
async def test_the_cause_of_a_death_is_told(
    start: Starter, worker: Supervisor, number: int, name: str
) -> None:
    error = await refused(ask(worker, f"signal {int(number)}"))
    assert name in str(error)
    assert name in start.news[0]


async def test_memory_that_has_grown_is_told(start: Starter, worker: Supervisor) -> None:
    assert worker.facts.memory_bytes == 7
    await ask(worker, "grow")
    assert worker.facts.memory_bytes == 8
    assert start.news == ["8 bytes"]


async def test_a_worker_that_refuses_says_when_to_come_back(worker: Supervisor) -> None:
    request = Tokenize(worker.next_request_id(), "busy", add_special=False, parse_special=False)
    error = await refused(worker.ask(request, Tokens))
    assert (error.condition, error.reason) == (Condition.BUSY, "DEADLINE_UNREACHABLE")
    assert error.retry_after_seconds == 7.5


async def test_a_worker_that_sends_nonsense_is_replaced(start: Starter, worker: Supervisor) -> None:
    stream = Stream(worker)
    error = await refused(ask(worker, "nonsense"))
    assert error.reason == "WORKER_CRASHED"
    assert "can't be read" in start.news[0]
    assert await stream.whole() == stream.expected


async def test_a_deadline_ends_a_request_there_too(worker: Supervisor) -> None:
    error = await refused(ask(worker, "wait", timeout_seconds=0.01))
    assert (error.condition, error.reason) == (Condition.DEADLINE, "DEADLINE_EXCEEDED")
    assert worker.num_requests == 0
    assert await ask(worker, "cancelled?", timeout_seconds=PATIENCE_SECONDS) == [1]


async def test_a_deadline_counts_while_the_worker_is_away(start: Starter, tmp_path: Path) -> None:
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
