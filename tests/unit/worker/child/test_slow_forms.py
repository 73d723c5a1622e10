"""Forms of answers that take long to make: their requests wait, and nobody else does."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

import msgspec
import pytest
from constraints import Choices
from scripted_worker import END, Script, completed, generate, make, run, text_of

from llamawire_server.chat.grammar import Grammar, GrammarError
from llamawire_server.engine.constraint import Constraint
from llamawire_server.worker.child.generations import Generations
from llamawire_server.worker.child.prompts import RequestError
from llamawire_server.worker.messages import Event, Generate, Taken

PATIENCE_SECONDS = 60
YES = [*b"yes", END]


class Compiler:
    """Takes until it is told to go on."""

    def __init__(self, error: str = "") -> None:
        self.released = threading.Event()
        self.threads: list[threading.Thread] = []
        self._error = error

    def compile(self, lark: str) -> Constraint:
        self.threads.append(threading.current_thread())
        assert self.released.wait(PATIENCE_SECONDS)
        if self._error:
            raise GrammarError(self._error)
        return Choices(*[[token] for token in b"yes"], size=257, end=END)


@pytest.fixture
def compiler() -> Iterator[Compiler]:
    made = Compiler()
    yield made
    made.released.set()


def with_form(number: int, arrived: float | None = None) -> Generate:
    request = msgspec.structs.replace(generate(grammar=Grammar("json_object")), request_id=number)
    return request if arrived is None else msgspec.structs.replace(request, arrived=arrived)


def without_form(number: int) -> Generate:
    return msgspec.structs.replace(generate(), request_id=number)


def finish_form(generations: Generations) -> list[Event]:
    """What is to be said of the form that is being made, once it is."""
    generations.wait_for_form(PATIENCE_SECONDS)
    made = generations.take_form()
    return [] if made is None else generations.admit(made)


def test_others_are_answered_while_a_form_is_made(compiler: Compiler) -> None:
    script = Script("abc")
    generations = make(script, grammars=compiler, patience_seconds=0)
    assert generations.start(with_form(1)) == []
    assert generations.is_making_form
    assert not generations.has_work
    assert generations.start(without_form(2)) == [Taken(2)]
    assert text_of(run(generations)) == "abc"
    assert generations.take_form() is None

    compiler.released.set()
    assert finish_form(generations) == [Taken(1)]
    assert not generations.is_making_form
    script.texts = [deque(YES)]
    events = run(generations)
    assert text_of(events) == "yes"
    assert completed(events).request_id == 1
    assert threading.current_thread() not in compiler.threads


def test_forms_are_made_one_after_the_other(compiler: Compiler) -> None:
    generations = make(Script(), grammars=compiler, patience_seconds=0)
    assert generations.start(with_form(1, arrived=1.0)) == []
    # Nothing is done for them yet.
    assert generations.start(with_form(3, arrived=3.0)) == [Taken(3)]
    assert generations.start(with_form(2, arrived=2.0)) == [Taken(2)]
    assert generations.next_form is None
    generations.begin_form()
    assert len(compiler.threads) <= 1
    compiler.released.set()
    for number in (1, 2, 3):
        assert finish_form(generations) == [Taken(number)]
        assert generations.next_form == (number + 1 if number < 3 else None)
        generations.begin_form()


def test_the_line_is_that_of_arrival(compiler: Compiler) -> None:
    script = Script("a", "b")
    generations = make(script, grammars=compiler, patience_seconds=0)
    generations.start(with_form(1, arrived=1.0))
    for number in range(2, 8):
        generations.start(msgspec.structs.replace(without_form(number), arrived=float(number)))
    compiler.released.set()
    assert finish_form(generations) == [Taken(1)]
    generations.schedule()
    begun = [generation.request_id for generation in generations._active.values() if generation.has_begun]
    assert 1 in begun
    assert len(begun) == 4, "there are four slots"


def test_who_leaves_is_never_answered(compiler: Compiler) -> None:
    generations = make(Script(), grammars=compiler, patience_seconds=0)
    generations.start(with_form(1))
    generations.start(with_form(2))
    generations.start(with_form(3))
    generations.cancel(1)
    generations.cancel(2)
    generations.cancel(9)
    assert generations.is_making_form, "the compiler can't be stopped"
    compiler.released.set()
    assert finish_form(generations) == []
    assert generations.next_form == 3
    assert not generations.has_work


def test_a_form_that_can_not_be_made_fails_its_request() -> None:
    compiler = Compiler("it is bad")
    generations = make(Script(), grammars=compiler, patience_seconds=0)
    generations.start(with_form(1))
    compiler.released.set()
    with pytest.raises(RequestError, match="it is bad") as caught:
        finish_form(generations)
    assert (caught.value.condition, caught.value.field) == ("INVALID", "response_format")
    assert not generations.has_work
    assert not generations.is_making_form


def test_who_waits_for_a_form_takes_up_room_in_the_line(compiler: Compiler) -> None:
    generations = make(Script(), grammars=compiler, patience_seconds=0, max_queued_tokens=10)
    generations.start(with_form(1))
    generations.start(with_form(2))
    with pytest.raises(RequestError, match="prompts of 8 tokens wait") as caught:
        generations.start(with_form(3))
    assert caught.value.reason == "QUEUE_FULL"
    generations.cancel(2)
    assert generations.start(with_form(3)) == [Taken(3)]
