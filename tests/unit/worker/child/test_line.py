"""Who may line up at a model, and when those come back who may not."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.engine.engine import Queue
from llamawire_server.worker.child.line import Line
from llamawire_server.worker.child.prompts import RequestError

NOBODY = Queue(num_running=0, num_ahead=0, num_waiting=0, num_waiting_tokens=0, prompt_token_seconds=0.01)
BUSY = replace(NOBODY, num_running=2)
CROWDED = replace(BUSY, num_ahead=3, num_waiting=3, num_waiting_tokens=90)


def in_seconds(seconds: float) -> float:
    return time.monotonic() + seconds


def refusal(line: Line, num_tokens: int, deadline: float | None, queue: Queue) -> RequestError:
    error = refusal_or_none(line, num_tokens, deadline, queue)
    assert error is not None
    assert error.condition == "BUSY"
    return error


def refusal_or_none(line: Line, num_tokens: int, deadline: float | None, queue: Queue) -> RequestError | None:
    try:
        line.check(num_tokens, deadline, queue)
    except RequestError as error:
        return error
    return None


def test_prompts_that_wait_are_bounded_by_their_tokens() -> None:
    line = Line(num_slots=2, max_queued_tokens=100)
    line.check(10, None, CROWDED)
    error = refusal(line, 11, None, CROWDED)
    assert error.reason == "QUEUE_FULL"
    assert "90 tokens wait for the model already; at most 100 may" in str(error)
    assert error.retry_seconds == 1, "nothing was measured yet"


def test_who_waits_alone_may_be_as_long_as_the_context_allows() -> None:
    line = Line(num_slots=2, max_queued_tokens=100)
    line.check(5000, None, NOBODY)
    line.check(5000, None, BUSY)


def test_no_deadline_is_called_unreachable_before_anything_was_measured() -> None:
    line = Line(num_slots=2, max_queued_tokens=100)
    line.check(10, in_seconds(0.001), CROWDED)
    line.note_served(8.0)
    assert refusal(line, 10, in_seconds(0.001), CROWDED).reason == "DEADLINE_UNREACHABLE"


def test_a_deadline_is_held_against_the_wait_and_the_prompt() -> None:
    line = Line(num_slots=2, max_queued_tokens=1000)
    line.note_served(8.0)
    # Two run and three wait: for the fourth of them to end it takes two rounds of 8 s.
    line.check(100, in_seconds(18), CROWDED)
    error = refusal(line, 100, in_seconds(15), CROWDED)
    assert "would begin in about 17.0 s; the deadline is in 15.0 s" in str(error)
    assert error.retry_seconds == pytest.approx(2.0, abs=0.1)


def test_who_goes_before_others_does_not_wait_for_them() -> None:
    line = Line(num_slots=2, max_queued_tokens=1000)
    line.note_served(8.0)
    # Two run, and a slot is free after 4 s.
    first = replace(CROWDED, num_ahead=0)
    line.check(100, in_seconds(6), first)
    error = refusal(line, 100, in_seconds(4), first)
    assert "would begin in about 5.0 s; the deadline is in 4.0 s" in str(error)


def test_who_finds_a_free_slot_is_never_refused_for_a_deadline() -> None:
    line = Line(num_slots=3, max_queued_tokens=100)
    line.note_served(100.0)
    line.check(1000, in_seconds(0.001), BUSY)


def test_the_last_requests_count_most() -> None:
    line = Line(num_slots=2, max_queued_tokens=100)
    for _ in range(10):
        line.note_served(100.0)
    for _ in range(30):
        line.note_served(1.0)
    line.check(1, in_seconds(4), CROWDED)
    assert refusal(line, 1, in_seconds(1), CROWDED).reason == "DEADLINE_UNREACHABLE"


@given(served=st.floats(0, 1e6), left=st.floats(-10, 1e3), num_waiting=st.integers(1, 10**6))
def test_nobody_is_told_to_come_back_at_once_or_in_hours(
    served: float, left: float, num_waiting: int
) -> None:
    line = Line(num_slots=2, max_queued_tokens=100)
    line.note_served(served)
    queue = replace(BUSY, num_ahead=num_waiting, num_waiting=num_waiting, num_waiting_tokens=100)
    retries = [
        error.retry_seconds
        for deadline in (None, in_seconds(left))
        for num_tokens in (0, 1)
        if (error := refusal_or_none(line, num_tokens, deadline, queue)) is not None
    ]
    assert retries, "a prompt of one token is one too many"
    assert all(seconds is not None and 1 <= seconds <= 60 for seconds in retries)
