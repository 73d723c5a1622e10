"""A caller that leaves costs nothing more: in the queue, in prefill, in decode, by cancel or by deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from servers import RunningServer, ask

from llamawire.v1 import tokenizer_pb2

LONG = ask("Write a very long story about a fox.", max_tokens=4000, temperature=0, stop=["\x00"])
LONG_PROMPT = ask("word " * 7000, max_tokens=10)
PATIENCE_SECONDS = 60


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll until something holds; what it takes is not asserted, only that it comes."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


@pytest.fixture
def idle(server: RunningServer) -> Iterator[RunningServer]:
    """The server, without a request before the test and again after it."""
    wait_until(lambda: server.model().active_requests == 0)
    yield server
    wait_until(lambda: server.model().active_requests == 0)


def test_a_cancel_while_decoding_frees_the_sequence(idle: RunningServer) -> None:
    call = idle.chat.StreamChatCompletion(LONG)
    for _, _chunk in zip(range(3), call, strict=False):
        pass
    assert idle.model().active_requests == 1
    call.cancel()
    wait_until(lambda: idle.model().active_requests == 0)


def test_a_cancel_during_prefill_frees_the_sequence(idle: RunningServer) -> None:
    call = idle.chat.StreamChatCompletion(LONG_PROMPT)
    wait_until(lambda: idle.model().active_requests == 1)
    call.cancel()
    wait_until(lambda: idle.model().active_requests == 0)
    with pytest.raises(grpc.RpcError) as caught:
        next(iter(call))
    assert caught.value.code() is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("request_", [LONG, LONG_PROMPT], ids=["decode", "prefill"])
def test_a_deadline_ends_the_work(idle: RunningServer, request_: object) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(idle.chat.StreamChatCompletion(request_, timeout=0.7))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: idle.model().active_requests == 0)


def test_a_cancel_of_a_whole_answer_ends_the_work(idle: RunningServer) -> None:
    future = idle.chat.CreateChatCompletion.future(LONG)
    wait_until(lambda: idle.model().active_requests == 1)
    future.cancel()
    wait_until(lambda: idle.model().active_requests == 0)


def test_who_leaves_the_queue_or_runs_out_of_time_in_it_is_never_computed(idle: RunningServer) -> None:
    running = [idle.chat.StreamChatCompletion(LONG) for _ in range(8)]
    for call in running:
        next(iter(call))
    waiting = idle.chat.StreamChatCompletion(ask("x"))
    late = idle.chat.StreamChatCompletion(ask("x"), timeout=0.5)
    last = idle.chat.StreamChatCompletion(ask("Say hi.", max_tokens=3))
    with pytest.raises(grpc.RpcError) as caught:
        next(iter(late))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline counts in line"
    waiting.cancel()
    wait_until(lambda: idle.model().active_requests == 9)
    running.pop().cancel()
    chunks = list(last)
    assert chunks[-1].usage.completion_tokens == 3, "a freed slot goes to the next in line"
    for call in running:
        call.cancel()


def test_a_vanished_caller_ends_its_work(idle: RunningServer) -> None:
    channel = grpc.insecure_channel(idle.grpc_address)
    call = type(idle.chat)(channel).StreamChatCompletion(LONG)
    next(iter(call))
    channel.close()
    wait_until(lambda: idle.model().active_requests == 0)


def test_a_slow_reader_holds_nobody_up_and_loses_nothing(idle: RunningServer) -> None:
    (token,) = idle.tokenizer.Tokenize(tokenizer_pb2.TokenizeRequest(model="smollm2", text=" fox")).tokens
    # One token over and over: what company does to the last bits of the logits then makes no difference.
    request = ask("Say fox.", max_tokens=120, logit_bias={token: 100})
    expected = " fox" * 120
    read_on = threading.Event()

    def read_slowly() -> str:
        text = ""
        for chunk in idle.chat.StreamChatCompletion(request):
            text += "".join(choice.delta.content for choice in chunk.choices)
            read_on.wait(PATIENCE_SECONDS)
        return text

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(read_slowly)
        try:
            quick = idle.chat.CreateChatCompletion(request).choices[0].message.content
        finally:
            read_on.set()
        assert quick == expected
        assert slow.result() == expected


def test_churn_leaves_no_request_behind(idle: RunningServer) -> None:
    def hang_up(number: int) -> None:
        call = idle.chat.StreamChatCompletion(LONG)
        for _, _chunk in zip(range(number % 4), call, strict=False):
            pass
        call.cancel()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(hang_up, range(64)))
    wait_until(lambda: idle.model().active_requests == 0)
    answer = idle.chat.CreateChatCompletion(ask("Say hi.", max_tokens=3))
    assert answer.usage.completion_tokens == 3
