"""ChatStream: reading, stopping, and what is left afterwards."""

from __future__ import annotations

import threading

import grpc
import pytest

from llamawire import Client, InferenceError, RequestCancelledError

SAY_HELLO = {"model": "m", "messages": [("user", "hello")]}


@pytest.fixture
def client(server):
    with Client(server.target) as client:
        yield client


@pytest.fixture
def half_an_answer(server, text_chunks):
    """The next stream gives a role and "Hel", and then hangs; the event tells that the server saw its end."""
    return server.hangs(*text_chunks("Hel")[:2])


def test_chunks_come_as_they_were_sent(server, client, text_chunks):
    chunks = text_chunks("Hel", "lo")
    server.answers(*chunks)

    with client.chat.stream(**SAY_HELLO) as stream:
        assert [chunk.proto for chunk in stream] == chunks

    assert stream.completion.text == "Hello"
    assert stream.completion.finish_reason == "stop"
    assert stream.completion.usage.completion_tokens == 2
    assert stream.completion.timings.generation_seconds == 0.5


def test_a_finished_stream_stays_finished(server, client, text_chunks):
    server.answers(*text_chunks("Hi"))
    stream = client.chat.stream(**SAY_HELLO)
    list(stream)

    stream.close()

    assert list(stream) == []
    assert stream.result().text == "Hi"
    with pytest.raises(StopIteration):
        next(stream)


def test_text_alone(server, client, text_chunks):
    server.answers(*text_chunks("Hel", "", "lo"))

    assert list(client.chat.stream(**SAY_HELLO).text_stream) == ["Hel", "lo"]


def test_the_completion_grows_while_the_stream_is_read(server, client, text_chunks):
    server.answers(*text_chunks("Hel", "lo"))
    stream = client.chat.stream(**SAY_HELLO)
    assert stream.completion.text == ""

    next(stream)
    next(stream)
    assert stream.completion.text == "Hel"
    assert stream.completion.finish_reason is None

    assert stream.result().text == "Hello"


def test_the_request_id_that_came_back(server, client, text_chunks):
    server.answers(*text_chunks("Hi"))
    server.answered_request_id = "from-the-server"

    stream = client.chat.stream(**SAY_HELLO, request_id="mine")
    assert stream.request_id == "mine"

    assert stream.result().request_id == stream.request_id == "from-the-server"


def test_leaving_the_loop_early_ends_the_call(half_an_answer, client):
    stream = client.chat.stream(**SAY_HELLO)

    for chunk in stream:
        if chunk.text:
            break

    assert half_an_answer.wait(5)
    assert stream.completion.text == "Hel"


def test_leaving_the_loop_over_text_early_ends_the_call(half_an_answer, client):
    stream = client.chat.stream(**SAY_HELLO)

    for _ in stream.text_stream:
        break

    assert half_an_answer.wait(5)


def test_an_exception_in_the_loop_ends_the_call(half_an_answer, client):
    stream = client.chat.stream(**SAY_HELLO)

    def read():
        for chunk in stream:
            1 / len(chunk.text)

    with pytest.raises(ZeroDivisionError):
        read()
    assert half_an_answer.wait(5)


def test_leaving_the_context_ends_the_call(half_an_answer, client):
    with client.chat.stream(**SAY_HELLO) as stream:
        next(stream)

    assert half_an_answer.wait(5)


def test_a_stream_that_was_closed_early_never_looks_whole(half_an_answer, client):
    stream = client.chat.stream(**SAY_HELLO)
    next(stream)

    stream.close()
    stream.close()

    for read in (stream.result, lambda: next(stream), lambda: list(stream)):
        with pytest.raises(RequestCancelledError) as caught:
            read()
        assert caught.value.reason == "STREAM_CLOSED"
    assert half_an_answer.wait(5)


def test_closing_from_another_thread_ends_a_read(half_an_answer, client):
    stream = client.chat.stream(**SAY_HELLO)
    has_begun = threading.Event()
    raised = []

    def read():
        try:
            for _ in stream:
                has_begun.set()
        except RequestCancelledError as error:
            raised.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    assert has_begun.wait(5)

    stream.close()

    reader.join(5)
    assert [error.reason for error in raised] == ["STREAM_CLOSED"]


def test_closing_ends_the_wait_before_a_retry(server, client, error_info, retry_info):
    server.fails(grpc.StatusCode.UNAVAILABLE, error_info("MODEL_LOADING"), retry_info(50))
    stream = client.chat.stream(**SAY_HELLO)
    raised = []

    def read():
        try:
            next(stream)
        except RequestCancelledError as error:
            raised.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    assert server.is_called.wait(5)

    stream.close()

    reader.join(5)
    assert len(raised) == 1
    assert len(server.received) == 1


def test_a_failure_is_raised_again_by_every_later_read(server, client, error_info, text_chunks):
    server.fails(grpc.StatusCode.INTERNAL, error_info("INFERENCE_ERROR"), after=tuple(text_chunks("Hel")[:2]))
    stream = client.chat.stream(**SAY_HELLO)

    for read in (lambda: list(stream), stream.result, lambda: next(stream)):
        with pytest.raises(InferenceError):
            read()

    assert stream.completion.text == "Hel"
    stream.close()
    with pytest.raises(InferenceError):
        next(stream)
