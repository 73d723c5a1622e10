"""The parent's side of a worker: start it, pass requests, hand each its events, notice its end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from llamawire_server.config import ModelSettings
from llamawire_server.errors import (
    Condition,
    FieldViolation,
    ServiceError,
    engine_fault,
)
from llamawire_server.worker.messages import (
    Cancel,
    Event,
    Events,
    Failed,
    Loaded,
    LoadFailed,
    Loading,
    Report,
    Request,
    TextDelta,
    WorkerSetup,
)
from llamawire_server.worker.wire import frame, read_frame

log = logging.getLogger(__name__)

STOP_GRACE_SECONDS = 5.0

E = TypeVar("E", bound=Event)


def is_last(event: Event) -> bool:
    """Whether nothing follows the event in its request."""
    return not isinstance(event, TextDelta)


class Mailbox:
    """Where the events of one request wait for whoever reads them.

    A reader that is slower than the model finds several at once, and can send them as one.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._arrival = asyncio.Event()
        self._is_complete = False

    def put(self, event: Event) -> None:
        """Add an event. Nothing comes after the last one: a deadline and the worker may both have a last word."""
        if self._is_complete:
            return
        self._is_complete = is_last(event)
        self._events.append(event)
        self._arrival.set()

    async def take(self) -> list[Event]:
        """All events that have come; waits for the first."""
        await self._arrival.wait()
        self._arrival.clear()
        events, self._events = self._events, []
        return events


