"""One worker process, from its start to its end, and what is said to it and by it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from llamawire_server.config import ModelSettings
from llamawire_server.worker.messages import (
    Event,
    Events,
    Loaded,
    LoadFailed,
    Loading,
    Memory,
    Report,
    Request,
    WorkerSetup,
)
from llamawire_server.worker.parent.death import Death
from llamawire_server.worker.parent.model_file import ModelFile
from llamawire_server.worker.parent.watchdog import LoadWatch, StepWatch
from llamawire_server.worker.wire import frame, read_frame

log = logging.getLogger(__name__)

# A worker has nothing to save; it only ends more quietly by itself.
STOP_GRACE_SECONDS = 1.0


# Signals that come from outside: a worker's own faults have others, and the kernel that is short of memory kills.
_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class StartError(Exception):
    """A worker did not come to have its model loaded; the text says why."""

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        """may_pass: whether it was no fault of its own, and may go better the next time."""
        super().__init__(message)
        self.may_pass = may_pass


class WorkerProcess:
    """A process with a loaded model."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        facts: Loaded,
    ) -> None:
        self.facts = facts
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(
        cls,
        file: ModelFile,
        settings: ModelSettings,
        chat_template: str | None,
        *,
        on_progress: Callable[[float], None],
        hang_seconds: float,
        draft_file: ModelFile | None = None,
    ) -> WorkerProcess:
        """Spawn a worker and wait until its model is loaded.

        draft_file: that of the settings' draft model.
        on_progress: called with the share loaded. hang_seconds: a worker that was stopped for so long is killed.
        Raises StartError; cancelling it ends the process.
        """
        ours, theirs = socket.socketpair()
        files = [file]
        if draft_file is not None:
            files.append(draft_file)
            settings = dataclasses.replace(settings, draft_model=Path(draft_file.name))
        held = [each.descriptor for each in files if each.descriptor is not None]
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
                    pass_fds=[theirs.fileno(), *held],
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    # The terminal's Ctrl-C is the server's to act on.
                    start_new_session=True,
                )
            undo.push_async_callback(_kill, process)
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            undo.callback(writer.close)
            writer.write(frame(WorkerSetup(file.name, settings, chat_template)))
            with LoadWatch(process.pid, hang_seconds, process.kill):
                facts = await _wait_until_loaded(process, reader, on_progress, files)
            undo.pop_all()
        return cls(process, reader, writer, facts)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, request: Request) -> None:
        """Pass a request on. What is sent to a process that has ended is lost."""
        if not self._writer.is_closing():
            self._writer.write(frame(request))

    async def deliver(
        self, take: Callable[[Event], None], note_memory: Callable[[int], None], watch: StepWatch
    ) -> Death:
        """Hand over its events, and what it says of its memory in bytes, until the process has ended.

        A process that `watch` finds hanging, or that says what can't be read, is killed.
        """
        nonsense = ""
        with watch.over(self._process.pid, self._process.kill):
            try:
                while (body := await read_frame(self._reader)) is not None:
                    watch.note_life()
                    report = _decoder.decode(body)
                    if isinstance(report, Events):
                        for event in report.events:
                            take(event)
                    elif isinstance(report, Memory):
                        note_memory(report.memory_bytes)
            except msgspec.DecodeError as error:
                nonsense = f"sent what can't be read and was killed: {error}"
                await _kill(self._process)
            self._writer.close()
            exit_code = await self._process.wait()
        if nonsense:
            return Death(nonsense, is_from_outside=False)
        if watch.finding is not None:
            return watch.finding
        return Death(_describe_end(exit_code), is_from_outside=-exit_code in _OUTSIDE)

    async def kill(self) -> None:
        """End the process by force."""
        self._writer.close()
        await _kill(self._process)

    async def stop(self) -> None:
        """End the process: at once where it is idle, by force where it takes too long."""
        self._writer.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_GRACE_SECONDS)
        except asyncio.TimeoutError:
            log.warning("worker %d does not end; it is killed", self.pid)
            await _kill(self._process)


async def _wait_until_loaded(
    process: asyncio.subprocess.Process,
    reader: asyncio.StreamReader,
    on_progress: Callable[[float], None],
    files: list[ModelFile],
) -> Loaded:
    while (body := await read_frame(reader)) is not None:
        report = _decoder.decode(body)
        if isinstance(report, Loading):
            on_progress(report.share)
        elif isinstance(report, Loaded):
            return report
        elif isinstance(report, LoadFailed):
            raise StartError(_with_paths(report.message, files))
    exit_code = await process.wait()
    # Who was killed may have been in somebody's way; a fault would come again.
    raise StartError(f"the worker {_describe_end(exit_code)}", may_pass=-exit_code in _OUTSIDE)


def _with_paths(message: str, files: list[ModelFile]) -> str:
    """The message, with the files called as everybody else calls them."""
    # One name may be how another begins.
    for file in sorted(files, key=lambda file: len(file.name), reverse=True):
        message = message.replace(file.name, str(file.path))
    return message


_decoder: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _describe_end(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:  # most real-time signals have no name
        name = f"signal {-exit_code}"
    hint = "; `llamawire-server doctor` says why" if name == "SIGILL" else ""
    return f"was ended by {name}{hint}"
