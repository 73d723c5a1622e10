"""Requests for embeddings in a worker: read a little at a time, lined up, computed, and told of."""

from __future__ import annotations

import time
from typing import Any

import pytest
from embedding_fakes import BAD, LIMITS, FakeEmbedder, vector_of

from llamawire_server.engine.embedding.engine import EmbeddingEngine
from llamawire_server.worker.child.embedding_inputs import EmbeddingInputs
from llamawire_server.worker.child.embeddings import Embeddings
from llamawire_server.worker.child.intake import ROUND_SECONDS
from llamawire_server.worker.child.prompts import RequestError
from llamawire_server.worker.child.refusals import NoEmbeddings, NoGenerations
from llamawire_server.worker.embedding_messages import Embed, Vectors
from llamawire_server.worker.messages import (
    Event,
    Failed,
    Opened,
    Started,
    Taken,
)
from llamawire_server.worker.parent.death import Death
from llamawire_server.worker.parent.mailbox import is_last
from llamawire_server.worker.parent.ticket import Ticket

BEGIN = 300


class Letters:
    """A token a character, after one that begins a text; reading takes its time by a clock that it alone moves."""

    longest_piece_bytes = 1

    def __init__(self) -> None:
        self.now = 0.0
        self.read_seconds = 0.0

    def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, limit: int | None = None
    ) -> list[int]:
        assert add_special
        assert not parse_special
        self.now += self.read_seconds
        return [] if text == " " else [BEGIN, *map(ord, text)]


class Worker:
    """Embeddings with a fake below them."""

    def __init__(self, **settings: Any) -> None:
        self.letters = Letters()
        self.embedder = FakeEmbedder()
        self.engine = EmbeddingEngine(self.embedder)
        self.embeddings = Embeddings(self.engine, self.letters, clock=lambda: self.letters.now, **settings)

    def start(self, number: int, *inputs: Any, **fields: Any) -> list[Event]:
        return self.embeddings.start(Embed(number, fields.pop("arrived", 0.0), list(inputs), **fields))

    def step(self) -> tuple[list[Event], list[Event]]:
        return self.embeddings.schedule(), self.embeddings.run()

    def finish(self) -> list[Event]:
        events: list[Event] = []
        for _ in range(1000):
            if not self.embeddings.has_work:
                return events
            scheduled, ran = self.step()
            events += [*scheduled, *ran]
        raise AssertionError("it comes to no end")


@pytest.fixture
def worker() -> Worker:
    return Worker()


def vectors_of(events: list[Event], number: int) -> list[bytes]:
    """The vectors of a request, the last of which must be said to be the last."""
    mine = [event for event in events if isinstance(event, Vectors) and event.request_id == number]
    assert [event.is_last for event in mine] == [False] * (len(mine) - 1) + [True]
    return [vector for event in mine for vector in event.vectors]


def expected(*texts: str) -> list[bytes]:
    return [vector_of([BEGIN, *map(ord, text)]) for text in texts]


def test_a_request_is_read_lines_up_begins_and_is_answered(worker: Worker) -> None:
    assert worker.start(1, "ab", "c") == [Taken(1)]
    scheduled, ran = worker.step()
    (started,) = scheduled
    assert isinstance(started, Started)
    assert ran == [Vectors(1, expected("ab", "c"), 5, is_last=True)]
    assert not worker.embeddings.has_work


def test_tokens_are_taken_as_they_are(worker: Worker) -> None:
    worker.start(1, [1, 2], "a", [7])
    assert vectors_of(worker.finish(), 1) == [vector_of([1, 2]), *expected("a"), vector_of([7])]


def test_requests_share_batches(worker: Worker) -> None:
    worker.start(1, "a", "b")
    worker.start(2, "c")
    assert len(worker.finish()) == 4
    assert len(worker.embedder.batches) == 1


