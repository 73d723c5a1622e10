"""A worker that has embedded nothing for a while gives back the memory that this needs, and says so."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from embedding_fakes import FakeEmbedder, vector_of

from llamawire_server.engine.embedding.engine import EmbeddingEngine
from llamawire_server.worker.child import desk as desks
from llamawire_server.worker.child import embeddings as embedding_work
from llamawire_server.worker.child.desk import Desk
from llamawire_server.worker.child.embeddings import Embeddings
from llamawire_server.worker.child.outbox import Outbox
from llamawire_server.worker.child.refusals import NoGenerations
from llamawire_server.worker.embedding_messages import Embed, Vectors
from llamawire_server.worker.messages import Events, Memory, Report, Request
from llamawire_server.worker.wire import Inbox, frame

MODEL_BYTES = 100 << 20
CONTEXT_BYTES = 10 << 20


class Machine:
    """A worker, and what it has in memory."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self.evicted_bytes = 0
        self.embedder = FakeEmbedder()
        no_tokenizer: Any = None
        self.embeddings = Embeddings(EmbeddingEngine(self.embedder), no_tokenizer)
        self.desk = Desk(
            no_tokenizer,
            no_tokenizer,
            NoGenerations("no"),
            Outbox(theirs),
            embeddings=self.embeddings,
            context_length=100,
            memory_bytes=MODEL_BYTES,
        )
        self._connection = ours
        requests: Any = Request
        reports: Any = Report
        self.inbox = Inbox[Any](theirs, requests)
        self._reports = Inbox[Any](ours, reports)

    def resident_bytes(self) -> int:
        return MODEL_BYTES - self.evicted_bytes + CONTEXT_BYTES * self.embedder.has_context

    def ask(self, number: int) -> None:
        self._connection.sendall(frame(Embed(number, 0.0, [[number, 1]])))

    def turn(self) -> list[Any]:
        """What the worker says in one turn, but for signs of life."""
        self.desk.turn(self.inbox)
        return [report for report in self._reports.receive(0.0) if report != Events([])]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        machine = Machine(ours, theirs)
        monkeypatch.setattr(desks, "MEMORY_SECONDS", 0.0)
        monkeypatch.setattr(desks, "resident_bytes", machine.resident_bytes)
        yield machine


def vector(number: int) -> Vectors:
    return Vectors(number, [vector_of([number, 1])], 2, is_last=True)


def test_what_embedding_needs_is_given_back_and_taken_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_work, "REST_SECONDS", 0.05)
    for number in (1, 2):
        assert machine.embeddings.rests_at is None
        machine.ask(number)
        told = machine.turn()
        assert told[-2:] == [Events([vector(number)]), Memory(MODEL_BYTES + CONTEXT_BYTES)]
        # Nothing comes, and the worker wakes up for this alone.
        said: list[Any] = []
        while not said:
            said = machine.turn()
        assert said == [Memory(MODEL_BYTES)]
        assert not machine.embedder.has_context


def test_pages_that_the_system_took_away_are_still_the_worker_s(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.ask(1)
    machine.turn()
    monkeypatch.setattr(embedding_work, "REST_SECONDS", 0.0)
    machine.evicted_bytes = MODEL_BYTES // 2
    assert machine.turn() == [Memory(MODEL_BYTES)]


def test_nothing_is_given_back_while_there_is_something_to_do(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.ask(1)
    machine.turn()
    rests_at = machine.embeddings.rests_at
    assert rests_at is not None
    assert rests_at > time.monotonic() + 10
    monkeypatch.setattr(embedding_work, "REST_SECONDS", 0.0)
    assert machine.embeddings.start(Embed(2, 0.0, [[2, 1]]))
    assert machine.embeddings.rests_at is None
