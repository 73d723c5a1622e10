"""What a worker does all day: takes requests in, between steps, and says what came of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import msgspec

from llamawire_server.machine import resident_bytes
from llamawire_server.worker.child.forms import Made
from llamawire_server.worker.child.intake import Intake, Question
from llamawire_server.worker.child.outbox import Outbox
from llamawire_server.worker.child.prompts import PromptBuilder, RequestError, Vocabulary
from llamawire_server.worker.embedding_messages import Embed
from llamawire_server.worker.messages import (
    Cancel,
    Detokenize,
    Event,
    Events,
    Failed,
    Generate,
    Memory,
    Opened,
    RenderedPrompt,
    RenderPrompt,
    Request,
    Taken,
    Text,
    TokenCount,
    Tokenize,
    Tokens,
)
from llamawire_server.worker.wire import Inbox

log = logging.getLogger("llamawire_server.worker")

SIGN_OF_LIFE_SECONDS = 0.5

# How often the worker looks at what it has in memory, and how much more is worth telling.
MEMORY_SECONDS = 5.0
MEMORY_BYTES = 1 << 20

# How long at a time an idle worker waits for the form of an answer, and looks at nothing else.
FORM_SECONDS = 0.01


class Tokenizer(Vocabulary, Protocol):
    """The tokenizer, in both directions."""

    def detokenize(self, tokens: Sequence[int], *, unparse_special: bool) -> str: ...


class Work(Protocol):
    """Requests of one kind that take steps: see `Generations`, `Embeddings`."""

    @property
    def has_work(self) -> bool: ...

    def cancel(self, request_id: int) -> None: ...

    def schedule(self) -> list[Event]: ...

    def run(self) -> list[Event]: ...


class GenerationWork(Work, Protocol):
    """Answers that are generated, some of which have a form that is made beside the steps."""

    @property
    def is_making_form(self) -> bool: ...

    @property
    def next_form(self) -> int | None: ...

    def start(self, request: Generate) -> list[Event]: ...

    def begin_form(self) -> None: ...

    def wait_for_form(self, seconds: float) -> None: ...

    def take_form(self) -> Made | None: ...

    def admit(self, made: Made) -> list[Event]: ...


class EmbeddingWork(Work, Protocol):
    """Texts that become vectors."""

    @property
    def rests_at(self) -> float | None: ...

    def start(self, request: Embed) -> list[Event]: ...

    def rest(self) -> None: ...


class Desk:
    """The requests of one loaded model, from the socket and back to it."""

    def __init__(
        self,
        vocabulary: Tokenizer,
        prompts: PromptBuilder,
        generations: GenerationWork,
        outbox: Outbox,
        *,
        embeddings: EmbeddingWork,
        context_length: int,
        memory_bytes: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """memory_bytes: what the worker has in memory, as was told. clock: what a round of prompts is measured by."""
        self._vocabulary = vocabulary
        self._prompts = prompts
        self._generations = generations
        self._embeddings = embeddings
        # In each turn of the desk each of them takes a step: none stops the other for longer than that.
        self._works: tuple[Work, ...] = (generations, embeddings)
        self._outbox = outbox
        self._intake = Intake(clock)
        self._context_length = context_length
        self._memory_bytes = memory_bytes
        self._last_sent = self._last_measured = time.monotonic()

    def serve(self, inbox: Inbox[Request]) -> None:
        """Answer until the other side closes. Raises ConnectionClosedError then."""
        while True:
            self.turn(inbox)

    def turn(self, inbox: Inbox[Request]) -> None:
        """Look at what has come, and compute a step where there is one; wait where there is neither.

        Raises ConnectionClosedError where the other side has closed.
        """
        self._outbox.flush()
        is_idle = not (self._has_work or self._intake)
        if is_idle and self._generations.is_making_form:
            # All that there is to do is done on another thread.
            self._generations.wait_for_form(FORM_SECONDS)
            is_idle = False
        if is_idle and not self._outbox.is_empty:
            self._outbox.wait()
            is_idle = False
        self._receive(inbox, self._patience() if is_idle else 0.0)
        events = self._go_on_with_forms() + self._take_in()
        for work in self._works:
            if work.has_work:
                # Whatever a step does to this process, it is known whom it was for.
                events += work.schedule()
                self._tell(events)
                events = work.run()
        self._tell(events)
        self._look_after_memory()

    @property
    def _has_work(self) -> bool:
        return any(work.has_work for work in self._works)

    def _patience(self) -> float | None:
        """How long to wait for a request where there is nothing to do, in seconds; None: for ever."""
        rests_at = self._embeddings.rests_at
        if rests_at is None:
            return None
        return max(rests_at, self._last_measured + MEMORY_SECONDS) - time.monotonic()

    def _receive(self, inbox: Inbox[Request], patience: float | None) -> None:
        """All that has come: a cancel may be behind many requests. Waits for so many seconds where nothing has."""
        requests = inbox.receive(patience)
        while requests:
            for request in requests:
                if not isinstance(request, Cancel):
                    self._intake.add(request)
                elif not self._intake.cancel(request.request_id):
                    for work in self._works:
                        work.cancel(request.request_id)
            requests = inbox.receive(0.0)

    def _take_in(self) -> list[Event]:
        """A round of requests; gives what is to be said of them, and of those that it left."""
        events: list[Event] = []
        for request, was_held in self._intake.round(lambda: self._has_work):
            if was_held:
                # Whatever its prompt does to this process, it is known whose it was.
                self._send(Events([*events, Opened(request.request_id)]))
                events = []
            events += self._take(request)
            self._show_life()
        return events + [Taken(request_id) for request_id in self._intake.hold()]

    def _go_on_with_forms(self) -> list[Event]:
        """What is to be said of the form that was made by now, if one was; the next one is begun."""
        events: list[Event] = []
        if (made := self._generations.take_form()) is not None:
            events = self._attempt(made.request_id, partial(self._generations.admit, made))
        if (opened := self._generations.next_form) is not None:
            # Whatever its form does to this process, it is known whose it was.
            self._send(Events([*events, Opened(opened)]))
            events = []
            self._generations.begin_form()
        return events

    def _tell(self, events: list[Event]) -> None:
        if events:
            self._send(Events(events))
        else:
            self._show_life()

    def _show_life(self) -> None:
        """Let the other side know that there is progress, if of nothing that can be told."""
        if time.monotonic() - self._last_sent >= SIGN_OF_LIFE_SECONDS:
            self._send(Events([]))

    def _look_after_memory(self) -> None:
        """Now and then, give back what is not needed, and tell what there is."""
        now = time.monotonic()
        if now - self._last_measured < MEMORY_SECONDS:
            return
        self._last_measured = now
        memory_bytes = resident_bytes()
        rests_at = self._embeddings.rests_at
        if rests_at is not None and now >= rests_at:
            self._embeddings.rest()
            # What was told stands but for this: pages that the system has taken away will be needed again.
            memory_bytes = self._memory_bytes - max(0, memory_bytes - resident_bytes())
        elif memory_bytes < self._memory_bytes + MEMORY_BYTES:
            return
        if memory_bytes != self._memory_bytes and self._send(Memory(memory_bytes)):
            self._memory_bytes = memory_bytes

    def _take(self, request: Question) -> list[Event]:
        return self._attempt(request.request_id, partial(self._answer, request))

    def _attempt(self, request_id: int, work: Callable[[], list[Event]]) -> list[Event]:
        """What is to be said after some work for a request, its failure included."""
        try:
            return work()
        except RequestError as error:
            return [error.event(request_id)]
        except Exception:
            log.exception("request %d failed", request_id)
            return [Failed(request_id, "ENGINE", "INFERENCE_ERROR", "the request failed in the engine")]

    def _answer(self, request: Question) -> list[Event]:
        if isinstance(request, Generate):
            return self._generations.start(request)
        if isinstance(request, Embed):
            return self._embeddings.start(request)
        if isinstance(request, Tokenize):
            tokens = self._tokenize(request)
            piece = self._vocabulary.named_piece if request.unparse_special else self._vocabulary.piece
            return [Tokens(request.request_id, tokens, [piece(token) for token in tokens])]
        if isinstance(request, Detokenize):
            text = self._vocabulary.detokenize(request.tokens, unparse_special=request.unparse_special)
            return [Text(request.request_id, text)]
        if isinstance(request, RenderPrompt):
            text = self._prompts.render(
                request.prompt, request.arrived_at, add_generation_prompt=request.add_generation_prompt
            )
            return [RenderedPrompt(request.request_id, text, self._prompts.tokenize(text))]
        count = len(self._prompts.build(request.prompt, request.arrived_at))
        return [TokenCount(request.request_id, count, self._context_length)]

    def _tokenize(self, request: Tokenize) -> list[int]:
        """A text's tokens, or those of its parts one after the other."""
        tokens: list[int] = []
        for number, part in enumerate(request.parts or [request.text]):
            if isinstance(part, str):
                # As llama.cpp's own server has it: a text in the middle begins nothing.
                add_special = request.add_special and number == 0
                part = self._vocabulary.tokenize(
                    part, add_special=add_special, parse_special=request.parse_special
                )
            tokens += part
        return tokens

    def _send(self, message: msgspec.Struct) -> bool:
        """False where the message was left out, as others wait before it."""
        self._last_sent = time.monotonic()
        return self._outbox.put(message)
