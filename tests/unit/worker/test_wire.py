"""Framing over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from llamawire_server.config import ModelSettings
from llamawire_server.worker.messages import Cancel, Detokenize, Request, WorkerSetup
from llamawire_server.worker.wire import ConnectionClosedError, Inbox, frame, read_frame

MESSAGES = [Cancel(1), Detokenize(2, list(range(5000)), unparse_special=False), Cancel(3)]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_messages_arrive_whole_however_they_are_cut(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    inbox: Inbox[Request] = Inbox(theirs, Request)
    received = []
    stream = b"".join(frame(message) for message in MESSAGES)
    for start in range(0, len(stream), 777):
        ours.sendall(stream[start : start + 777])
        received += inbox.receive(0.0)
    assert received == MESSAGES
    assert inbox.receive(0.0) == []


def test_several_messages_in_one_read_come_together(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.sendall(frame(Cancel(1)) + frame(Cancel(2)) + frame(Cancel(3))[:3])
    inbox: Inbox[Request] = Inbox(theirs, Request)
    assert inbox.receive(None) == [Cancel(1), Cancel(2)]
    for patience in (0.01, 0.0, -1.0):
        assert inbox.receive(patience) == []
    ours.sendall(frame(Cancel(3))[3:])
    assert inbox.receive(None) == [Cancel(3)]


def test_the_other_sides_end_is_noticed(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.sendall(frame(Cancel(1)) + b"\0\0")
    ours.close()
    inbox: Inbox[Request] = Inbox(theirs, Request)
    assert inbox.receive(None) == [Cancel(1)]
    for patience in (None, 0.01, 0.0):
        with pytest.raises(ConnectionClosedError):
            inbox.receive(patience)


def test_a_worker_gets_its_settings_as_they_are(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    settings = ModelSettings(draft_model=Path("/models/draft.gguf"), prompt_cache=False, keep_alive=2.5)
    setup = WorkerSetup("/models/a.gguf", settings, None)
    ours.sendall(frame(setup))
    assert Inbox[WorkerSetup](theirs, WorkerSetup).receive(None) == [setup]


async def test_the_parent_reads_bodies_until_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    theirs.sendall(frame(Cancel(1)) + frame(Cancel(2))[:-1])
    theirs.close()
    assert await read_frame(reader) == frame(Cancel(1))[4:]
    assert await read_frame(reader) is None, "half a message is none"
    writer.close()
