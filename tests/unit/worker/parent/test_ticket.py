"""Requests that outlive their workers: who goes when, and who is to blame."""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from sampling import GREEDY

from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.worker.messages import (
    ChatPrompt,
    Generate,
    Opened,
    Started,
    Taken,
    TextDelta,
    Tokenize,
)
from llamawire_server.worker.parent.death import Death
from llamawire_server.worker.parent.ticket import Ticket, find_culprit, next_to_send
from llamawire_server.worker.progress import ChoiceProgress, Progress
from llamawire_server.worker.token_counts import ChoiceCounts, PromptCounts

FAULT = Death("was ended by SIGABRT", is_from_outside=False)
KILL = Death("was ended by SIGKILL", is_from_outside=True)


def generation() -> Generate:
    """A request for two choices."""
    return Generate(
        request_id=1,
        arrived=1.0,
        arrived_at=1.0,
        prompt=ChatPrompt([]),
        sampling=GREEDY,
        max_tokens=9,
        is_max_tokens_explicit=True,
        num_choices=2,
        stops=[],
        stop_token_ids=[],
    )


class Line:
    """Tickets in the order in which they came, and the worker that has some of them."""

    def __init__(self, num_tickets: int) -> None:
        self.tickets = [
            Ticket(Tokenize(number, "", add_special=False, parse_special=False))
            for number in range(num_tickets)
        ]

    def send(self) -> list[int]:
        sent = next_to_send(self.tickets)
        for ticket in sent:
            ticket.is_sent = True
        return [ticket.request.request_id for ticket in sent]

    def progress(self, *numbers: int) -> None:
        for ticket in self.tickets:
            if ticket.request.request_id in numbers:
                ticket.take(TextDelta(ticket.request.request_id, 0, "x", [1]))

    def die(self, death: Death = FAULT) -> int | None:
        """The number of the culprit, who leaves the line."""
        culprit = find_culprit(self.tickets, death)
        for ticket in self.tickets:
            ticket.note_death(death)
        if culprit is None:
            return None
        self.tickets.remove(culprit)
        return culprit.request.request_id


def test_after_one_death_all_go_on_at_once() -> None:
    line = Line(3)
    assert line.send() == [0, 1, 2]
    assert line.send() == []
    assert line.die() is None
    assert line.send() == [0, 1, 2]


def test_after_two_deaths_each_is_tried_alone_and_the_proven_stay() -> None:
    line = Line(3)
    line.send()
    line.die()
    line.send()
    assert line.die() is None
    assert line.send() == [0]
    assert line.send() == []
    line.progress(0)
    assert line.send() == [1]
    assert line.die() == 1, "the only one that had got nowhere"
    assert line.send() == [0], "it was there at a death again, but it had got somewhere"
    line.progress(0)
    assert line.send() == [2]


def test_a_single_request_that_gets_nowhere_is_found_at_the_second_death() -> None:
    line = Line(1)
    line.send()
    assert line.die() is None
    line.send()
    assert line.die() == 0


def test_progress_in_between_is_proof() -> None:
    line = Line(1)
    for _ in range(20):
        line.send()
        line.progress(0)
        assert line.die() is None


def test_who_was_not_there_is_no_suspect() -> None:
    line = Line(2)
    line.send()
    late = Ticket(Tokenize(9, "", add_special=False, parse_special=False))
    line.tickets.append(late)
    line.die()
    assert (line.tickets[0].suspicion > 0, late.suspicion) == (True, 0)


def test_who_waits_in_the_workers_line_was_not_at_work() -> None:
    line = Line(2)
    for _ in range(10):
        line.send()
        line.tickets[0].take(Taken(0))
        line.tickets[0].take(Started(0, 1.0))
        line.tickets[1].take(Taken(1))
        line.progress(0)
        assert line.die() is None
    assert not line.tickets[1].suspicion


def test_who_is_at_work_is_to_blame_and_not_who_waits() -> None:
    line = Line(2)
    for culprit in (None, 0):
        line.send()
        line.tickets[1].take(Taken(1))
        assert line.die() == culprit


def test_those_who_kill_from_outside_need_more_deaths_to_make_a_suspect() -> None:
    line = Line(1)
    outcomes = []
    for _ in range(4):
        line.send()
        outcomes.append(line.die(KILL))
    assert outcomes == [None, None, None, 0]


