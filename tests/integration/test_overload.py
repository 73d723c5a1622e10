"""A model with more to do than it can: who is refused, who waits, and who goes first."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from callers import chat_body, http_client, wait_until
from servers import (
    NO_END,
    RunningServer,
    ask,
    endless,
    failure_of,
    frozen,
    launch,
    reason_of,
    retry_seconds_of,
)

from llamawire.v1 import chat_pb2, model_pb2, tokenizer_pb2

BUSY = grpc.StatusCode.RESOURCE_EXHAUSTED
MOST_QUEUED_REQUESTS = 6
MOST_QUEUED_TOKENS = 300


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("overload")
    catalog = folder / "models.yaml"
    fields = f"threads: 1, parallel: 2, context_length: 2048, max_queued_tokens: {MOST_QUEUED_TOKENS}"
    catalog.write_text(f"smollm2: {{path: {model_file}, {fields}}}\n")
    arguments = ("--models-yaml", str(catalog), "--preload", "smollm2")
    environment = {"LLAMAWIRE_POOL_MAX_QUEUED_REQUESTS": str(MOST_QUEUED_REQUESTS)}
    with launch(folder / "server.log", folder, *arguments, environment=environment) as running:
        yield running
        assert running.stop() == 0


@contextlib.contextmanager
def both_slots_taken(server: RunningServer) -> Iterator[list[grpc.Call]]:
    """Two answers that go on until they are cancelled."""
    running = [server.chat.StreamChatCompletion(endless(max_tokens=1900)) for _ in range(2)]
    try:
        for stream in running:
            next(stream)
        yield running
    finally:
        for stream in running:
            stream.cancel()
        wait_until(lambda: server.model().active_requests == 0)


def short(number: int = 0, **fields: object) -> chat_pb2.ChatCompletionRequest:
    return ask(f"Say {number}.", **{"max_tokens": 2, "logit_bias": NO_END, **fields})


def test_a_line_of_too_many_requests_is_full(server: RunningServer) -> None:
    """Failure 6 of other servers: the line has no end, and all wait ever longer."""
    with both_slots_taken(server):
        waiting = [server.chat.CreateChatCompletion.future(short(n)) for n in range(MOST_QUEUED_REQUESTS)]
        wait_until(lambda: server.model().active_requests == 2 + MOST_QUEUED_REQUESTS)
        error = failure_of(lambda: server.chat.CreateChatCompletion(short()))
        assert (error.code(), reason_of(error)) == (BUSY, "QUEUE_FULL")
        assert 1 <= retry_seconds_of(error) <= 60
        with http_client(server.http_address) as client:
            response = client.post("/v1/chat/completions", json=chat_body("Hello!", max_tokens=2))
        assert response.status_code == 429
        assert 1 <= int(response.headers["retry-after"]) <= 60
        assert response.json()["error"]["type"] == "rate_limit_error"
    assert [call.result().usage.completion_tokens for call in waiting] == [2] * MOST_QUEUED_REQUESTS


def test_a_line_of_too_many_tokens_is_full(server: RunningServer) -> None:
    with both_slots_taken(server):
        request = short(1)
        request.messages[0].content = "one two three " * 60
        waiting = server.chat.CreateChatCompletion.future(request)
        wait_until(lambda: server.model().active_requests == 3)
        request.messages[0].content = "four five six " * 60
        error = failure_of(lambda: server.chat.CreateChatCompletion(request))
        assert (error.code(), reason_of(error)) == (BUSY, "QUEUE_FULL")
        assert f"at most {MOST_QUEUED_TOKENS} may" in error.details()
        assert 1 <= retry_seconds_of(error) <= 60
        small = server.chat.CreateChatCompletion.future(short(2))
    assert waiting.result().usage.completion_tokens == 2
    assert small.result().usage.completion_tokens == 2, "there was room for a short one"


def test_a_deadline_holds_in_line_too(server: RunningServer) -> None:
    """Failure 6 of other servers: nobody looks at deadlines in the line."""
    with both_slots_taken(server) as running:
        # So soon that it is over before the line could be judged, or while it waits in line.
        error = failure_of(lambda: server.chat.CreateChatCompletion(short(), timeout=0.2))
        assert error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, BUSY)
        wait_until(lambda: server.model().active_requests == 2)
        assert all(next(stream) for stream in running), "nobody else is any worse for it"


def test_a_deadline_that_can_not_be_met_is_refused_at_once(server: RunningServer) -> None:
    with ThreadPoolExecutor(2) as pool:
        # By these the worker learns how long an answer takes.
        done = list(pool.map(lambda n: server.chat.CreateChatCompletion(short(n, max_tokens=90)), range(6)))
    assert all(answer.usage.completion_tokens == 90 for answer in done)
    with both_slots_taken(server):
        waiting = [server.chat.CreateChatCompletion.future(short(n)) for n in range(4)]
        wait_until(lambda: server.model().active_requests == 6)
        began = time.monotonic()
        error = failure_of(lambda: server.chat.CreateChatCompletion(short(9), timeout=1.0))
        assert (error.code(), reason_of(error)) == (BUSY, "DEADLINE_UNREACHABLE"), time.monotonic() - began
        assert 1 <= retry_seconds_of(error) <= 60
        patient = server.chat.CreateChatCompletion.future(short(10), timeout=60)
    assert patient.result().usage.completion_tokens == 2
    assert [call.result().usage.completion_tokens for call in waiting] == [2] * 4


def test_who_is_urgent_overtakes_those_who_wait(server: RunningServer) -> None:
    ended: list[str] = []

    def send(name: str, number: int, priority: int) -> grpc.Future:
        call = server.chat.CreateChatCompletion.future(short(number, priority=priority, max_tokens=12))
        call.add_done_callback(lambda _: ended.append(name))
        return call

    with both_slots_taken(server), frozen(*server.worker_pids()):
        calls = [send(f"patient {number}", number, 0) for number in range(3)]
        wait_until(lambda: server.model().active_requests == 5)
        calls.append(send("late", 4, 1))
        wait_until(lambda: server.model().active_requests == 6)
        calls.append(send("urgent", 5, -1))
        wait_until(lambda: server.model().active_requests == 7)
    for call in calls:
        call.result()
    wait_until(lambda: len(ended) == len(calls))
    assert "urgent" in ended[:2], "two are answered at once"
    assert ended[-1] == "late"


def read_later(stream: grpc.Call) -> bool:
    """Whether a stream goes on when all is read that waited to be read."""
    now = time.monotonic()
    return any(time.monotonic() > now + 0.5 for _ in stream)


def test_who_was_let_line_up_is_not_refused_when_the_worker_dies(server: RunningServer) -> None:
    with both_slots_taken(server) as running:
        requests = [short(number) for number in range(2)]
        requests[0].messages[0].content = "one two three " * 75
        waiting = [server.chat.CreateChatCompletion.future(request) for request in requests]
        wait_until(lambda: server.model().active_requests == 4)
        # A question that is answered between two steps: whatever came before it was looked at.
        count = tokenizer_pb2.CountChatTokensRequest(request=requests[0])
        assert server.tokenizer.CountChatTokens(count).prompt_tokens > 0.8 * MOST_QUEUED_TOKENS
        (worker,) = server.worker_pids()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: server.worker_pids() not in ([], [worker]))
        wait_until(lambda: server.state() == model_pb2.MODEL_STATE_READY)
        # What ran waits for a moment too, and there is no room for all of it in the new worker's line.
        with ThreadPoolExecutor(2) as pool:
            later = [pool.submit(read_later, stream) for stream in running]
            assert all(chunk.result() for chunk in later)
    assert [call.result().usage.completion_tokens for call in waiting] == [2, 2]
