"""Who makes the forms of answers: whose turn it is, and what becomes of what takes too long."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from scripted_worker import generate

from llamawire_server.chat.grammar import Grammar
from llamawire_server.worker.child.forms import Asked, Form, FormMaker
from llamawire_server.worker.child.prompts import RequestError

PATIENCE_SECONDS = 60


class Maker:
    """Forms that are made when a test lets them, by a clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.gates: dict[int, threading.Event] = {}
        self.forms = FormMaker(self._make, limit_seconds=10, clock=lambda: self.now)

    def ask(self, number: int, rank: float = 0.0, num_tokens: int = 1, **fields: Any) -> Asked:
        request = msgspec.structs.replace(generate(**fields), request_id=number)
        self.gates[number] = threading.Event()
        asked = Asked(request, "", [0] * num_tokens, 9, 1, rank)
        self.forms.add(asked)
        return asked

    def finish(self, number: int) -> None:
        self.gates[number].set()
        self.forms.wait(PATIENCE_SECONDS)

    def _make(self, asked: Asked) -> Form:
        assert self.gates[asked.request.request_id].wait(PATIENCE_SECONDS)
        plan: Any = asked.request.request_id
        return Form(plan, [])


@pytest.fixture
def maker() -> Iterator[Maker]:
    made = Maker()
    yield made
    for gate in made.gates.values():
        gate.set()


def test_the_lowest_rank_has_its_turn_and_nobody_beside_it(maker: Maker) -> None:
    later, first = maker.ask(1, rank=2.0, num_tokens=3), maker.ask(2, rank=1.0, num_tokens=4)
    assert maker.forms.next is first
    assert (len(maker.forms), maker.forms.num_tokens, maker.forms.is_making) == (2, 7, False)
    maker.forms.begin(first)
    assert maker.forms.next is None
    assert (len(maker.forms), maker.forms.num_tokens, maker.forms.is_making) == (2, 7, True)
    assert maker.forms.take() is None
    maker.finish(2)
    made = maker.forms.take()
    assert made is not None
    assert (made.request_id, made.form().plan) == (2, 2)
    assert (len(maker.forms), maker.forms.next) == (1, later)


def test_what_nobody_waits_for_is_dropped(maker: Maker) -> None:
    one, other = maker.ask(1), maker.ask(2)
    maker.forms.cancel(2)
    assert maker.forms.next is one
    maker.forms.begin(one)
    maker.forms.cancel(1)
    assert (len(maker.forms), maker.forms.num_tokens, maker.forms.is_making) == (0, 0, True)
    maker.finish(1)
    assert maker.forms.take() is None
    assert not maker.forms.is_making
    maker.forms.add(other)
    assert maker.forms.next is other


@pytest.mark.parametrize("is_wanted", [True, False])
def test_what_takes_too_long_is_given_up(maker: Maker, is_wanted: bool) -> None:
    slow, other = maker.ask(1, tools=[{}], tool_choice="auto"), maker.ask(2, rank=1.0)
    maker.forms.begin(slow)
    if not is_wanted:
        maker.forms.cancel(1)
    maker.now = 9.0
    assert maker.forms.take() is None
    maker.now = 10.0
    made = maker.forms.take()
    assert (made is not None) == is_wanted
    if made is not None:
        with pytest.raises(RequestError, match="too long") as caught:
            made.form()
        assert (caught.value.condition, caught.value.field) == ("INVALID", "tools")
    assert maker.forms.next is other


def test_no_more_threads_than_a_few_are_left_behind(maker: Maker) -> None:
    for number in (1, 2):
        maker.forms.begin(maker.ask(number))
        maker.now += 10.0
        assert maker.forms.take() is not None
    waiting = maker.ask(3)
    assert maker.forms.next is None
    thread = maker.forms._abandoned[0]
    maker.gates[1].set()
    thread.join(PATIENCE_SECONDS)
    assert maker.forms.next is waiting


def test_a_thread_has_the_stack_that_the_compiler_was_measured_with(maker: Maker) -> None:
    usual_bytes = threading.stack_size()
    sizes = []
    start = threading.Thread.start

    def note(thread: threading.Thread) -> None:
        sizes.append(threading.stack_size())
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", note)
        maker.forms.begin(maker.ask(1))
    assert sizes[0] >= 8 * 1024 * 1024
    assert threading.stack_size() == usual_bytes


def test_which_requests_have_a_form(maker: Maker) -> None:
    assert maker.ask(1, grammar=Grammar("json_object")).has_form
    assert maker.ask(2, tools=[{}], tool_choice="auto").has_form
    assert not maker.ask(3, tools=[{}], tool_choice="none").has_form
    assert not maker.ask(4).has_form


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_who_steps_goes_before_who_compiles() -> None:
    niceness: list[int] = []

    def make(asked: Asked) -> Form:
        niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        plan: Any = None
        return Form(plan, [])

    forms = FormMaker(make)
    asked = Asked(generate(), "", [0], 9, 1, 0.0)
    forms.add(asked)
    forms.begin(asked)
    forms.wait(PATIENCE_SECONDS)
    assert forms.take() is not None
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert niceness[0] == min(mine + 5, 19)
