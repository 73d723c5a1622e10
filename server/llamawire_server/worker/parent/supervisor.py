"""A model's worker for as long as the model is loaded: started again when it dies, with all that it had to do."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TypeVar

import msgspec

from llamawire_server.config import ModelSettings, WorkerSettings
from llamawire_server.errors import Condition, FieldViolation, ServiceError, engine_fault
from llamawire_server.worker.messages import Cancel, Event, Failed, Request
from llamawire_server.worker.parent.death import Death
from llamawire_server.worker.parent.mailbox import is_last
from llamawire_server.worker.parent.model_file import ModelFile
from llamawire_server.worker.parent.observer import WorkerObserver
from llamawire_server.worker.parent.pauses import Pauses
from llamawire_server.worker.parent.process import StartError, WorkerProcess
from llamawire_server.worker.parent.starting import within
from llamawire_server.worker.parent.ticket import Ticket, find_culprit, next_to_send
from llamawire_server.worker.parent.watchdog import StepWatch

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)


@dataclasses.dataclass(frozen=True)
class Launch:
    """How to start a worker, the first time and any other."""

    file: ModelFile
    settings: ModelSettings
    chat_template: str | None
    observer: WorkerObserver
    policy: WorkerSettings
    load_timeout_seconds: float
    draft_file: ModelFile | None = None

    def close(self) -> None:
        """Let go of the files."""
        self.file.close()
        if self.draft_file is not None:
            self.draft_file.close()

    async def start(self) -> WorkerProcess:
        """A process with its model loaded. Raises StartError."""
        process = WorkerProcess.start(
            self.file,
            self.settings,
            self.chat_template,
            on_progress=self.observer.note_progress,
            hang_seconds=self.policy.hang_seconds,
            draft_file=self.draft_file,
        )
        try:
            return await within(self.load_timeout_seconds, process, WorkerProcess.kill)
        except asyncio.TimeoutError:
            limit = self.load_timeout_seconds
            raise StartError(f"it was not loaded within {limit:g} s") from None
        except OSError as error:  # no more processes, files or memory just now
            raise StartError(f"no worker could be started: {error}", may_pass=True) from None


class Supervisor:
    """The one process of a model at a time, and the requests that outlive it."""

    def __init__(self, launch: Launch, process: WorkerProcess) -> None:
        self.facts = process.facts
        self._launch = launch
        self._process: WorkerProcess | None = process
        self._tickets: dict[int, Ticket] = {}
        self._numbers = itertools.count(1)
        self._pauses = Pauses(launch.policy)
        self._ending: ServiceError | None = None
        self._life = asyncio.create_task(self._look_after(process), name=f"worker of {launch.file.path.name}")

    @classmethod
    async def start(
        cls,
        path: Path,
        settings: ModelSettings,
        chat_template: str | None,
        observer: WorkerObserver,
        policy: WorkerSettings,
        load_timeout_seconds: float = 600.0,
    ) -> Supervisor:
        """Spawn a worker and wait until its model is loaded.

        Raises ServiceError where the model can't be loaded; cancelling it ends the process.
        """
        draft_file = ModelFile(settings.draft_model) if settings.draft_model is not None else None
        launch = Launch(
            ModelFile(path), settings, chat_template, observer, policy, load_timeout_seconds, draft_file
        )
        try:
            return cls(launch, await cls._first_process(launch))
        except BaseException:
            launch.close()
            raise

    @staticmethod
    async def _first_process(launch: Launch) -> WorkerProcess:
        pauses = Pauses(launch.policy)
        while True:
            try:
                return await launch.start()
            except StartError as error:
                pause = pauses.next_seconds()
                if not error.may_pass or pauses.are_used_up:
                    message = f"the model could not be loaded: {error}"
                    raise engine_fault(message, "MODEL_LOAD_FAILED") from None
                log.warning("%s: %s; it is loaded again", launch.file.path.name, error)
                launch.observer.note_progress(0.0)
                await asyncio.sleep(pause)

    @property
    def pid(self) -> int | None:
        """The process of this moment; None while there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def num_requests(self) -> int:
        """Requests that wait or are being answered."""
        return len(self._tickets)

    def next_request_id(self) -> int:
        """A number for a request to this worker; later ones are larger."""
        return next(self._numbers)

    async def events(
        self, request: Request, timeout_seconds: float | None = None
    ) -> AsyncGenerator[list[Event], None]:
        """Send a request; gives its events as they come, several at once where the reader is slow.

        The last event is `Completed` or the answer itself. Leaving early cancels the request. Raises ServiceError
        where it fails, takes longer than `timeout_seconds`, or the worker is stopped or given up. A worker that dies
        and is started again shows in nothing but the time that it takes.
        """
        if self._ending is not None:
            raise dataclasses.replace(self._ending)
        ticket = self._tickets[request.request_id] = Ticket(request)
        timer = None
        if timeout_seconds is not None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(max(0.0, timeout_seconds), self._let_expire, ticket)
        try:
            self._send_what_may_go()
            is_over = False
            while not is_over:
                events = await ticket.mailbox.take()
                last = events[-1]
                is_over = is_last(last)
                if not isinstance(last, Failed):
                    yield events
                    continue
                if len(events) > 1:
                    yield events[:-1]
                raise _error(last)
        finally:
            if timer is not None:
                timer.cancel()
            self._drop(ticket)

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

    async def stop(self, error: ServiceError | None = None) -> None:
        """End the worker for good. What it is still answering ends with `error`."""
        self._end_with(error or engine_fault("the model was unloaded", "MODEL_UNLOADED"))
        if self._process is not None:
            await self._process.stop()
        else:
            self._life.cancel()
        await asyncio.wait({self._life})

    async def _look_after(self, process: WorkerProcess) -> None:
        try:
            await self._be_there(process)
        except Exception:
            log.exception("the worker of %s can't be looked after any more", self._launch.file.path.name)
            if self._process is not None:
                await self._process.kill()
            self._give_up("could not be looked after")
        finally:
            self._launch.close()

    async def _be_there(self, process: WorkerProcess) -> None:
        """At each death, until the worker is stopped or given up."""
        observer = self._launch.observer
        while True:
            death = await self._live(process)
            if self._ending is not None:
                return
            log.error("worker %d of %s %s", process.pid, self._launch.file.path.name, death.cause)
            self._judge(death)
            pause = self._pauses.next_seconds()
            if self._pauses.are_used_up:
                self._give_up(death.cause)
                return
            observer.note_death(death.cause, pause)
            await asyncio.sleep(pause)
            restarted = await self._restart()
            if restarted is None:
                return
            process = self._process = restarted
            if self._ending is not None:
                await process.kill()
                return
            observer.note_ready()

    async def _live(self, process: WorkerProcess) -> Death:
        """The life of one process."""
        self._process = process
        self.facts = process.facts
        began = asyncio.get_running_loop().time()
        self._send_what_may_go()
        hang_seconds = self._launch.policy.hang_seconds
        facts = process.facts
        watch = StepWatch(hang_seconds, facts.token_seconds, self._has_work, facts.whole_input_tokens)
        death = await process.deliver(self._take, self._note_memory, watch)
        self._process = None
        self._pauses.note_life(asyncio.get_running_loop().time() - began)
        return death

    async def _restart(self) -> WorkerProcess | None:
        """Another process; None where there can't be one."""
        while True:
            if self._launch.file.has_changed:
                # What goes on with another model is no answer of either.
                self._give_up("can't be started again: the model's file was changed")
                return None
            try:
                return await self._launch.start()
            except StartError as error:
                log.error("%s could not be loaded again: %s", self._launch.file.path.name, error)
                pause = self._pauses.next_seconds()
                cause = f"could not load the model again: {error}"
                if self._pauses.are_used_up:
                    self._give_up(cause)
                    return None
                self._launch.observer.note_death(cause, pause)
                await asyncio.sleep(pause)

    def _has_work(self) -> bool:
        return any(ticket.is_sent for ticket in self._tickets.values())

    def _take(self, event: Event) -> None:
        # A request that was cancelled has no ticket any more.
        ticket = self._tickets.get(event.request_id)
        if ticket is None:
            return
        was_unproven = ticket.is_unproven
        ticket.take(event)
        if ticket.is_answered:
            # Its caller may take its time to read that; the worker is done with it.
            del self._tickets[event.request_id]
        if was_unproven and not ticket.is_unproven:
            self._pauses.note_progress()
            self._send_what_may_go()

    def _note_memory(self, memory_bytes: int) -> None:
        self.facts = msgspec.structs.replace(self.facts, memory_bytes=memory_bytes)
        self._launch.observer.note_memory(memory_bytes)

    def _let_expire(self, ticket: Ticket) -> None:
        """A deadline ends the work too, and not only the waiting for it."""
        request_id = ticket.request.request_id
        ticket.mailbox.put(Failed(request_id, "DEADLINE", "DEADLINE_EXCEEDED", "the deadline has passed"))
        self._drop(ticket)

    def _drop(self, ticket: Ticket) -> None:
        """Nobody waits for it any more."""
        if self._tickets.pop(ticket.request.request_id, None) is None:
            return
        if ticket.is_sent and self._process is not None:
            self._process.send(Cancel(ticket.request.request_id))
        self._send_what_may_go()

    def _send_what_may_go(self) -> None:
        if self._process is None:
            return
        for ticket in next_to_send(self._tickets.values()):
            ticket.is_sent = True
            self._process.send(ticket.message())

    def _judge(self, death: Death) -> None:
        """Who caused a death fails; all others go on when there is another process."""
        culprit = find_culprit(self._tickets.values(), death)
        for ticket in self._tickets.values():
            ticket.note_death(death)
        if culprit is not None:
            request_id = culprit.request.request_id
            del self._tickets[request_id]
            message = f"the model's worker {death.cause}; it died over this request before"
            culprit.mailbox.put(Failed(request_id, "ENGINE", "WORKER_CRASHED", message))

    def _give_up(self, cause: str) -> None:
        self._end_with(engine_fault(f"the model's worker {cause}", "WORKER_CRASHED"))
        self._launch.observer.note_end(cause)

    def _end_with(self, error: ServiceError) -> None:
        self._ending = error
        for request_id, ticket in self._tickets.items():
            name, retry_seconds = error.condition.name, error.retry_seconds
            ticket.mailbox.put(
                Failed(request_id, name, error.reason, error.message, retry_seconds=retry_seconds)
            )


def _error(failed: Failed) -> ServiceError:
    violations = (FieldViolation(failed.field, failed.message),) if failed.field else ()
    return ServiceError(
        Condition[failed.condition],
        failed.reason,
        failed.message,
        violations=violations,
        retry_seconds=failed.retry_seconds,
    )
