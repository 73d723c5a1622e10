"""The embeddings that a worker is asked for: texts in, vectors out, one batch at a time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from llamawire_server.engine.embedding.engine import EmbeddingEngine, Outcome
from llamawire_server.engine.embedding.job import Job, Piece
from llamawire_server.worker.child.embedding_inputs import EmbeddingInputs, Tokenizer
from llamawire_server.worker.child.intake import ROUND_SECONDS
from llamawire_server.worker.child.line import between
from llamawire_server.worker.child.prompts import RequestError
from llamawire_server.worker.child.rank import rank
from llamawire_server.worker.embedding_messages import Embed, Vectors
from llamawire_server.worker.messages import Event, Opened, Started, Taken

# What computing needs is given back after so long without anything to compute: a long input's context takes as much
# as that of all answers together.
REST_SECONDS = 60.0


class Embeddings:
    """All requests for embeddings that the worker has.

    They are read one after the other, for a moment between two steps, and then line up to be computed.
    """

    def __init__(
        self,
        engine: EmbeddingEngine,
        tokenizer: Tokenizer,
        *,
        max_queued_tokens: int = 1_000_000,
        is_shared: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """max_queued_tokens: of inputs that may wait. is_shared: whether something else is computed beside them.
        clock: what a round of reading is measured by."""
        self._engine = engine
        self._tokenizer = tokenizer
        self._max_queued_tokens = max_queued_tokens
        self._is_shared = is_shared
        self._clock = clock
        self._unread: OrderedDict[int, EmbeddingInputs] = OrderedDict()
        """The first of them is being read, if it is `_open`."""
        self._open: EmbeddingInputs | None = None
        self._not_begun: set[int] = set()
        self._batch: list[Piece] = []
        self._last_worked = time.monotonic()

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do in a step."""
        return bool(self._unread) or self._engine.has_work

    @property
    def rests_at(self) -> float | None:
        """When it will give back its memory if nothing comes, in seconds of `time.monotonic`; None where it has none
        to give, or something to do."""
        return self._last_worked + REST_SECONDS if self._engine.can_rest and not self._unread else None

    def rest(self) -> None:
        """Give back the memory that only computing needs."""
        self._engine.rest()

    def start(self, request: Embed) -> list[Event]:
        """Take a request in; gives what is to be said of it. Raises RequestError, having taken nothing in."""
        inputs = EmbeddingInputs(request, self._tokenizer, self._engine.limits.context_length)
        self._unread[request.request_id] = inputs
        if len(self._unread) > 1:
            return [Taken(request.request_id)]
        self._open = inputs
        return self._read(inputs)

    def cancel(self, request_id: int) -> None:
        """Drop a request, wherever it stands; nothing more is said of it. One that is not there is no error."""
        inputs = self._unread.pop(request_id, None)
        if inputs is not None and inputs is self._open:
            self._open = None
        self._not_begun.discard(request_id)
        self._engine.drop(request_id)

    def schedule(self) -> list[Event]:
        """Decide what to do next; gives the requests that begin with it. To be followed by `run`."""
        self._batch = self._engine.schedule(is_shared=self._is_shared())
        begun = {piece.job.request_id for piece in self._batch} & self._not_begun
        self._not_begun -= begun
        now = time.monotonic()
        events: list[Event] = [Started(request_id, now) for request_id in sorted(begun)]
        if self._open is None and self._unread:
            self._open = min(self._unread.values(), key=_rank)
            events.append(Opened(self._open.request.request_id))
        return events

    def run(self) -> list[Event]:
        """Do what was decided; gives what it brought."""
        events: list[Event] = []
        if self._open is not None:
            request_id = self._open.request.request_id
            try:
                events += self._read(self._open)
            except RequestError as error:
                events.append(error.event(request_id))
        for outcome in self._engine.run(self._batch):
            events += self._tell(outcome)
        self._last_worked = time.monotonic()
        return events

    def _read(self, inputs: EmbeddingInputs) -> list[Event]:
        """Read on, and where that was all of it let the request line up. Raises RequestError, and forgets it."""
        end = self._clock() + ROUND_SECONDS
        request = inputs.request
        try:
            while not inputs.are_read:
                inputs.read_next()
                if self._clock() >= end and not inputs.are_read:
                    return []
            if not request.was_taken:
                self._check_line(inputs)
        except BaseException:
            self.cancel(request.request_id)
            raise
        self._open = None
        del self._unread[request.request_id]
        self._engine.add(
            Job(
                request.request_id,
                inputs.tokens,
                _rank(inputs),
                request.dimensions,
                num_done=request.num_done,
            )
        )
        self._not_begun.add(request.request_id)
        return [Taken(request.request_id)]

    def _check_line(self, inputs: EmbeddingInputs) -> None:
        """Nobody lines up for whom there is no room, or whose time would be up before they are served."""
        num_waiting, num_tokens = self._engine.num_tokens_left, inputs.num_tokens
        token_seconds = self._engine.token_seconds
        if num_waiting and num_waiting + num_tokens > self._max_queued_tokens:
            raise RequestError(
                "BUSY",
                "QUEUE_FULL",
                f"inputs of {num_waiting} tokens wait for the model already; "
                f"at most {self._max_queued_tokens} may",
                retry_seconds=between(num_waiting * token_seconds),
            )
        deadline = inputs.request.deadline
        if deadline is None or not num_waiting:
            return
        left_seconds = deadline - time.monotonic()
        # Whoever is first in line has half of the time.
        needed_seconds = 2 * num_tokens * token_seconds
        if needed_seconds > left_seconds:
            raise RequestError(
                "BUSY",
                "DEADLINE_UNREACHABLE",
                f"it would take about {needed_seconds:.1f} s; the deadline is in {left_seconds:.1f} s",
                retry_seconds=between(num_waiting * token_seconds),
            )

    def _tell(self, outcome: Outcome) -> list[Event]:
        request_id = outcome.job.request_id
        if outcome.is_failed:
            error = RequestError(
                "ENGINE", "DECODE_FAILED", "llama.cpp could not compute this request's inputs"
            )
            return [error.event(request_id)]
        if not outcome.vectors:
            return []
        return [Vectors(request_id, outcome.vectors, outcome.num_tokens, outcome.job.is_done)]


def _rank(inputs: EmbeddingInputs) -> float:
    return rank(inputs.request.arrived, inputs.request.priority)
