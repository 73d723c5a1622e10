"""The server's life: start up, serve until a signal, drain, shut down."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

import grpc.aio

from llamawire_server.config import ServerConfig
from llamawire_server.errors import ServiceError
from llamawire_server.garbage import keep_what_is_there
from llamawire_server.machine import amount_bytes, memory
from llamawire_server.models.resolver import Resolver
from llamawire_server.pool.pool import Lease, ModelStatus, Pool
from llamawire_server.pool.roster import Roster
from llamawire_server.rpc.health import HealthBoard
from llamawire_server.rpc.server import SERVICE_NAMES, create_server
from llamawire_server.service.interface import Service
from llamawire_server.service.local import LocalService
from llamawire_server.shim.app import create_app
from llamawire_server.shim.http.disconnect import Calls
from llamawire_server.shim.http.server import HTTPServer, address_of, bind
from llamawire_server.shim.http.settings import http_settings
from llamawire_server.shim.remote import CHANNEL_OPTIONS, RemoteService
from llamawire_server.worker.parent.supervisor import Supervisor

log = logging.getLogger(__name__)

# How long calls that were told to end may take to do so.
FLUSH_SECONDS = 2.0


class StartupError(Exception):
    """The server can't start; the text says why."""


class Runnable(Protocol):
    """A program with the phases of `run`."""

    async def start_up(self) -> str:
        """Begin to serve; gives the line that says so. Raises StartupError."""
        ...

    async def drain(self) -> None:
        """Refuse what is new and wait for what is running, within bounds."""
        ...

    async def shut_down(self) -> None:
        """End everything that start_up began, whatever state it is in."""
        ...


async def run(program: Runnable) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends at once. Raises StartupError."""
    stop_signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_signals.put_nowait, number)
    try:
        ready_line = await _unless_stopped(program.start_up, stop_signals)
        if ready_line is None:
            return
        sys.stdout.write(ready_line + "\n")
        sys.stdout.flush()
        received = await stop_signals.get()
        log.info("%s: draining", received.name)
        await _unless_stopped(program.drain, stop_signals)
    finally:
        await program.shut_down()
        log.info("stopped")


async def _unless_stopped(
    phase: Callable[[], Awaitable[str | None]], stop_signals: asyncio.Queue[signal.Signals]
) -> str | None:
    """The phase's outcome; None where a signal came first, which ends it."""
    work = asyncio.ensure_future(phase())
    stop = asyncio.ensure_future(stop_signals.get())
    await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        if not stop.cancel():
            stop_signals.put_nowait(stop.result())  # it came in the same moment, and is for the next phase
        return work.result()
    work.cancel()
    await asyncio.wait({work})
    return None