@given(num_tickets=st.integers(1, 8), guilty=st.sets(st.integers(0, 7)))
def test_exactly_the_guilty_are_found(num_tickets: int, guilty: set[int]) -> None:
    guilty = {number for number in guilty if number < num_tickets}
    line = Line(num_tickets)
    found = set()
    for _ in range(100):
        while line.send():
            there = [ticket.request.request_id for ticket in line.tickets if ticket.is_sent]
            if guilty & set(there):
                if (culprit := line.die()) is not None:
                    found.add(culprit)
            else:
                line.progress(*there)
        if all(ticket.has_progressed for ticket in line.tickets):
            break
    assert found == guilty
    assert all(ticket.has_progressed for ticket in line.tickets)
    assert len(line.tickets) == num_tickets - len(guilty)


@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_a_suspect_never_shares_its_trial_with_another_that_is_not_proven(progress: list[bool]) -> None:
    line = Line(4)
    for is_proven, number in itertools.product(progress, range(4)):
        line.send()
        unproven = [ticket for ticket in line.tickets if ticket.is_unproven]
        if any(ticket.is_suspect for ticket in unproven):
            assert len(unproven) == 1
        if is_proven:
            line.progress(number)
        else:
            line.die()


def test_who_waits_to_be_looked_at_is_not_to_blame_and_who_is_looked_at_is() -> None:
    line = Line(2)
    line.send()
    for ticket in line.tickets:
        ticket.take(Taken(ticket.request.request_id))
    line.tickets[1].take(Opened(1))
    assert [ticket.is_accountable for ticket in line.tickets] == [False, True]
    assert line.die() is None
    assert [ticket.suspicion for ticket in line.tickets] == [0, 2]
    line.send()
    for ticket in line.tickets:
        ticket.take(Taken(ticket.request.request_id))
    line.tickets[1].take(Opened(1))
    assert line.die() == 1


def test_who_lined_up_once_goes_on_where_it_had_not_begun() -> None:
    ticket = Ticket(generation())
    assert ticket.message() is ticket.request
    ticket.note_death(KILL)
    assert ticket.message() is ticket.request, "no worker has said that it may wait"
    ticket.take(Taken(1))
    ticket.note_death(KILL)
    message = ticket.message()
    assert isinstance(message, Generate)
    assert message.progress == Progress([ChoiceProgress([])] * 2, started=None, first_token=None)
    ticket.take(Started(1, 5.0))
    ticket.take(TextDelta(1, 1, "x", [7]))
    message = ticket.message()
    assert isinstance(message, Generate)
    assert message.progress is not None
    assert [choice.tokens for choice in message.progress.choices] == [[], [7]]
    assert message.progress.started == 5.0


def test_what_is_held_back_of_a_choice_travels_with_its_tokens() -> None:
    held = [TokenLogprobs(2, -1.0, [(3, -0.5)])]
    ticket = Ticket(generation())
    ticket.take(Taken(1))
    ticket.take(TextDelta(1, 0, "a", [1], held=held))
    ticket.take(TextDelta(1, 0, "", [2], held=held * 2))
    ticket.note_death(FAULT)
    message = ticket.message()
    assert isinstance(message, Generate)
    assert message.progress is not None
    assert message.progress.choices == [ChoiceProgress([1, 2], held=held * 2), ChoiceProgress([])]
    # As it goes to the worker.
    sent = msgspec.msgpack.encode(message.progress)
    assert msgspec.msgpack.decode(sent, type=Progress) == message.progress


async def test_what_was_told_of_a_prompt_travels_with_the_request() -> None:
    told = PromptCounts(10, 4)
    ticket = Ticket(generation())
    ticket.take(Taken(1))
    ticket.take(TextDelta(1, 0, "", [7], counts=ChoiceCounts(1, 0), prompt_counts=told))
    assert await ticket.mailbox.take(), "counts are news, with text or without"
    ticket.take(TextDelta(1, 0, "", [8], counts=ChoiceCounts(2, 0)))
    ticket.note_death(FAULT)
    message = ticket.message()
    assert isinstance(message, Generate)
    assert message.progress is not None
    assert message.progress.choices == [ChoiceProgress([7, 8]), ChoiceProgress([])]
    assert message.progress.num_cached_tokens == 4


async def test_nothing_is_news_that_nobody_wants_counted() -> None:
    ticket = Ticket(generation())
    ticket.take(TextDelta(1, 0, "", [7]))
    ticket.take(TextDelta(1, 0, "a", [8]))
    assert await ticket.mailbox.take() == [TextDelta(1, 0, "a", [8])]
