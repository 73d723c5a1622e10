"""Streams of other providers: read to the end, failed, cut off, closed."""

from __future__ import annotations

import http.client
import json

import httpx
import pytest
from sse_bodies import HELLO, LOADING, Body, event

from llamawire import (
    ConnectionFailedError,
    DeadlineExceededError,
    InferenceError,
    MalformedResponseError,
    RequestCancelledError,
    StreamHandler,
    UnavailableError,
)
from llamawire.dialects import DONE_EVENT, SSEChatStream


def test_recv_gives_chunks_and_then_none():
    stream = SSEChatStream([b"".join(HELLO)])

    first, last = stream.recv(), stream.recv()

    assert (first.text, last.text, last.finish_reason) == ("Hel", "lo", "stop")
    assert stream.recv() is None
    assert stream.recv() is None
    assert list(stream) == []
    with pytest.raises(StopIteration):
        next(stream)
    assert stream.completion.text == "Hello"


def test_what_comes_after_the_end_is_not_read():
    body = Body(*HELLO, b"data: nonsense\n\n", failure=OSError("gone"))
    stream = SSEChatStream(body)

    assert stream.result().text == "Hello"
    assert body.num_closed == 1
    stream.close()
    assert stream.result().text == "Hello"
    assert body.num_closed == 1


@pytest.mark.parametrize("end", [b"data: [DONE]", b"data:[DONE]\n", b"data: [DONE] \n\n"])
def test_an_end_that_is_cut_is_one(end):
    assert SSEChatStream([*HELLO[:-1], end]).result().text == "Hello"


def test_text_alone():
    assert list(SSEChatStream([event(""), *HELLO]).text_stream) == ["Hel", "lo"]


@pytest.mark.parametrize("rest", [[], [b"data: [DO"], [b'data: {"id": "1", "cho'], [event("lo")[:-1]]])
def test_a_stream_that_is_cut_off_says_so(rest):
    body = Body(event("Hel"), *rest)
    stream = SSEChatStream(body, request_id="r1")
    assert stream.recv().text == "Hel"

    for _ in range(2):
        with pytest.raises(MalformedResponseError, match=r"ended without \[DONE\]") as caught:
            stream.recv()
    assert caught.value.reason == "STREAM_CUT_OFF"
    assert caught.value.request_id == "r1"
    assert caught.value.raw == b"".join(rest).decode().removeprefix("data: ").strip()
    assert stream.completion.text == "Hel"
    assert body.num_closed == 1


def test_an_error_comes_after_what_was_before_it():
    body = Body(event("Hel") + LOADING + event("lo"))
    stream = SSEChatStream(body)

    assert stream.recv().text == "Hel"
    with pytest.raises(UnavailableError, match="wait") as caught:
        stream.recv()
    assert caught.value.reason == "MODEL_LOADING"
    assert body.num_closed == 1
    with pytest.raises(UnavailableError):
        next(stream)


@pytest.mark.parametrize("data", [b'{"message": "no"}', b'{"error": {"message": "no"}}', b"no"])
def test_an_event_of_the_type_error(data):
    with pytest.raises(InferenceError) as caught:
        SSEChatStream([b"event: error\ndata: %b\n\n" % data]).recv()

    assert str(caught.value) == "no"


def test_a_chunk_that_can_t_be_read_is_an_error_with_its_text():
    with pytest.raises(MalformedResponseError) as caught:
        SSEChatStream([b"data: Hello\n\n"]).recv()

    assert caught.value.raw == "Hello"


def test_an_event_without_end_is_not_waited_for():
    with pytest.raises(MalformedResponseError, match="more than 100 bytes"):
        SSEChatStream(iter(lambda: b"x" * 10, None), max_event_bytes=100).recv()


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (OSError("reset"), ConnectionFailedError),
        (http.client.IncompleteRead(b""), ConnectionFailedError),
        (httpx.ReadError("reset"), ConnectionFailedError),
        (TimeoutError("slow"), DeadlineExceededError),
    ],
)
def test_what_a_body_raises(failure, kind):
    body = Body(event("Hel"), failure=failure)
    stream = SSEChatStream(body)

    assert stream.recv().text == "Hel"
    with pytest.raises(kind) as caught:
        stream.recv()
    assert caught.value.__cause__ is failure
    assert body.num_closed == 1


def test_a_stream_that_was_closed_stays_closed():
    body = Body(*HELLO)
    with SSEChatStream(body) as stream:
        assert stream.recv().text == "Hel"

    assert body.num_closed == 1
    for _ in range(2):
        with pytest.raises(RequestCancelledError):
            stream.recv()
    assert stream.completion.text == "Hel"


def test_leaving_the_loop_closes_the_stream():
    body = Body(*HELLO)
    for _ in SSEChatStream(body):
        break

    assert body.num_closed == 1


def test_what_frees_the_connection_may_be_given():
    freed = []
    body = Body(*HELLO)
    stream = SSEChatStream(body, release=lambda: freed.append(1))
    stream.result()
    stream.close()

    assert freed == [1]
    assert body.num_closed == 0


def test_a_stream_that_is_closed_while_its_body_is_read():
    """A generator can't be closed by others than who is in it: that one closes it on its way out."""
    is_closed = []

    def body():
        try:
            stream.close()
            yield event("Hel")
        finally:
            is_closed.append(True)

    stream = SSEChatStream(body())
    with pytest.raises(RequestCancelledError):
        stream.recv()

    assert is_closed


class Recorder(StreamHandler):
    def __init__(self):
        self.told = []

    def on_start(self):
        self.told.append("start")

    def on_token(self, text, choice_index):
        self.told.append(text)

    def on_tool_call(self, call, choice_index):
        self.told.append((call.id, call.name, call.arguments))

    def on_complete(self, completion):
        self.told.append("complete")

    def on_error(self, error):
        self.told.append(error.reason)


def test_a_handler_is_told_and_the_stream_closed():
    body, recorder = Body(*HELLO), Recorder()

    SSEChatStream(body).run(recorder)

    assert recorder.told == ["start", "Hel", "lo", "complete"]
    assert body.num_closed == 1


def test_a_handler_is_told_of_a_failure():
    body, recorder = Body(event("Hel"), LOADING), Recorder()

    with pytest.raises(UnavailableError):
        SSEChatStream(body).run(recorder)

    assert recorder.told == ["start", "Hel", "MODEL_LOADING"]
    assert body.num_closed == 1


def test_a_handler_that_raises_ends_the_stream():
    class Raising(Recorder):
        def on_token(self, text, choice_index):
            raise ZeroDivisionError

    body, handler = Body(*HELLO), Raising()
    with pytest.raises(ZeroDivisionError):
        SSEChatStream(body).run(handler)

    assert handler.told == ["start"]
    assert body.num_closed == 1


def test_a_handler_is_told_of_calls_that_are_whole():
    def call(finish_reason=None, **function):
        name = function.pop("name", None)
        delta = {"tool_calls": [{"index": 0, "function": {"name": name, **function}}]}
        if name:
            delta["tool_calls"][0] |= {"id": "c1", "type": "function"}
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()

    recorder = Recorder()
    pieces = [call(name="f", arguments=""), call(arguments='{"a"'), call("tool_calls", arguments=": 1}")]
    SSEChatStream([*pieces, DONE_EVENT]).run(recorder)

    assert recorder.told == ["start", ("c1", "f", '{"a": 1}'), "complete"]
