"""grpc.health.v1: the process, each service, and each model, with a live Watch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
PROCESS = ""

log = logging.getLogger(__name__)


class HealthBoard:
    """What health checks are told. Changes are posted at once and reach watchers in the order of posting."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = (PROCESS, *services)
        self._servicer = health_aio.HealthServicer()
        self._changes: asyncio.Queue[tuple[str, bool] | None] = asyncio.Queue()
        self._writer: asyncio.Task[None] | None = None

    def attach(self, server: grpc.aio.Server) -> None:
        """Serve the board, and begin to pass changes on."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        self._writer = asyncio.create_task(self._write(), name="health")

    def post_process(self, is_serving: bool) -> None:
        """Whether the process and its services take calls. A loading model has no say in it."""
        for name in self._services:
            self._changes.put_nowait((name, is_serving))

    def post_model(self, names: Iterable[str], is_ready: bool) -> None:
        """Whether a model answers without being loaded first, under each of its names."""
        for name in names:
            self._changes.put_nowait((f"model/{name}", is_ready))

    async def close(self) -> None:
        """Pass on what was posted, and stop."""
        if self._writer is not None:
            # The writer's end is waited for, and not that of its work, which it may not live to do.
            self._changes.put_nowait(None)
            await asyncio.wait({self._writer})

    async def _write(self) -> None:
        """Until None comes."""
        while (change := await self._changes.get()) is not None:
            name, is_serving = change
            try:
                await self._servicer.set(name, SERVING if is_serving else NOT_SERVING)
            except Exception:
                log.exception("the health of '%s' could not be told", name)
            finally:
                self._changes.task_done()
