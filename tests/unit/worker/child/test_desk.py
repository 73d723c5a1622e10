"""A worker between its steps: many requests at once hold up nobody, and it is known whom it works for."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from sampling import GREEDY

from llamawire_server.chat.grammar import Grammar
from llamawire_server.worker.child.desk import Desk
from llamawire_server.worker.child.intake import ROUND_SECONDS
from llamawire_server.worker.child.outbox import Outbox
from llamawire_server.worker.child.prompts import RequestError
from llamawire_server.worker.child.refusals import NoEmbeddings
from llamawire_server.worker.messages import (
    Cancel,
    ChatPrompt,
    Event,
    Events,
    Failed,
    Generate,
    Report,
    Request,
    Started,
    Taken,
    TextDelta,
    Tokenize,
    Tokens,
)
from llamawire_server.worker.parent.ticket import Ticket
from llamawire_server.worker.wire import ConnectionClosedError, Inbox, frame

NUM_CALLERS = 64
PATIENCE_SECONDS = 60


def generate(number: int, content: str = "x", grammar: Grammar | None = None) -> Generate:
    prompt = ChatPrompt([{"role": "user", "content": content}])
    return Generate(number, 0.0, 0.0, prompt, GREEDY, 9, False, 1, [], [], grammar=grammar)


class Server:
    """The other side: sends requests, and notes on tickets what is said of them."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.is_reading = True
        kinds: Any = Report
        self._inbox = Inbox[Any](connection, kinds)
        self.tickets: dict[int, Ticket] = {}
        self.events: list[Event] = []

    def send(self, *requests: Request) -> None:
        for request in requests:
            if not isinstance(request, Cancel):
                ticket = self.tickets[request.request_id] = Ticket(request)
                ticket.is_sent = True
            self._connection.sendall(frame(request))

    def read(self) -> None:
        while self.is_reading and (reports := self._inbox.receive(0.0)):
            for report in reports:
                assert isinstance(report, Events)
                self.events += report.events
                for event in report.events:
                    self.tickets[event.request_id].take(event)

    def close(self) -> None:
        self._connection.close()

    @property
    def accountable(self) -> set[int]:
        self.read()
        return {number for number, ticket in self.tickets.items() if ticket.is_accountable}


class Crowd:
    """In the place of `Generations`: everybody who was taken in gets a token in each step.

    A prompt takes its time by a clock that only prompts move.
    """

    def __init__(self, server: Server) -> None:
        self.now = 0.0
        self.prompt_seconds = 0.3 * ROUND_SECONDS
        self.num_steps = 0
        self.started: list[int] = []
        self.cancelled: list[int] = []
        self.blamed: list[set[int]] = []
        """Who would be to blame if this process died, at each prompt that was held before."""
        self.blamed_in_steps: list[set[int]] = []
        self._server = server
        self._begun: set[int] = set()
        self.forms: list[int] = []
        """Requests that wait for their forms."""
        self.making: int | None = None
        self.made: set[int] = set()
        self.bad_forms: set[int] = set()
        self.blamed_for_forms: list[set[int]] = []
        """Who would be to blame, when a form is begun."""
        self.num_waits = 0

    @property
    def has_work(self) -> bool:
        return bool(set(self.started) - set(self.cancelled))

    @property
    def is_making_form(self) -> bool:
        return self.making is not None

    @property
    def next_form(self) -> int | None:
        return self.forms[0] if self.forms and self.making is None else None

    def begin_form(self) -> None:
        self.making = self.forms.pop(0)
        self.blamed_for_forms.append(self._server.accountable)

    def wait_for_form(self, seconds: float) -> None:
        self.num_waits += 1

    def take_form(self) -> Any:
        made = self.making if self.making in self.made else None
        self.making = None if made is not None else self.making
        return None if made is None else SimpleNamespace(request_id=made)

    def admit(self, made: Any) -> list[Event]:
        if made.request_id in self.bad_forms:
            raise RequestError("INVALID", "GRAMMAR_INVALID", "no")
        self.started.append(made.request_id)
        return [Taken(made.request_id)]

    def start(self, request: Generate) -> list[Event]:
        if self.num_steps:
            self.blamed.append(self._server.accountable)
        self.now += self.prompt_seconds
        if request.prompt.messages[0]["content"] == "bad":
            raise RequestError("INVALID", "CHAT_TEMPLATE_REFUSED", "no")
        if request.grammar is None:
            self.started.append(request.request_id)
            return [Taken(request.request_id)]
        self.forms.append(request.request_id)
        if self.next_form is None or len(self.forms) > 1:
            return [Taken(request.request_id)]
        self.begin_form()
        return []

    def cancel(self, request_id: int) -> None:
        self.cancelled.append(request_id)

    def _alive(self) -> list[int]:
        return [number for number in self.started if number not in self.cancelled]

    def schedule(self) -> list[Event]:
        new = [number for number in self._alive() if number not in self._begun]
        self._begun.update(new)
        return [Started(number, 0.5) for number in new]

    def run(self) -> list[Event]:
        self.num_steps += 1
        self.blamed_in_steps.append(self._server.accountable)
        return [TextDelta(number, 0, "x", [1]) for number in self._alive()]