class WorkerProcess:
    """A running worker with a loaded model."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        facts: Loaded,
        on_end: Callable[[str], None],
    ) -> None:
        self.facts = facts
        self._process = process
        self._reader = reader
        self._writer = writer
        self._on_end = on_end
        self._mailboxes: dict[int, Mailbox] = {}
        self._numbers = itertools.count(1)
        self._is_stopping = False
        self._reports = asyncio.create_task(self._read_reports(), name=f"worker {process.pid}")

    @classmethod
    async def start(
        cls,
        path: Path,
        settings: ModelSettings,
        chat_template: str | None,
        *,
        on_progress: Callable[[float], None],
        on_end: Callable[[str], None],
    ) -> WorkerProcess:
        """Spawn a worker and wait until its model is loaded.

        on_progress: called with the share loaded. on_end: called with the cause when a worker that was loaded
        ends by itself. Raises ServiceError where the model can't be loaded; cancelling it ends the worker.
        """
        ours, theirs = socket.socketpair()
        # What has begun is ended in the opposite order, wherever starting stops.
        async with contextlib.AsyncExitStack() as undo:
            undo.callback(ours.close)
            with theirs:
                # Spawned, not forked: gRPC's threads and locks do not survive a fork.
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "llamawire_server.worker.child",
                    str(theirs.fileno()),
                    pass_fds=[theirs.fileno()],
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    # The terminal's Ctrl-C is the server's to act on.
                    start_new_session=True,
                )
            undo.push_async_callback(_kill, process)
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            undo.callback(writer.close)
            writer.write(frame(WorkerSetup(str(path), settings, chat_template)))
            facts = await cls._wait_until_loaded(process, reader, on_progress)
            undo.pop_all()
        return cls(process, reader, writer, facts, on_end)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def num_requests(self) -> int:
        """Requests that wait or are being answered."""
        return len(self._mailboxes)

    def next_request_id(self) -> int:
        """A number for a request to this worker; later ones are larger."""
        return next(self._numbers)

    async def events(
        self, request: Request, timeout_seconds: float | None = None
    ) -> AsyncGenerator[list[Event], None]:
        """Send a request; gives its events as they come, several at once where the reader is slow.

        The last event is `Completed` or the answer itself. Leaving early cancels the request. Raises
        ServiceError where it fails, takes longer than `timeout_seconds`, or the worker ends.
        """
        if self._is_stopping or self._reports.done():
            raise engine_fault("the model's worker has ended", "WORKER_CRASHED")
        mailbox = self._mailboxes[request.request_id] = Mailbox()
        is_over = False
        timer = None
        if timeout_seconds is not None:
            late = Failed(request.request_id, "DEADLINE", "DEADLINE_EXCEEDED", "the deadline has passed")
            timer = asyncio.get_running_loop().call_later(max(0.0, timeout_seconds), mailbox.put, late)
        try:
            self._writer.write(frame(request))
            while not is_over:
                events = await mailbox.take()
                last = events[-1]
                is_over = is_last(last)
                if not isinstance(last, Failed):
                    yield events
                    continue
                is_over = last.condition != "DEADLINE"  # of which the worker knows nothing
                if len(events) > 1:
                    yield events[:-1]
                raise _error(last)
        finally:
            if timer is not None:
                timer.cancel()
            self._mailboxes.pop(request.request_id, None)
            if not is_over:
                self._writer.write(frame(Cancel(request.request_id)))

    async def ask(self, request: Request, kind: type[E], timeout_seconds: float | None = None) -> E:
        """Send a request that has one answer, of type `kind`. Raises ServiceError as `events` does."""
        generator = self.events(request, timeout_seconds)
        try:
            async for events in generator:
                if isinstance(events[0], kind):
                    return events[0]
        finally:
            await generator.aclose()
        raise engine_fault(f"the worker gave no {kind.__name__}")

    async def stop(self) -> None:
        """End the worker: at once where it is idle, by force where it takes too long."""
        self._is_stopping = True
        self._writer.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_GRACE_SECONDS)
        except asyncio.TimeoutError:
            log.warning("worker %d does not end; it is killed", self.pid)
            await _kill(self._process)
        await self._reports

    @staticmethod
    async def _wait_until_loaded(
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        on_progress: Callable[[float], None],
    ) -> Loaded:
        while (body := await read_frame(reader)) is not None:
            report = _decoder.decode(body)
            if isinstance(report, Loading):
                on_progress(report.share)
            elif isinstance(report, Loaded):
                return report
            elif isinstance(report, LoadFailed):
                raise engine_fault(f"the model could not be loaded: {report.message}", "MODEL_LOAD_FAILED")
        cause = _describe_end(await process.wait())
        raise engine_fault(f"the model could not be loaded: its worker {cause}", "MODEL_LOAD_FAILED")

    async def _read_reports(self) -> None:
        try:
            await self._deliver_events()
        except Exception:
            log.exception("worker %d sent what can't be read; it is killed", self.pid)
            await _kill(self._process)
        cause = _describe_end(await self._process.wait())
        if self._is_stopping:
            reason, message = "WORKER_STOPPED", "the model was unloaded before the answer was finished"
        else:
            reason, message = "WORKER_CRASHED", f"the model's worker {cause}"
        for request_id, mailbox in self._mailboxes.items():
            mailbox.put(Failed(request_id, "ENGINE", reason, message))
        if not self._is_stopping:
            log.error("worker %d %s", self.pid, cause)
            self._writer.close()
            self._on_end(cause)

    async def _deliver_events(self) -> None:
        """Until the worker's side is closed. Raises what a worker can't have meant."""
        while (body := await read_frame(self._reader)) is not None:
            report = _decoder.decode(body)
            if isinstance(report, Events):
                for event in report.events:
                    # A request that was cancelled has no mailbox any more.
                    if (mailbox := self._mailboxes.get(event.request_id)) is not None:
                        mailbox.put(event)


_decoder: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _error(failed: Failed) -> ServiceError:
    violations = (FieldViolation(failed.field, failed.message),) if failed.field else ()
    return ServiceError(Condition[failed.condition], failed.reason, failed.message, violations=violations)


def _describe_end(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:  # most real-time signals have no name
        name = f"signal {-exit_code}"
    hint = "; `llamawire-server doctor` says why" if name == "SIGILL" else ""
    return f"was ended by {name}{hint}"
