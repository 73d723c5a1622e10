"""grpc.health.v1: the process, each service, and each model, with a live Watch.

The servicer of grpcio-health-checking is not used: when one of several watchers of a name leaves, it forgets the
others, and one that reads slowly holds up what all are told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
PROCESS = ""

# How long watchers may take to read what was posted last before the board is closed.
FLUSH_SECONDS = 1.0


class HealthBoard(health_pb2_grpc.HealthServicer):
    """What health checks are told. A watcher who is slower than the changes is told the latest."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = (PROCESS, *services)
        self._statuses: dict[str, int] = {}
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._all_left = asyncio.Event()
        self._is_draining = False
        self._is_closed = False
        self.post_process(is_serving=False)

    def attach(self, server: grpc.aio.Server) -> None:
        """Serve the board."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    def post_process(self, is_serving: bool) -> None:
        """Whether the process and its services take calls. A loading model has no say in it."""
        for name in self._services:
            self._post(name, is_serving)

    def post_model(self, name: str, is_ready: bool | None) -> None:
        """Whether the model with this name answers without being loaded first. None: there is none any more."""
        self._post(f"model/{name}", is_ready)

    def drain(self) -> None:
        """Nothing takes calls from now on, whatever is posted."""
        self._is_draining = True
        for name in list(self._statuses):
            self._post(name, is_serving=False)

    async def close(self) -> None:
        """Let watchers read what was posted last, if they do so at once, and end what they watch by."""
        self._is_closed = True
        for changed in self._watchers.values():
            for event in changed:
                event.set()
        if self._watchers:
            self._all_left.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._all_left.wait(), FLUSH_SECONDS)

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        """Where a name stands; NOT_FOUND where it is not known."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"nothing is known of '{request.service}'")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse, None]:
        """Where a name stands, and every change; SERVICE_UNKNOWN while it is not known."""
        name, changed = request.service, asyncio.Event()
        self._watchers.setdefault(name, set()).add(changed)
        try:
            told = None
            while True:
                changed.clear()
                status = self._statuses.get(name, UNKNOWN)
                if status != told:
                    told = status
                    yield health_pb2.HealthCheckResponse(status=status)
                elif self._is_closed:
                    return
                else:
                    await changed.wait()
        finally:
            self._watchers[name].discard(changed)
            if not self._watchers[name]:
                del self._watchers[name]
            if not self._watchers:
                self._all_left.set()

    def _post(self, name: str, is_serving: bool | None) -> None:
        if is_serving is None:
            self._statuses.pop(name, None)
        else:
            self._statuses[name] = SERVING if is_serving and not self._is_draining else NOT_SERVING
        for changed in self._watchers.get(name, ()):
            changed.set()