def test_vectors_come_as_they_are_made(worker: Worker) -> None:
    texts = ["x" * length for length in (20, 20, 50, 3)]
    worker.start(1, *texts)
    events = [event for event in worker.finish() if isinstance(event, Vectors)]
    assert len(events) > 2
    assert vectors_of([*events], 1) == expected(*texts)
    assert sum(event.num_tokens for event in events) == sum(len(text) + 1 for text in texts)


def test_a_long_text_is_read_for_a_moment_at_a_time(worker: Worker) -> None:
    worker.letters.read_seconds = ROUND_SECONDS
    assert worker.start(1, "a", "b", "c") == [], "it is worked for still, and has to answer for that"
    assert worker.start(2, "d") == [Taken(2)], "nothing is done for it yet"
    assert worker.step() == ([], [])
    assert worker.step() == ([], [Taken(1)])
    scheduled, ran = worker.step()
    assert scheduled[1:] == [Opened(2)], "it is told before it is read"
    assert ran[0] == Taken(2)
    assert vectors_of([*ran, *worker.finish()], 1) == expected("a", "b", "c")


def test_a_cancel_takes_a_request_from_wherever_it_stands(worker: Worker) -> None:
    worker.letters.read_seconds = ROUND_SECONDS
    worker.start(1, "a", "b", "c")
    worker.start(2, "d")
    worker.start(3, "e")
    worker.embeddings.cancel(2)
    worker.embeddings.cancel(1)
    worker.embeddings.cancel(9)
    events = worker.finish()
    assert {event.request_id for event in events} == {3}
    worker.letters.read_seconds = 0.0
    worker.start(4, "x" * 90)
    worker.step()
    worker.embeddings.cancel(4)
    assert not worker.embeddings.has_work
    worker.start(5, "y" * 90)
    assert vectors_of(worker.finish(), 5) == expected("y" * 90)


@pytest.mark.parametrize(
    ("inputs", "reason", "field", "message"),
    [
        (
            ["a", "x" * 100],
            "CONTEXT_LENGTH_EXCEEDED",
            "input[1]",
            "input[1] has 101 tokens; the model's context",
        ),
        (["x" * 100], "CONTEXT_LENGTH_EXCEEDED", "input[0]", "the input has 101 tokens"),
        (["a", "b", [1] * 101], "CONTEXT_LENGTH_EXCEEDED", "input[2]", "input[2] has 101 tokens"),
        (["x" * 1000], "CONTEXT_LENGTH_EXCEEDED", "input[0]", "the input is far too long"),
        (["a", " "], "EMPTY_INPUT", "input[1]", "input[1] has nothing in it that is a token"),
    ],
)
def test_an_input_that_can_not_be_embedded_is_named(
    worker: Worker, inputs: list[Any], reason: str, field: str, message: str
) -> None:
    with pytest.raises(RequestError) as caught:
        worker.start(1, *inputs)
    assert (caught.value.condition, caught.value.reason, caught.value.field) == ("INVALID", reason, field)
    assert str(caught.value).startswith(message)
    assert not worker.embeddings.has_work


def test_a_bad_input_that_is_found_later_fails_its_request_alone(worker: Worker) -> None:
    worker.letters.read_seconds = ROUND_SECONDS
    worker.start(1, "a", "b", "x" * 100)
    worker.start(2, "c")
    events = worker.finish()
    (failed,) = (event for event in events if isinstance(event, Failed))
    assert (failed.request_id, failed.field) == (1, "input[2]")
    assert vectors_of(events, 2) == expected("c")


def test_a_request_has_an_end(worker: Worker) -> None:
    inputs = EmbeddingInputs(Embed(1, 0.0, [[1] * 100] * 3001), worker.letters, 100)
    for _ in range(3000):
        inputs.read_next()
    with pytest.raises(RequestError, match=r"input\[3000\] is where the request comes to 300100 tokens"):
        inputs.read_next()


