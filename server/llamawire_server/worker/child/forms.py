"""The forms of answers, compiled beside the steps: a large grammar takes as long as many of these."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass

from llamawire_server.chat.plan import Plan
from llamawire_server.engine.constraint import Constraint
from llamawire_server.worker.child.prompts import RequestError
from llamawire_server.worker.messages import ChatPrompt, Generate

# Of the thread that compiles: beside one that never rests it gets a quarter of a core.
_MORE_NICENESS = 5

# What the compiler is given is bounded so that it takes some tenths of a second. On a busy machine that may become
# many; but somebody else's turn has to come.
LIMIT_SECONDS = 30.0

# What takes longer can't be stopped. There are no more threads than these beside the one that compiles.
_MOST_ABANDONED = 2

# The compiler goes into schemas and rules on its stack; their depth is bounded for one of 8 MB, as a program begins
# with. A thread's may be smaller, by the system or its settings.
_STACK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Asked:
    """A request whose prompt is made, and fits."""

    request: Generate
    text: str
    """The prompt."""
    tokens: list[int]
    max_tokens: int
    num_choices: int
    rank: float
    """Lower goes first."""

    @property
    def has_form(self) -> bool:
        """Whether anything is said of what its answer is to look like."""
        request = self.request
        has_tools = isinstance(request.prompt, ChatPrompt) and bool(request.prompt.tools)
        return request.grammar is not None or (has_tools and request.tool_choice != "none")


@dataclass(frozen=True)
class Form:
    """How a request is answered."""

    plan: Plan
    constraints: list[Constraint | None]
    """What each choice's tokens may be, at their beginning."""


@dataclass(frozen=True)
class Made:
    """A form that was made, or could not be."""

    asked: Asked
    outcome: Future[Form]

    @property
    def request_id(self) -> int:
        """Whose it is."""
        return self.asked.request.request_id

    def form(self) -> Form:
        """Raises whatever making it raised, which is a RequestError mostly."""
        return self.outcome.result()


@dataclass
class _Making:
    """A form on its way."""

    asked: Asked
    outcome: Future[Form]
    thread: threading.Thread
    begun: float
    is_wanted: bool = True


class FormMaker:
    """Makes forms on a thread of their own, one after the other.

    The thread competes with llama.cpp's for the cores, so there is one; llguidance lets others run while it
    compiles. When the next one is begun is for the caller to say, so that it is known whose it is, whatever it does
    to this process. All methods are for one thread.
    """

    def __init__(
        self,
        make: Callable[[Asked], Form],
        limit_seconds: float = LIMIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """make: is called on other threads. limit_seconds: after so long a form is given up."""
        self._make = make
        self._limit_seconds = limit_seconds
        self._clock = clock
        self._waiting: dict[int, Asked] = {}
        self._making: _Making | None = None
        self._abandoned: list[threading.Thread] = []

    def __len__(self) -> int:
        """How many requests wait for their forms."""
        return len(self._wanted())

    @property
    def num_tokens(self) -> int:
        """Those of the prompts of all that wait."""
        return sum(len(asked.tokens) for asked in self._wanted())

    def num_ahead(self, rank: float) -> int:
        """How many of those that wait go before somebody of this rank."""
        return sum(asked.rank <= rank for asked in self._wanted())

    @property
    def is_making(self) -> bool:
        """Whether a form is on its way, which nobody may want any more."""
        return self._making is not None

    @property
    def next(self) -> Asked | None:
        """Whose form may be begun now; None where one is on its way, or nobody waits."""
        self._abandoned = [thread for thread in self._abandoned if thread.is_alive()]
        if self._making is not None or len(self._abandoned) >= _MOST_ABANDONED:
            return None
        return min(self._waiting.values(), key=lambda asked: asked.rank, default=None)

    def add(self, asked: Asked) -> None:
        """Let a request wait for its form."""
        self._waiting[asked.request.request_id] = asked

    def begin(self, asked: Asked) -> None:
        """Begin the form of `next`."""
        del self._waiting[asked.request.request_id]
        outcome: Future[Form] = Future()
        # Whoever ends the process does not wait for it.
        thread = threading.Thread(target=self._fulfil, args=(asked, outcome), name="forms", daemon=True)
        usual_bytes = threading.stack_size(_STACK_BYTES)
        try:
            thread.start()
        finally:
            threading.stack_size(usual_bytes)
        self._making = _Making(asked, outcome, thread, self._clock())

    def wait(self, seconds: float) -> None:
        """Until the form that is on its way is made, for so long at most."""
        if self._making is not None:
            wait([self._making.outcome], seconds)

    def take(self) -> Made | None:
        """The form that is made by now, if one is; one that takes too long is given up, and has failed."""
        making = self._making
        if making is None:
            return None
        outcome = making.outcome
        if not outcome.done():
            if self._clock() - making.begun < self._limit_seconds:
                return None
            self._abandoned.append(making.thread)
            outcome = Future()
            outcome.set_exception(_too_long(making.asked.request))
        self._making = None
        return Made(making.asked, outcome) if making.is_wanted else None

    def cancel(self, request_id: int) -> None:
        """Nobody waits for this request's form any more. One that is not there is no error."""
        self._waiting.pop(request_id, None)
        if self._making is not None and self._making.asked.request.request_id == request_id:
            self._making.is_wanted = False

    def _wanted(self) -> list[Asked]:
        """Those that wait, the one whose form is being made among them."""
        making = self._making
        return [*self._waiting.values(), *([making.asked] if making is not None and making.is_wanted else [])]

    def _fulfil(self, asked: Asked, outcome: Future[Form]) -> None:
        _let_others_go_first()
        try:
            outcome.set_result(self._make(asked))
        except Exception as error:
            outcome.set_exception(error)


def _let_others_go_first() -> None:
    """Streams wait for llama.cpp's threads, and those for each other: one that is held up holds up all. On Linux each
    thread has a priority of its own."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _MORE_NICENESS)


def _too_long(request: Generate) -> RequestError:
    field = "response_format" if request.grammar is not None else "tools"
    return RequestError("INVALID", "GRAMMAR_INVALID", "it takes too long to compile", field)