class Letters:
    """In the place of a tokenizer: a token is a character's number."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return [ord(character) for character in text]

    def piece(self, token: int) -> bytes:
        return chr(token).encode()


class Office:
    """A desk, and both sides of its socket."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self.server = Server(ours)
        self.crowd = Crowd(self.server)
        kinds: Any = Request
        self.inbox = Inbox[Any](theirs, kinds)
        nobody: Any = None
        crowd: Any = self.crowd
        letters: Any = Letters()
        self.desk = Desk(
            letters,
            nobody,
            crowd,
            Outbox(theirs),
            embeddings=NoEmbeddings("no"),
            context_length=100,
            memory_bytes=1 << 60,
            clock=lambda: self.crowd.now,
        )

    def turn(self) -> None:
        self.desk.turn(self.inbox)
        self.server.read()


@pytest.fixture
def office() -> Iterator[Office]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Office(ours, theirs)


def test_many_callers_at_once_do_not_stop_the_streams(office: Office) -> None:
    office.server.send(generate(0))
    office.turn()
    office.server.send(*(generate(number) for number in range(1, NUM_CALLERS)))
    num_started = [1]
    while num_started[-1] < NUM_CALLERS:
        office.turn()
        num_started.append(len(office.crowd.started))
    # Four prompts take up a round: there is a step after each four, and everybody's turn comes in order.
    assert num_started == [*range(1, NUM_CALLERS, 4), NUM_CALLERS]
    assert office.crowd.num_steps == len(num_started)
    assert office.crowd.started == list(range(NUM_CALLERS))


def test_only_who_is_worked_for_is_to_blame(office: Office) -> None:
    office.server.send(generate(0))
    office.turn()
    office.server.send(*(generate(number) for number in range(1, NUM_CALLERS)))
    while len(office.crowd.started) < NUM_CALLERS:
        office.turn()
    first_round = 4
    # Held requests are to blame one by one, as their prompts are made; not before, and not behind others.
    for number, blamed in enumerate(office.crowd.blamed[first_round:], first_round + 1):
        assert number in blamed
        assert all(other <= number for other in blamed)
    # In a step, those are that it is the first of.
    num_before = 1
    for blamed, num_after in zip(office.crowd.blamed_in_steps[1:], range(5, NUM_CALLERS, 4), strict=False):
        assert blamed == set(range(num_before, num_after))
        num_before = num_after


def test_a_cancel_waits_for_nothing(office: Office) -> None:
    office.server.send(generate(0))
    office.turn()
    office.server.send(*(generate(number) for number in range(1, 20)), Cancel(0), Cancel(19), Cancel(2))
    office.turn()
    assert office.crowd.cancelled == [0], "it was taken in before, and the others were not"
    office.server.send(Cancel(18))
    while len(office.crowd.started) < 17:
        office.turn()
    office.turn()
    assert office.crowd.started == [0, 1, *range(3, 18)]