def test_the_queue_has_an_end() -> None:
    worker = Worker(max_queued_tokens=60)
    worker.start(1, "x" * 80)
    with pytest.raises(RequestError) as caught:
        worker.start(2, "y")
    assert (caught.value.condition, caught.value.reason) == ("BUSY", "QUEUE_FULL")
    assert caught.value.retry_seconds == 1
    assert worker.start(3, "y", was_taken=True) == [Taken(3)], "who was let in before is let in again"
    assert {event.request_id for event in worker.finish()} == {1, 3}


def test_who_can_not_be_served_in_time_is_told_so_at_once(worker: Worker) -> None:
    soon = time.monotonic() + 0.05
    assert worker.start(1, "x" * 80, deadline=soon) == [Taken(1)], "it is first, and may try"
    with pytest.raises(RequestError) as caught:
        worker.start(2, "y" * 80, deadline=soon)
    assert (caught.value.condition, caught.value.reason) == ("BUSY", "DEADLINE_UNREACHABLE")
    assert worker.start(3, "y" * 80, deadline=time.monotonic() + 60) == [Taken(3)]


def test_priority_goes_before_arrival(worker: Worker) -> None:
    for number in (1, 2):
        worker.start(number, *["x" * 30] * 2, arrived=float(number))
    worker.start(3, *["x" * 30] * 2, arrived=3.0, priority=-1)
    scheduled, _ = worker.step()
    assert [event.request_id for event in scheduled] == [3]


def test_what_can_not_be_computed_fails_alone(worker: Worker) -> None:
    worker.start(1, [1], [BAD])
    worker.start(2, "a")
    events = worker.finish()
    (failed,) = (event for event in events if isinstance(event, Failed))
    assert (failed.request_id, failed.condition, failed.reason) == (1, "ENGINE", "DECODE_FAILED")
    assert vectors_of(events, 2) == expected("a")


def test_a_model_that_can_not_says_so() -> None:
    nothing = NoEmbeddings("it ranks texts")
    with pytest.raises(RequestError, match="it ranks texts") as caught:
        nothing.start(Embed(1, 0.0, ["a"]))
    assert (caught.value.condition, caught.value.reason, caught.value.field) == (
        "UNSUPPORTED",
        "NO_EMBEDDINGS",
        "model",
    )
    nothing.cancel(1)
    assert (nothing.has_work, nothing.schedule(), nothing.run()) == (False, [], [])
    with pytest.raises(RequestError) as caught:
        NoGenerations("it is an encoder").start(None)  # type: ignore[arg-type]
    assert caught.value.reason == "NOT_GENERATIVE"


def test_after_a_death_only_what_is_missing_is_computed_again() -> None:
    texts = ["a", "b" * 30, "c" * 80, "d"]
    ticket = Ticket(Embed(1, 0.0, list(texts)))
    ticket.is_sent = True
    first = Worker()
    for event in first.start(1, *texts):
        ticket.take(event)
    while not ticket.has_progressed:
        for event in (event for events in first.step() for event in events):
            ticket.take(event)
    ticket.note_death(Death("died", is_from_outside=False))
    again = ticket.message()
    assert isinstance(again, Embed)
    assert 0 < again.num_done < len(texts)
    assert again.was_taken
    second = Worker()
    second.embeddings.start(again)
    for event in second.finish():
        ticket.take(event)
    assert ticket.is_answered
    assert sum(len(batch) for batch in second.embedder.batches) > 0
    computed = {piece.index for batch in second.embedder.batches for piece in batch}
    assert computed == set(range(again.num_done, len(texts)))


async def test_a_caller_gets_all_vectors_across_a_death() -> None:
    ticket = Ticket(Embed(1, 0.0, ["a", "b"]))
    ticket.take(Vectors(1, [b"1"], 2, is_last=False))
    ticket.note_death(Death("died", is_from_outside=True))
    ticket.take(Vectors(1, [b"2"], 3, is_last=True))
    events = await ticket.mailbox.take()
    assert [event.vectors for event in events if isinstance(event, Vectors)] == [[b"1"], [b"2"]]
    assert [is_last(event) for event in events] == [False, True]


def test_the_limits_are_those_of_the_context() -> None:
    assert Worker().engine.limits is LIMITS
