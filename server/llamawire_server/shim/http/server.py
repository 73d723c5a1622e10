"""uvicorn inside an event loop that somebody else runs, on a socket that is bound already."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from llamawire_server.shim.http.disconnect import Calls
from llamawire_server.shim.http.protocol import HTTPProtocol

# How long aborted calls may take to tell their callers so, before their connections are cut.
_ABORT_SECONDS = 2.0

# Longer than clients and load balancers keep idle connections, so that they close them and are never
# answered by a closed one.
_IDLE_CONNECTION_SECONDS = 75


def bind(address: str) -> socket.socket:
    """A listening socket at HOST:PORT, where HOST may be a name, an IPv4 address or an [IPv6] one.

    Port 0 takes a free one. Raises ValueError where the address has another form, OSError where it can't be
    had.
    """
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"an IPv6 address needs brackets: '{address}'")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"not of the form HOST:PORT: '{address}'")
    family, kind, protocol, _, resolved = socket.getaddrinfo(
        host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # With its protocol named, which socket.create_server leaves out: asyncio switches Nagle's algorithm off,
    # which holds small writes back for up to 40 ms, only for connections whose listener says that it is TCP.
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(resolved)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def address_of(listener: socket.socket) -> str:
    """Where the socket really listens, as HOST:PORT."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if listener.family == socket.AF_INET6 else f"{host}:{port}"


class HTTPServer:
    """Serves an application until it is told to stop. Takes over the socket; handles no signals."""

    def __init__(self, app: FastAPI, calls: Calls, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http=HTTPProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",  # it says at INFO what llamawire says itself
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_IDLE_CONNECTION_SECONDS,
        )
        self._server = _Server(config)
        self._calls = calls
        self._listener = listener
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to serve; returns once connections are taken. Raises what keeps uvicorn from it."""
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({self._serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if self._serving.done():
            self._serving.result()

    async def stop(self, grace_seconds: float) -> None:
        """Take no more connections, let running calls finish for `grace_seconds`, then end them.

        A call that is ended tells its caller so. Returns when every connection is closed and every call's
        clean-up is over.
        """
        if self._serving is None:
            self._listener.close()
            return
        self._server.should_exit = True
        await asyncio.wait({self._serving}, timeout=grace_seconds)
        if not self._serving.done():
            self._calls.abort()
            await asyncio.wait({self._serving}, timeout=_ABORT_SECONDS)
        if not self._serving.done():
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
        await self._serving


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, which says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()
