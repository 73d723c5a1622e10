"""The worker's sending end over a real socket, with readers of every pace."""

from __future__ import annotations

import socket
import threading
from collections import defaultdict
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamawire_server.worker.child.outbox import Outbox
from llamawire_server.worker.messages import (
    Completed,
    Event,
    Events,
    Loaded,
    Loading,
    Memory,
    Report,
    Started,
    Taken,
    TextDelta,
)
from llamawire_server.worker.wire import HEADER, ConnectionClosedError

decoder = msgspec.msgpack.Decoder(Report)

# More than a socket holds that nobody reads from.
LONG = "x" * 50_000


class Reader:
    """The other side, which reads as much as it is told to."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.setblocking(False)
        self._buffer = bytearray()
        self.reports: list[Report] = []

    def read(self, num_bytes: int) -> int:
        """How many bytes there were."""
        try:
            data = self._connection.recv(num_bytes)
        except BlockingIOError:
            return 0
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            (size,) = HEADER.unpack_from(self._buffer)
            end = HEADER.size + size
            if len(self._buffer) < end:
                break
            self.reports.append(decoder.decode(self._buffer[HEADER.size : end]))
            del self._buffer[:end]
        return len(data)

    def read_all(self, outbox: Outbox) -> None:
        """Until the outbox is empty, and all that it sent is here."""
        while self.read(1 << 16) or not outbox.is_empty:
            outbox.flush()
        assert not self._buffer, "nothing is cut off"

    @property
    def events(self) -> list[Event]:
        return [event for report in self.reports if isinstance(report, Events) for event in report.events]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def stall(outbox: Outbox) -> list[Event]:
    """Send until nothing more goes; gives what was put."""
    put: list[Event] = []
    while outbox.is_empty:
        put.append(TextDelta(len(put) + 1000, 0, LONG, [1], "stop"))
        outbox.put(Events([put[-1]]))
    return put


def text_of(events: list[Event], request_id: int, index: int = 0) -> tuple[str, list[int], str]:
    deltas = [
        e for e in events if isinstance(e, TextDelta) and (e.request_id, e.index) == (request_id, index)
    ]
    return (
        "".join(delta.text for delta in deltas),
        [token for delta in deltas for token in delta.tokens],
        "".join(delta.finish_reason for delta in deltas),
    )


def test_a_reader_that_keeps_up_gets_every_message_by_itself(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    outbox, reader = Outbox(pair[0]), Reader(pair[1])
    sent = [Loading(0.5), Events([]), Memory(7), *(Events([TextDelta(1, 0, "x", [n])]) for n in range(50))]
    for message in sent:
        assert outbox.put(message)
        assert outbox.is_empty
        reader.read(1 << 16)
    assert reader.reports == sent


def test_what_a_reader_has_not_read_waits_and_loses_nothing(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    outbox, reader = Outbox(pair[0]), Reader(pair[1])
    first = stall(outbox)
    completed = Completed(2, 1, 0, 3000, 0, 0, 0)
    outbox.put(Events([Taken(2), Started(2, 0.5)]))
    for number in range(3000):
        outbox.put(Events([TextDelta(2, 0, f"{number} ", [number]), TextDelta(3, 0, "y", [number])]))
    outbox.put(Events([TextDelta(2, 0, "", [], "length"), completed]))
    reader.read_all(outbox)
    rest = reader.events[len(first) :]
    assert reader.events[: len(first)] == first
    # What waited became one delta a choice, however many there were.
    expected = TextDelta(2, 0, "".join(f"{n} " for n in range(3000)), list(range(3000)), "length")
    assert rest == [
        Taken(2),
        Started(2, 0.5),
        expected,
        TextDelta(3, 0, "y" * 3000, list(range(3000))),
        completed,
    ]


def test_what_is_of_the_moment_only_does_not_wait(pair: tuple[socket.socket, socket.socket]) -> None:
    outbox, reader = Outbox(pair[0]), Reader(pair[1])
    stall(outbox)
    for _ in range(100):
        outbox.put(Events([]))
        assert not outbox.put(Memory(7))
    reader.read_all(outbox)
    assert not [report for report in reader.reports if isinstance(report, Memory) or not report.events]  # type: ignore[union-attr]
    assert outbox.put(Memory(8))
    reader.read_all(outbox)
    assert reader.reports[-1] == Memory(8)


def test_messages_that_are_no_events_keep_their_order(pair: tuple[socket.socket, socket.socket]) -> None:
    outbox, reader = Outbox(pair[0]), Reader(pair[1])
    progress = [Loading(number / 20_000) for number in range(20_000)]
    for report in progress:
        outbox.put(report)
    assert not outbox.is_empty
    loaded = Loaded(1, 2, 3, 4, 5, 6, 7, 0.001, has_chat_template=False)
    outbox.put(loaded)
    outbox.put(Events([Taken(1)]))
    reader.read_all(outbox)
    assert reader.reports == [*progress, loaded, Events([Taken(1)])]


def test_draining_waits_until_all_of_it_is_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    outbox = Outbox(ours)
    put = stall(outbox)
    put.append(TextDelta(1, 0, LONG * 20, [1]))
    outbox.put(Events([put[-1]]))
    received = bytearray()

    def read() -> None:
        while data := theirs.recv(1000):
            received.extend(data)

    thread = threading.Thread(target=read)
    thread.start()
    outbox.drain()
    assert outbox.is_empty
    ours.shutdown(socket.SHUT_WR)
    thread.join()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = Reader(theirs)
        for start in range(0, len(received), 100_000):
            ours.sendall(received[start : start + 100_000])
            while reader.read(1 << 16):
                pass
        assert reader.events == put


@pytest.mark.parametrize("is_stalled", [True, False])
def test_the_other_sides_end_is_noticed(pair: tuple[socket.socket, socket.socket], is_stalled: bool) -> None:
    ours, theirs = pair
    outbox = Outbox(ours)
    if is_stalled:
        stall(outbox)
    theirs.close()
    if is_stalled:
        with pytest.raises(ConnectionClosedError):
            outbox.flush()
        with pytest.raises(ConnectionClosedError):
            outbox.drain()
    with pytest.raises(ConnectionClosedError):
        outbox.put(Events([Taken(1)]))


def test_waiting_ends_with_news_or_with_room(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    outbox, reader = Outbox(ours), Reader(theirs)
    theirs.sendall(b"x")
    outbox.wait()
    stall(outbox)
    outbox.wait()
    assert ours.recv(1) == b"x"
    timer = threading.Timer(0.01, reader.read_all, [outbox])
    # Nothing comes any more: it is the room that wakes it.
    timer.start()
    outbox.wait()
    timer.join()
    assert outbox.is_empty


@settings(max_examples=60)
@given(
    steps=st.lists(
        st.lists(
            st.tuples(st.integers(1, 3), st.integers(0, 1), st.sampled_from(["", "a", "é", LONG])),
            max_size=4,
        ),
        max_size=25,
    ),
    paces=st.lists(st.sampled_from([0, 0, 1, 5, 4096, 1 << 20]), min_size=1, max_size=8),
)
def test_whatever_the_readers_pace_each_choice_gets_its_text_and_tokens(
    steps: list[list[tuple[int, int, str]]], paces: list[int]
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for connection in (ours, theirs):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        outbox, reader = Outbox(ours), Reader(theirs)
        put: list[Event] = []
        last_step: dict[int, int] = defaultdict(int)
        for number, step in enumerate(steps):
            for request_id, _, _ in step:
                last_step[request_id] = number
        for number, step in enumerate(steps):
            events: list[Event] = [TextDelta(r, i, text, [number]) for r, i, text in step]
            events += [Completed(r, 1, 0, 1, 0, 0, 0) for r, last in last_step.items() if last == number]
            put += events
            outbox.put(Events(events))
            reader.read(paces[number % len(paces)])
        reader.read_all(outbox)
        for request_id in last_step:
            for index in (0, 1):
                assert text_of(reader.events, request_id, index) == text_of(put, request_id, index)
            own = [event for event in reader.events if event.request_id == request_id]
            assert isinstance(own[-1], Completed)
            assert sum(isinstance(event, Completed) for event in own) == 1
