"""A caller that leaves costs nothing more: in the queue, in prefill, in decode, by cancel or by deadline."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from callers import wait_until
from servers import NO_END, RunningServer, ask, endless, launch

from llamawire.v1 import tokenizer_pb2

# Far longer than anybody waits below: whoever has to wait for its end has waited in vain.
LONG = endless()
LONG_PROMPT = ask("word " * 7000, max_tokens=1000, logit_bias=NO_END)
SHORT = ask("Say hi.", max_tokens=3, logit_bias=NO_END)
PATIENCE_SECONDS = 20


def assert_free(server: RunningServer) -> None:
    """Nobody's work is left: in the server's own count, and in the worker, which has a slot for this request."""
    wait_until(lambda: server.model().active_requests == 0, PATIENCE_SECONDS)
    answer = server.chat.CreateChatCompletion(SHORT, timeout=PATIENCE_SECONDS)
    assert answer.usage.completion_tokens == 3


@pytest.fixture(scope="module")
def narrow_server(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Iterator[RunningServer]:
    """A server that answers one request at a time: what a caller leaves behind is in the next one's way."""
    folder = tmp_path_factory.mktemp("narrow")
    catalog = folder / "models.yaml"
    catalog.write_text(f"smollm2: {{path: {model_file}, threads: 1, parallel: 1}}\n")
    with launch(
        folder / "server.log", folder, "--models-yaml", str(catalog), "--preload", "smollm2"
    ) as running:
        yield running


@pytest.fixture
def idle(narrow_server: RunningServer) -> Iterator[RunningServer]:
    """The narrow server, without a request before the test and again after it."""
    assert_free(narrow_server)
    yield narrow_server
    assert_free(narrow_server)


def test_a_cancel_while_decoding_frees_the_sequence(idle: RunningServer) -> None:
    call = idle.chat.StreamChatCompletion(LONG)
    for _, _chunk in zip(range(3), call, strict=False):
        pass
    assert idle.model().active_requests == 1
    call.cancel()
    assert_free(idle)


def test_a_cancel_during_prefill_frees_the_sequence(idle: RunningServer) -> None:
    call = idle.chat.StreamChatCompletion(LONG_PROMPT)
    wait_until(lambda: idle.model().active_requests == 1, PATIENCE_SECONDS)
    call.cancel()
    assert_free(idle)
    with pytest.raises(grpc.RpcError) as caught:
        next(iter(call))
    assert caught.value.code() is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("request_", [LONG, LONG_PROMPT], ids=["decode", "prefill"])
def test_a_deadline_ends_the_work(idle: RunningServer, request_: object) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(idle.chat.StreamChatCompletion(request_, timeout=0.7))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert_free(idle)


def test_a_cancel_of_a_whole_answer_ends_the_work(idle: RunningServer) -> None:
    future = idle.chat.CreateChatCompletion.future(LONG)
    wait_until(lambda: idle.model().active_requests == 1, PATIENCE_SECONDS)
    future.cancel()
    assert_free(idle)


def test_who_leaves_the_queue_or_runs_out_of_time_in_it_is_never_computed(server: RunningServer) -> None:
    with contextlib.ExitStack() as leftovers:
        running = [server.chat.StreamChatCompletion(LONG) for _ in range(8)]
        for call in running:
            leftovers.callback(call.cancel)
            next(iter(call))
        waiting = server.chat.StreamChatCompletion(ask("x"))
        late = server.chat.StreamChatCompletion(ask("x"), timeout=0.5)
        last = server.chat.StreamChatCompletion(SHORT)
        with pytest.raises(grpc.RpcError) as caught:
            next(iter(late))
        # In line, or at once by a worker that has learnt how long those before it take.
        assert caught.value.code() in (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        )
        waiting.cancel()
        wait_until(lambda: server.model().active_requests == 9, PATIENCE_SECONDS)
        running[0].cancel()
        chunks = list(last)
        assert chunks[-1].usage.completion_tokens == 3, "a freed slot goes to the next in line"
    assert_free(server)


def test_a_vanished_caller_ends_its_work(idle: RunningServer) -> None:
    channel = grpc.insecure_channel(idle.grpc_address)
    call = type(idle.chat)(channel).StreamChatCompletion(LONG)
    next(iter(call))
    channel.close()
    assert_free(idle)


def test_a_slow_reader_holds_nobody_up_and_loses_nothing(server: RunningServer) -> None:
    (token,) = server.tokenizer.Tokenize(tokenizer_pb2.TokenizeRequest(model="smollm2", text=" fox")).tokens
    # One token over and over: what company does to the last bits of the logits then makes no difference.
    request = ask("Say fox.", max_tokens=120, logit_bias={token: 100})
    expected = " fox" * 120
    read_on = threading.Event()

    def read_slowly() -> str:
        text = ""
        for chunk in server.chat.StreamChatCompletion(request):
            text += "".join(choice.delta.content for choice in chunk.choices)
            read_on.wait(PATIENCE_SECONDS)
        return text

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(read_slowly)
        try:
            quick = server.chat.CreateChatCompletion(request).choices[0].message.content
        finally:
            read_on.set()
        assert quick == expected
        assert slow.result() == expected


def test_churn_leaves_no_request_behind(server: RunningServer) -> None:
    def hang_up(number: int) -> None:
        call = server.chat.StreamChatCompletion(LONG)
        for _, _chunk in zip(range(number % 4), call, strict=False):
            pass
        call.cancel()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(hang_up, range(64)))
    assert_free(server)
