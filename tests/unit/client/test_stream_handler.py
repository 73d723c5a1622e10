"""What a handler is told, and in which order."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from llamawire import (
    AsyncClient,
    AsyncStreamHandler,
    Client,
    InferenceError,
    ModelNotFoundError,
    StreamHandler,
)
from llamawire.v1 import chat_pb2

SAY_HELLO = {"model": "m", "messages": [("user", "hello")]}


class Recorder(StreamHandler):
    def __init__(self):
        self.told = []

    def on_start(self):
        self.told.append("start")

    def on_token(self, text, choice_index):
        self.told.append(("token", text, choice_index))

    def on_reasoning(self, text, choice_index):
        self.told.append(("reasoning", text, choice_index))

    def on_tool_call(self, call, choice_index):
        self.told.append(("call", call.name, call.arguments, choice_index))

    def on_complete(self, completion):
        self.told.append(("complete", completion.text))

    def on_error(self, error):
        self.told.append(("error", error.reason))


class AsyncRecorder(AsyncStreamHandler):
    def __init__(self):
        self.told = []

    async def on_start(self):
        self.told.append("start")

    async def on_token(self, text, choice_index):
        self.told.append(("token", text, choice_index))

    async def on_complete(self, completion):
        self.told.append(("complete", completion.text))

    async def on_error(self, error):
        self.told.append(("error", error.reason))


@pytest.fixture
def client(server):
    with Client(server.target) as client:
        yield client


@pytest.fixture
async def aio_client(server):
    async with AsyncClient(server.target) as client:
        yield client


def news(index=0, finish_reason=None, **delta):
    choice = chat_pb2.ChunkChoice(index=index, delta=chat_pb2.Delta(**delta), finish_reason=finish_reason)
    return chat_pb2.ChatCompletionChunk(choices=[choice])


def call(index, arguments, name=""):
    function = chat_pb2.FunctionCallDelta(name=name, arguments=arguments)
    return news(tool_calls=[chat_pb2.ToolCallDelta(index=index, function=function)])


def test_text_and_reasoning_of_every_choice(server, client):
    server.answers(
        news(role=chat_pb2.ROLE_ASSISTANT, content=""),
        news(reasoning_content="hm"),
        news(content="Hel"),
        news(index=1, content="Other"),
        news(content="lo"),
        news(finish_reason=chat_pb2.FINISH_REASON_STOP),
    )
    recorder = Recorder()

    completion = client.chat.stream(**SAY_HELLO).run(recorder)

    assert completion.text == "Hello"
    assert recorder.told == [
        "start",
        ("reasoning", "hm", 0),
        ("token", "Hel", 0),
        ("token", "Other", 1),
        ("token", "lo", 0),
        ("complete", "Hello"),
    ]


def test_a_tool_call_is_told_once_and_whole(server, client):
    server.answers(
        call(0, '{"a"', name="first"),
        call(0, ": 1}"),
        call(1, "{", name="second"),
        news(content="by the way"),
        call(1, "}"),
        news(finish_reason=chat_pb2.FINISH_REASON_TOOL_CALLS),
    )
    recorder = Recorder()

    client.chat.stream(**SAY_HELLO).run(recorder)

    assert recorder.told == [
        "start",
        ("call", "first", '{"a": 1}', 0),
        ("token", "by the way", 0),
        ("call", "second", "{}", 0),
        ("complete", "by the way"),
    ]


def test_a_tool_call_that_was_cut_off_is_not_told(server, client):
    server.answers(
        call(0, "{}", name="first"),
        call(1, '{"ci', name="second"),
        news(finish_reason=chat_pb2.FINISH_REASON_LENGTH),
    )
    recorder = Recorder()

    completion = client.chat.stream(**SAY_HELLO).run(recorder)

    assert recorder.told == ["start", ("call", "first", "{}", 0), ("complete", "")]
    assert [call.name for call in completion.tool_calls] == ["first", "second"]


def test_an_empty_stream_starts_and_completes(server, client):
    server.answers()
    recorder = Recorder()

    client.chat.stream(**SAY_HELLO).run(recorder)

    assert recorder.told == ["start", ("complete", "")]


def test_a_failure_is_told_and_raised(server, client, error_info):
    server.fails(grpc.StatusCode.INTERNAL, error_info("INFERENCE_ERROR"), after=(news(content="Hel"),))
    recorder = Recorder()

    with pytest.raises(InferenceError):
        client.chat.stream(**SAY_HELLO).run(recorder)

    assert recorder.told == ["start", ("token", "Hel", 0), ("error", "INFERENCE_ERROR")]


def test_a_failure_before_the_answer_begins(server, client, error_info):
    server.fails(grpc.StatusCode.NOT_FOUND, error_info("MODEL_NOT_FOUND"))
    recorder = Recorder()

    with pytest.raises(ModelNotFoundError):
        client.chat.stream(**SAY_HELLO).run(recorder)

    assert recorder.told == [("error", "MODEL_NOT_FOUND")]


@pytest.mark.parametrize("error", [ZeroDivisionError(), InferenceError("of another call")])
def test_what_a_handler_raises_ends_the_call_and_is_not_the_stream_s_failure(server, client, error):
    is_over = server.hangs(news(content="Hel"))

    class Raising(Recorder):
        def on_token(self, text, choice_index):
            raise error

    handler = Raising()
    with pytest.raises(type(error)):
        client.chat.stream(**SAY_HELLO).run(handler)

    assert is_over.wait(5)
    assert handler.told == ["start"]


def test_a_handler_may_leave_everything_out(server, client, text_chunks):
    server.answers(*text_chunks("Hi"), news(reasoning_content="hm"), call(0, "{}"))
    server.answers(news(finish_reason=chat_pb2.FINISH_REASON_TOOL_CALLS))

    assert client.chat.stream(**SAY_HELLO).run(StreamHandler()).text == "Hi"


async def test_an_asyncio_handler_is_told_alike(server, aio_client, text_chunks):
    server.answers(*text_chunks("Hel", "lo"))
    recorder = AsyncRecorder()

    completion = await aio_client.chat.stream(**SAY_HELLO).run(recorder)

    assert completion.text == "Hello"
    assert recorder.told == ["start", ("token", "Hel", 0), ("token", "lo", 0), ("complete", "Hello")]


async def test_an_asyncio_handler_is_told_of_a_failure(server, aio_client, error_info):
    server.fails(grpc.StatusCode.INTERNAL, error_info("INFERENCE_ERROR"), after=(news(content="Hel"),))
    recorder = AsyncRecorder()

    with pytest.raises(InferenceError):
        await aio_client.chat.stream(**SAY_HELLO).run(recorder)

    assert recorder.told == ["start", ("token", "Hel", 0), ("error", "INFERENCE_ERROR")]


async def test_an_asyncio_handler_that_raises_ends_the_call(server, aio_client):
    is_over = server.hangs(news(content="Hel"))

    class Raising(AsyncRecorder):
        async def on_token(self, text, choice_index):
            raise ZeroDivisionError

    handler = Raising()
    stream = aio_client.chat.stream(**SAY_HELLO)
    with pytest.raises(ZeroDivisionError):
        await stream.run(handler)

    assert await asyncio.to_thread(is_over.wait, 5)
    assert handler.told == ["start"]


async def test_an_asyncio_handler_may_leave_everything_out(server, aio_client, text_chunks):
    server.answers(*text_chunks("Hi"), news(reasoning_content="hm"))

    assert (await aio_client.chat.stream(**SAY_HELLO).run(AsyncStreamHandler())).text == "Hi"
