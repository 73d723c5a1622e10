"""Framing of messages on a stream socket: four bytes of length, big-endian, then MessagePack."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

HEADER = struct.Struct(">I")
RECEIVE_BYTES = 1 << 18

T = TypeVar("T")


def _encode(value: object) -> str:
    """What MessagePack has no form for: of all that is sent, a path in the settings of a model."""
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode)


def frame(message: msgspec.Struct) -> bytes:
    """A message as it goes over the wire."""
    body = _encoder.encode(message)
    return HEADER.pack(len(body)) + body


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The next message's body; None where the other side has closed, in the middle of a message too."""
    try:
        (size,) = HEADER.unpack(await reader.readexactly(HEADER.size))
        return await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


class ConnectionClosedError(Exception):
    """The other side has closed the connection."""


class Inbox(Generic[T]):
    """The worker's receiving end. It reads between steps on the thread that computes: no second thread competes
    with llama.cpp's for a core, or with this one for the interpreter."""

    def __init__(self, connection: socket.socket, kind: Any) -> None:
        self._connection = connection
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind, dec_hook=_decode)
        self._buffer = bytearray()

    def receive(self, patience: float | None) -> list[T]:
        """The messages that have come. Where none has, waits for so many seconds until one does; None: for ever.

        Raises ConnectionClosedError where none will come any more.
        """
        messages = self._parse()
        while not messages:
            if patience is not None and not select.select([self._connection], [], [], max(0.0, patience))[0]:
                return []
            try:
                data = self._connection.recv(RECEIVE_BYTES)
            except ConnectionError as error:
                raise ConnectionClosedError from error
            if not data:
                raise ConnectionClosedError
            self._buffer += data
            messages = self._parse()
        return messages

    def _parse(self) -> list[T]:
        messages: list[T] = []
        at = 0
        while len(self._buffer) - at >= HEADER.size:
            (size,) = HEADER.unpack_from(self._buffer, at)
            end = at + HEADER.size + size
            if len(self._buffer) < end:
                break
            messages.append(self._decoder.decode(memoryview(self._buffer)[at + HEADER.size : end]))
            at = end
        del self._buffer[:at]
        return messages
