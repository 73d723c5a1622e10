"""Connections that live on while nothing is said, and two servers that do not share a port by chance."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc._cython import cygrpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from llamawire_server.rpc.health import HealthBoard
from llamawire_server.rpc.server import SERVICE_NAMES, _options, create_server

SETTINGS, PING, GOAWAY = 4, 6, 7
ACK = 1
PATIENCE_SECONDS = 30


def frame(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """An HTTP/2 frame on the connection as a whole."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, 0) + payload


class PingingClient:
    """Speaks just enough HTTP/2 to ping, and to be sent away."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, address: str) -> PingingClient:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS) + frame(SETTINGS, flags=ACK))
        return cls(reader, writer)

    async def ping(self, number: int) -> bytes | None:
        """None where the ping is answered; the reason where the server sends the client away."""
        payload = number.to_bytes(8, "big")
        self._writer.write(frame(PING, payload))
        while True:
            head = await asyncio.wait_for(self._reader.readexactly(9), PATIENCE_SECONDS)
            kind, flags = head[3], head[4]
            body = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            if kind == GOAWAY:
                return body[8:]
            if kind == PING and flags & ACK and body == payload:
                return None

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def ping_often(address: str, pause_seconds: float) -> bytes | None:
    client = await PingingClient.connect(address)
    try:
        for number in range(5):
            if (reason := await client.ping(number)) is not None:
                return reason
            await asyncio.sleep(pause_seconds)
        return None
    finally:
        await client.close()


async def test_pings_between_calls_are_welcome_and_a_flood_of_them_is_not(address: str) -> None:
    patient, impatient = await asyncio.gather(ping_often(address, 1.05), ping_often(address, 0.01))
    assert patient is None
    assert impatient == b"too_many_pings"


def test_grpc_knows_every_option() -> None:
    # It passes over those that it does not know without a word.
    library = Path(cygrpc.__file__).read_bytes()
    for name, _ in _options(1000):
        assert name.encode() + b"\0" in library, name


async def test_two_servers_do_not_share_a_port(address: str, service: Any) -> None:
    board = HealthBoard(SERVICE_NAMES)
    other = create_server(service, board, 1000)
    with pytest.raises(RuntimeError, match="address"):
        other.add_insecure_port(address)
    await board.close()
    await other.stop(None)


async def test_reflection_lists_the_services(channel: grpc.aio.Channel) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    response = await call.read()
    names = {found.name for found in response.list_services_response.service}
    assert names == {*SERVICE_NAMES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    call.cancel()