def test_an_idle_worker_takes_in_all_that_it_can_answer_at_once(office: Office) -> None:
    texts = [chr(97 + number % 26) for number in range(30)]
    office.server.send(
        *(Tokenize(n, text, add_special=False, parse_special=False) for n, text in enumerate(texts))
    )
    office.turn()
    assert office.server.events == [Tokens(n, [ord(text)], [text.encode()]) for n, text in enumerate(texts)]


def test_whoever_is_refused_in_a_later_round_hears_of_it(office: Office) -> None:
    office.server.send(generate(0))
    office.turn()
    office.server.send(*(generate(number, "bad") for number in range(1, 10)), generate(10))
    while 10 not in office.crowd.started:
        office.turn()
    failed = [event.request_id for event in office.server.events if isinstance(event, Failed)]
    assert failed == list(range(1, 10))


def test_the_end_of_the_other_side_ends_the_work(office: Office) -> None:
    office.server.send(generate(0))
    office.turn()
    office.server.close()
    with pytest.raises(ConnectionClosedError):
        office.turn()


def test_a_reader_that_stands_still_stops_no_step(office: Office) -> None:
    """And when it reads again, an idle worker sends what it has left."""
    office.server.send(generate(0))
    office.server.is_reading = False
    while office.desk._outbox.is_empty:
        office.desk.turn(office.inbox)
    num_steps = office.crowd.num_steps
    for _ in range(100):
        office.desk.turn(office.inbox)
    assert office.crowd.num_steps == num_steps + 100
    office.crowd.cancelled.append(0)
    office.server.is_reading = True

    def serve() -> None:
        with contextlib.suppress(ConnectionClosedError):
            office.desk.serve(office.inbox)

    thread = threading.Thread(target=serve)
    thread.start()
    tokens: list[int] = []
    end = time.monotonic() + PATIENCE_SECONDS
    while len(tokens) < office.crowd.num_steps and time.monotonic() < end:
        office.server.read()
        deltas = [event for event in office.server.events if isinstance(event, TextDelta)]
        tokens = [token for delta in deltas for token in delta.tokens]
    office.server.close()
    thread.join()
    assert len(tokens) == office.crowd.num_steps
    assert len(deltas) < office.crowd.num_steps - 90, "what waited came at once"


def with_form(number: int) -> Generate:
    return generate(number, grammar=Grammar("json_object"))


def test_a_form_that_is_made_stops_no_step(office: Office) -> None:
    office.server.send(generate(0), with_form(1))
    for _ in range(3):
        office.turn()
    assert (office.crowd.started, office.crowd.num_steps, office.crowd.num_waits) == ([0], 3, 0)
    office.crowd.made.add(1)
    office.turn()
    assert office.crowd.started == [0, 1]
    assert office.server.tickets[1].was_taken


def test_an_idle_worker_waits_for_a_form_and_hears_all_that_comes(office: Office) -> None:
    office.server.send(with_form(0))
    for _ in range(3):
        office.turn()
    assert office.crowd.num_waits == 2
    office.server.send(generate(1), Cancel(0))
    office.turn()
    assert (office.crowd.started, office.crowd.cancelled) == ([1], [0])


def test_only_whose_form_is_made_is_to_blame(office: Office) -> None:
    office.server.send(*(with_form(number) for number in range(3)))
    for number in range(3):
        office.turn()
        assert office.crowd.making == number
        assert office.server.accountable == {number}
        office.crowd.made.add(number)
    office.turn()
    assert office.crowd.started == [0, 1, 2]
    assert [blamed - {0} for blamed in office.crowd.blamed_for_forms[1:]] == [{1}, {2}]


def test_whose_form_can_not_be_made_hears_of_it(office: Office) -> None:
    office.crowd.made.update((0, 1))
    office.crowd.bad_forms.add(0)
    office.server.send(with_form(0), with_form(1))
    while 1 not in office.crowd.started:
        office.turn()
    (failed,) = [event for event in office.server.events if isinstance(event, Failed)]
    assert (failed.request_id, failed.reason) == (0, "GRAMMAR_INVALID")