class ModelServer:
    """`llamawire-server serve`: models in a pool, gRPC, and the HTTP side."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._board = HealthBoard(SERVICE_NAMES)
        try:
            self._resolver = Resolver(config.sources)
        except ValueError as error:
            raise StartupError(str(error)) from error
        self._pool = Pool(
            self._resolver,
            config.pool,
            self._note_change,
            start_worker=functools.partial(
                Supervisor.start,
                policy=config.worker,
                load_timeout_seconds=config.pool.load_timeout_seconds,
            ),
            budget_bytes=amount_bytes(config.pool.memory_budget, memory()),
        )
        self._roster = Roster(self._resolver, self._pool, self._board.post_model, config.sources.poll_seconds)
        self._service = LocalService(self._resolver, self._pool, self._roster)
        self._grpc: grpc.aio.Server | None = None
        self._http: HTTPServer | None = None

    async def start_up(self) -> str:
        config = self._config
        self._grpc = create_server(self._service, self._board, config.max_message_bytes)
        grpc_address = _bind_grpc(self._grpc, config.grpc_address)
        await self._grpc.start()
        self._board.post_process(is_serving=True)
        await self._roster.start()
        ready_line = f"llamawire-server ready grpc={grpc_address}"
        if config.http_address is not None:
            self._http, http_address = await _start_http(self._service, config.http_address, config)
            ready_line += f" http={http_address}"
        # The ports answer while models load: whoever watches over the process sees that it lives.
        await self._preload()
        keep_what_is_there()
        self._service.mark_ready()
        return ready_line

    async def drain(self) -> None:
        self._board.drain()
        await self._roster.close()
        if not await self._service.drain(self._config.drain_seconds):
            log.warning("calls are still running after %g s; they are ended", self._config.drain_seconds)

    async def shut_down(self) -> None:
        self._board.drain()
        await self._roster.close()
        await self._service.drain(0)
        # Workers first: a call that is still running then ends with an error of its own.
        await self._pool.close()
        if self._http is not None:
            await self._http.stop(FLUSH_SECONDS)
        if self._grpc is not None:
            await self._board.close()
            await self._grpc.stop(FLUSH_SECONDS)

    async def _preload(self) -> None:
        """Load what is to be there from the start, all at once. Raises StartupError."""
        entries = [view.entry for view in self._roster.models()]
        names = [*self._config.preload, *(entry.name for entry in entries if entry.settings.preload)]
        async with contextlib.AsyncExitStack() as leases:
            # Each is held until all are there: none makes room for another.
            loads = {
                asyncio.create_task(leases.enter_async_context(self._pool.lease(name))): name
                for name in dict.fromkeys(names)
            }
            await _first_failure(loads)
            for load, name in loads.items():
                if not load.cancelled() and (error := load.exception()) is not None:
                    if isinstance(error, ServiceError):
                        raise StartupError(f"model '{name}' can't be preloaded: {error}") from error
                    raise error

    def _note_change(self, status: ModelStatus) -> None:
        self._roster.note(status)


async def _first_failure(tasks: Collection[asyncio.Task[Lease]]) -> None:
    """Until all tasks are done, or one has failed, which ends the others."""
    if not tasks:
        return
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class ShimServer:
    """`llamawire-server shim`: the HTTP side alone, in front of a remote gRPC server."""

    def __init__(self, target: str, http_address: str, config: ServerConfig) -> None:
        self._target = target
        self._http_address = http_address
        self._config = config
        self._channel: grpc.aio.Channel | None = None
        self._http: HTTPServer | None = None

    async def start_up(self) -> str:
        self._channel = grpc.aio.insecure_channel(self._target, options=CHANNEL_OPTIONS)
        service = RemoteService(self._channel)
        self._http, address = await _start_http(service, self._http_address, self._config)
        return f"llamawire-server ready http={address}"

    async def drain(self) -> None:
        if self._http is not None:
            await self._http.stop(self._config.drain_seconds)
            self._http = None

    async def shut_down(self) -> None:
        if self._http is not None:
            await self._http.stop(0)
        if self._channel is not None:
            await self._channel.close()


def _bind_grpc(server: grpc.aio.Server, address: str) -> str:
    """Bind, and give the address with its real port. Raises StartupError."""
    host, _, _ = address.rpartition(":")
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartupError(f"can't listen on {address}: {_why_not(address) or error}") from error
    if port == 0:
        raise StartupError(f"can't listen on {address}")
    return f"{host}:{port}"


def _why_not(address: str) -> str:
    """What the system says of listening there; gRPC keeps it to its log. Empty where it has nothing to say now."""
    try:
        bind(address).close()
    except (OSError, ValueError) as error:
        return str(error)
    return ""


async def _start_http(service: Service, address: str, config: ServerConfig) -> tuple[HTTPServer, str]:
    """An HTTP server, and its address with its real port. Raises StartupError."""
    try:
        listener = bind(address)
    except (OSError, ValueError) as error:
        raise StartupError(f"can't listen on {address}: {error}") from error
    calls = Calls()
    server = HTTPServer(create_app(service, calls, http_settings(config)), calls, listener)
    await server.start()
    return server, address_of(listener)
