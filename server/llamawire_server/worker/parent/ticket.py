"""A request in flight, with all that it takes to go on with it in another process."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.worker.embedding_messages import Embed, Vectors
from llamawire_server.worker.messages import (
    Event,
    Generate,
    Opened,
    Request,
    Started,
    Taken,
    TextDelta,
)
from llamawire_server.worker.parent.death import Death
from llamawire_server.worker.parent.mailbox import Mailbox, is_last
from llamawire_server.worker.progress import ChoiceProgress, Progress

# A request that was there at deaths that weigh so much, and got nowhere in between, may be their cause. Two faults
# are enough. Who kills from outside mostly has reasons that are no request's; a kernel short of memory may have one.
SUSPICIOUS_WEIGHT = 4
FAULT_WEIGHT = 2
OUTSIDE_WEIGHT = 1


@dataclass
class Choice:
    """What a choice has got so far."""

    tokens: list[int] = field(default_factory=list)
    finish_reason: str = ""
    held: list[TokenLogprobs] = field(default_factory=list)


class Ticket:
    """A request between its caller and its worker."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.mailbox = Mailbox()
        self.is_sent = False
        """Whether the worker of this moment has it."""
        self.has_progressed = False
        """Whether anything came of it from the worker of this moment."""
        self.suspicion = 0
        """The weight of the deaths that it was there at, since it last got anywhere."""
        self.is_in_line = False
        """Whether its worker has it and does nothing for it: nothing can come of that.

        So it is where others' prompts come before its own, and where its prompt is made and none of it computed.
        """
        self.was_taken = False
        """Whether a worker let it line up: none of those that follow may refuse it for its queue."""
        self.is_answered = False
        """Whether its last event has come, if its caller has not read it yet."""
        self._choices: dict[int, Choice] = {}
        self._num_vectors = 0
        self._started: float | None = None
        self._first_token: float | None = None
        self._num_cached_tokens: int | None = None

    @property
    def is_suspect(self) -> bool:
        return self.suspicion >= SUSPICIOUS_WEIGHT

    @property
    def is_unproven(self) -> bool:
        """Whether the worker has it, and nothing came of it yet."""
        return self.is_sent and not self.has_progressed

    @property
    def is_accountable(self) -> bool:
        """Whether the worker is at work on it, and nothing came of it yet."""
        return self.is_unproven and not self.is_in_line

    def take(self, event: Event) -> None:
        """Note what came of it, and hand its caller what is for callers."""
        if isinstance(event, Taken):
            self.is_in_line = self.was_taken = True
            return
        if isinstance(event, Opened):
            self.is_in_line = False
            return
        if isinstance(event, Started):
            self.is_in_line = False
            self._started = event.at if self._started is None else self._started
            return
        self.has_progressed = True
        self.is_answered = is_last(event)
        if isinstance(event, TextDelta):
            if self._first_token is None:
                self._first_token = time.monotonic()
            choice = self._choices.get(event.index)
            if choice is None:
                choice = self._choices[event.index] = Choice()
                if event.prompt_counts is not None:
                    # A prompt that is computed again is not told of again.
                    self._num_cached_tokens = event.prompt_counts.num_cached_tokens
            choice.tokens += event.tokens
            choice.finish_reason = event.finish_reason
            choice.held = event.held
            if not event.has_news:
                return
        elif isinstance(event, Vectors):
            self._num_vectors += len(event.vectors)
        self.mailbox.put(event)

    def note_death(self, death: Death) -> None:
        """The worker that may have had it is dead."""
        if self.has_progressed:
            self.suspicion = weigh(death)
        elif self.is_accountable:
            self.suspicion += weigh(death)
        self.is_sent = self.has_progressed = self.is_in_line = False

    def message(self) -> Request:
        """What to send to a worker, for it to begin or to go on."""
        if isinstance(self.request, Embed):
            return msgspec.structs.replace(self.request, num_done=self._num_vectors, was_taken=self.was_taken)
        if not isinstance(self.request, Generate) or not self.was_taken:
            return self.request
        choices = [self._choices.get(index, Choice()) for index in range(self.request.num_choices)]
        progress = Progress(
            [ChoiceProgress(choice.tokens, choice.finish_reason, choice.held) for choice in choices],
            self._started,
            self._first_token,
            self._num_cached_tokens,
        )
        return msgspec.structs.replace(self.request, progress=progress)


def weigh(death: Death) -> int:
    """How much it says about the requests that were there."""
    return OUTSIDE_WEIGHT if death.is_from_outside else FAULT_WEIGHT


def next_to_send(tickets: Iterable[Ticket]) -> list[Ticket]:
    """Which of the requests, given in the order in which they came, the worker is to get now.

    All of them, unless one may be the cause of two deaths: each suspect is tried without any other of which nothing
    came yet, so that if the worker dies again, it is known at whose hands.
    """
    in_line = list(tickets)
    is_untried_there = any(ticket.is_unproven for ticket in in_line)
    chosen: list[Ticket] = []
    for ticket in in_line:
        if ticket.is_sent:
            if ticket.is_suspect and ticket.is_unproven:
                return []
        elif not ticket.is_suspect:
            chosen.append(ticket)
        elif is_untried_there or chosen:
            return chosen
        else:
            return [ticket]
    return chosen


def find_culprit(tickets: Iterable[Ticket], death: Death) -> Ticket | None:
    """Who has to answer for a death: the only one that was there and had got nowhere, this time and before.

    To be asked before the tickets note the death.
    """
    accountable = [ticket for ticket in tickets if ticket.is_accountable]
    if len(accountable) == 1 and accountable[0].suspicion + weigh(death) >= SUSPICIOUS_WEIGHT:
        return accountable[0]
    return None
