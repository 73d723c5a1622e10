"""The Python client, sync and async, against the real server."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
import pytest_asyncio
from callers import wait_until
from servers import RunningServer, StartServer

from llamawire import (
    AsyncClient,
    AsyncStreamHandler,
    ChatStream,
    Client,
    Completion,
    ConnectionFailedError,
    DeadlineExceededError,
    InferenceError,
    InvalidRequestError,
    LlamawireError,
    MessageTooLargeError,
    ModelNotFoundError,
    RequestCancelledError,
    StreamHandler,
    UnavailableError,
    UnsupportedError,
    assistant,
    image,
    request,
    system,
    user,
)
from llamawire.v1 import model_pb2

STORY: dict[str, Any] = {
    "model": "smollm2",
    "messages": [user("Write a story about a fox.")],
    "temperature": 0,
    "max_tokens": 12,
}
LONG: dict[str, Any] = {**STORY, "max_tokens": 4000, "stop": "\x00"}
LONG_PROMPT: dict[str, Any] = {**STORY, "messages": [user("word " * 7000)]}


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.grpc_address, retries=0) as client:
        yield client


@pytest_asyncio.fixture
async def aclient(server: RunningServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.grpc_address, retries=0) as client:
        yield client


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def is_idle(server: RunningServer) -> bool:
    return server.model().active_requests == 0


async def wait_in_thread(condition: Any) -> None:
    """`wait_until` beside a running event loop."""
    await asyncio.to_thread(wait_until, condition)


def test_a_whole_answer(client: Client) -> None:
    completion = client.chat.create(**STORY, request_id="mine-3")
    assert completion.text
    assert completion.finish_reason == "length"
    assert completion.model == "smollm2"
    assert completion.request_id == "mine-3"
    assert completion.usage.completion_tokens == 12
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 12
    assert completion.timings.first_token_seconds >= completion.timings.prompt_seconds > 0


def test_a_stream_adds_up_to_the_whole_answer(client: Client) -> None:
    whole = client.chat.create(**STORY)
    with client.chat.stream(**STORY) as stream:
        texts = [chunk.text for chunk in stream]
    completion = stream.completion
    assert "".join(texts) == completion.text == whole.text
    assert len([text for text in texts if text]) > 6, "not all at once"
    assert completion.finish_reason == "length"
    assert completion.usage == whole.usage
    assert completion.timings.generation_seconds > 0
    assert completion.id != whole.id


def test_several_choices(client: Client) -> None:
    asked = {**STORY, "n": 2, "temperature": 1.2, "seed": 9}
    whole, streamed = client.chat.create(**asked), client.chat.stream(**asked).result()
    assert [choice.text for choice in streamed.choices] == [choice.text for choice in whole.choices]
    assert len({choice.text for choice in whole.choices}) == 2
    assert [choice.finish_reason for choice in streamed.choices] == ["length"] * 2


def test_text_alone(client: Client) -> None:
    pieces = list(client.chat.stream(**STORY).text_stream)
    assert "".join(pieces) == client.chat.create(**STORY).text
    assert all(pieces)


class Teller(StreamHandler):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.text = ""
        self.completion: Completion | None = None
        self.error: LlamawireError | None = None

    def on_start(self) -> None:
        self.told.append("start")

    def on_token(self, text: str, choice_index: int) -> None:
        assert choice_index == 0
        self.text += text

    def on_complete(self, completion: Completion) -> None:
        self.told.append("complete")
        self.completion = completion

    def on_error(self, error: LlamawireError) -> None:
        self.told.append("error")
        self.error = error


class AsyncTeller(AsyncStreamHandler):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.notes = Teller()

    async def on_start(self) -> None:
        self.notes.on_start()

    async def on_token(self, text: str, choice_index: int) -> None:
        self.notes.on_token(text, choice_index)

    async def on_complete(self, completion: Completion) -> None:
        self.notes.on_complete(completion)

    async def on_error(self, error: LlamawireError) -> None:
        self.notes.on_error(error)


def test_a_handler_is_told(client: Client) -> None:
    teller = Teller()
    completion = client.chat.stream(**STORY).run(teller)
    assert teller.told == ["start", "complete"]
    assert teller.text == completion.text == client.chat.create(**STORY).text
    assert teller.completion is completion

    teller = Teller()
    with pytest.raises(ModelNotFoundError) as caught:
        client.chat.stream(**{**STORY, "model": "smollm3"}).run(teller)
    assert teller.told == ["error"]
    assert teller.error is caught.value


def read_some(stream: ChatStream) -> None:
    while not next(stream).text:
        pass


def test_a_stream_closed_in_the_middle_frees_its_sequence(server: RunningServer, client: Client) -> None:
    stream = client.chat.stream(**LONG)
    read_some(stream)
    assert server.model().active_requests == 1
    stream.close()
    wait_until(lambda: is_idle(server))
    assert stream.completion.text, "what came is kept"
    assert stream.completion.finish_reason is None
    with pytest.raises(RequestCancelledError) as caught:
        next(stream)
    assert caught.value.reason == "STREAM_CLOSED"


def test_a_loop_that_is_left_frees_its_sequence(server: RunningServer, client: Client) -> None:
    for chunk in client.chat.stream(**LONG):
        if chunk.text:
            break
    wait_until(lambda: is_idle(server))


def test_a_stream_closed_by_another_thread(server: RunningServer, client: Client) -> None:
    stream = client.chat.stream(**LONG)
    read_some(stream)
    closing = threading.Timer(0.1, stream.close)
    closing.start()
    with pytest.raises(RequestCancelledError):
        stream.result()
    closing.join()
    wait_until(lambda: is_idle(server))


def test_a_closed_client_ends_its_calls(server: RunningServer) -> None:
    client = Client(server.grpc_address)
    stream = client.chat.stream(**LONG)
    read_some(stream)
    client.close()
    wait_until(lambda: is_idle(server))
    with pytest.raises(RequestCancelledError):
        stream.result()


@pytest.mark.parametrize("asked", [LONG, LONG_PROMPT], ids=["decode", "prefill"])
def test_a_deadline(server: RunningServer, client: Client, asked: dict[str, Any]) -> None:
    with pytest.raises(DeadlineExceededError) as caught:
        client.chat.create(**asked, timeout_seconds=0.4)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(DeadlineExceededError):
        client.chat.stream(**asked, timeout_seconds=0.4).result()
    wait_until(lambda: is_idle(server))


def test_an_unknown_model(client: Client) -> None:
    for call in (
        lambda: client.chat.create(**{**STORY, "model": "smollm3"}),
        lambda: client.chat.stream(**{**STORY, "model": "smollm3"}).result(),
        lambda: client.models.get("smollm3"),
        lambda: client.tokenizer.tokenize("smollm3", "x"),
    ):
        with pytest.raises(ModelNotFoundError, match="smollm2") as caught:
            call()
        assert caught.value.model == "smollm3"
        assert caught.value.reason == "MODEL_NOT_FOUND"
        assert not caught.value.retryable
        assert caught.value.request_id


def test_a_bad_request_names_every_field(client: Client) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.chat.create(**{**STORY, "temperature": 9, "top_p": -1, "stop": ["a", ""]})
    assert caught.value.fields.keys() == {"temperature", "top_p", "stop[1]"}
    assert all(caught.value.fields.values())
    assert caught.value.reason == "INVALID_FIELD"
    with pytest.raises(InvalidRequestError) as caught:
        client.chat.stream(model="smollm2").result()
    assert caught.value.fields.keys() == {"messages"}


def test_a_prompt_longer_than_the_context(client: Client) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.chat.create(model="smollm2", messages=[user("word " * 9000)])
    assert caught.value.reason == "CONTEXT_LENGTH_EXCEEDED"
    assert caught.value.fields.keys() == {"messages"}
    assert "8192" in caught.value.message


def test_a_message_that_is_too_large(client: Client) -> None:
    with pytest.raises(MessageTooLargeError) as caught:
        client.chat.create(model="smollm2", messages=[user("x" * (17 * 1024 * 1024))])
    assert caught.value.reason == "MESSAGE_TOO_LARGE"
    assert not caught.value.retryable


def test_what_can_not_be_done(client: Client) -> None:
    picture = user("What is this?", image("data:image/png;base64,"))
    with pytest.raises(UnsupportedError) as caught:
        client.chat.create(**{**STORY, "messages": [picture, picture]})
    assert caught.value.fields.keys() == {"messages[0].content_parts[1]", "messages[1].content_parts[1]"}


def test_a_server_that_is_not_there(nobody: str) -> None:
    with Client(nobody, retries=1) as client:
        for call in (
            lambda: client.chat.create(**STORY),
            lambda: client.chat.stream(**STORY).result(),
            client.models.list,
        ):
            with pytest.raises(ConnectionFailedError) as caught:
                call()
            assert caught.value.retryable


def test_a_server_that_drains(start_server: StartServer) -> None:
    server = start_server("--preload", "smollm2", "--drain-seconds", "1")
    with Client(server.grpc_address, retries=0) as client:
        stream = client.chat.stream(**LONG)
        read_some(stream)
        server.process.send_signal(signal.SIGTERM)

        def refusal() -> LlamawireError | None:
            try:
                client.chat.create(**{**STORY, "max_tokens": 1})
            except LlamawireError as error:
                return error
            return None

        wait_until(lambda: (error := refusal()) is not None and error.reason == "DRAINING")
        with pytest.raises(UnavailableError) as refused:
            client.chat.create(**STORY)
        assert refused.value.reason == "DRAINING"
        assert refused.value.retry_after_seconds == 10
        with pytest.raises(InferenceError) as caught:
            stream.result()
        assert caught.value.reason == "SERVER_STOPPED"
        assert stream.completion.text
        assert server.process.wait(30) == 0


def test_a_server_that_dies_in_the_middle(start_server: StartServer) -> None:
    server = start_server("--preload", "smollm2")
    with Client(server.grpc_address, retries=2) as client:
        stream = client.chat.stream(**LONG)
        read_some(stream)
        server.process.kill()
        with pytest.raises(ConnectionFailedError):
            stream.result()
        assert stream.completion.text, "and it was not begun again"


def test_a_call_waits_for_a_server_that_starts(start_server: StartServer) -> None:
    """Retries bridge a restart: nothing was done yet, so the call may be made again."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with Client(address, retries=50, timeout_seconds=60) as client, ThreadPoolExecutor(2) as pool:
        whole = pool.submit(client.chat.create, **STORY)
        streamed = pool.submit(lambda: client.chat.stream(**STORY).result())
        start_server("--grpc", address, "--preload", "smollm2")
        assert [answer.result().usage.completion_tokens for answer in (whole, streamed)] == [12, 12]


def test_metadata_rides_along(server: RunningServer) -> None:
    with Client(server.grpc_address, metadata={"x-request-id": "all-of-them"}) as client:
        assert client.chat.create(**STORY).request_id == "all-of-them"
        stream = client.chat.stream(**STORY, call_metadata={"x-request-id": "this-one"})
        assert stream.result().request_id == "this-one"
        stream = client.chat.stream(**STORY, request_id="not fit for logs")
        completion = stream.result()
        assert completion.request_id.startswith("req_"), "the server's own, in place of a bad one"
        with pytest.raises(InvalidRequestError) as caught:
            client.chat.create(**{**STORY, "n": 0}, request_id="failed-1")
        assert caught.value.request_id == "failed-1"


def test_models(client: Client) -> None:
    (model,) = [model for model in client.models.list() if model.name == "smollm2"]
    assert model.state == model_pb2.MODEL_STATE_READY
    assert model.facts.architecture == "llama"
    assert model.facts.context_length == 8192
    assert client.models.get(" SmolLM2:latest ").name == "smollm2"


def test_tokens(client: Client) -> None:
    tokenized = client.tokenizer.tokenize("smollm2", "The fox 🦊", add_special=False)
    assert b"".join(tokenized.pieces).decode() == "The fox 🦊"
    assert client.tokenizer.detokenize("smollm2", tokenized.tokens) == "The fox 🦊"
    count = client.tokenizer.count_chat_tokens(**STORY)
    assert count.prompt_tokens == client.chat.create(**STORY).usage.prompt_tokens
    assert count.context_length == 8192
    with pytest.raises(InvalidRequestError) as caught:
        client.tokenizer.detokenize("smollm2", [1, 10**6])
    assert "tokens[1]" in caught.value.fields


def test_a_conversation_goes_on(client: Client) -> None:
    first = client.chat.create(**STORY)
    messages = [system("Be brief."), *STORY["messages"], first.message, user("Go on.")]
    second = client.chat.create(**{**STORY, "messages": messages})
    assert second.text
    assert second.usage.prompt_tokens > first.usage.total_tokens
    built = request(**{**STORY, "messages": [*STORY["messages"], assistant(first.text), user("Go on.")]})
    assert client.chat.create(built, max_tokens=2).usage.completion_tokens == 2


def test_one_client_serves_many_threads(server: RunningServer, client: Client) -> None:
    """Each gets its own answer: as many times its own word as it asked for."""
    words = [" fox", " dog", " cat", " bird", " fish", " tree", " house", " river"]

    def call(number: int) -> None:
        (token,) = client.tokenizer.tokenize("smollm2", words[number], add_special=False).tokens
        asked = {**STORY, "logit_bias": {token: 100.0}, "max_tokens": 2 + number}
        expected = words[number] * (2 + number)
        assert client.chat.create(**asked).text == expected
        with pytest.raises(InvalidRequestError):
            client.chat.create(**{**asked, "n": 0})
        if number % 4 == 0:
            left = client.chat.stream(**LONG)
            next(left)
            left.close()
        assert client.chat.stream(**asked).result().text == expected

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(8)))
    wait_until(lambda: is_idle(server))


async def test_the_asynchronous_client(aclient: AsyncClient) -> None:
    whole = await aclient.chat.create(**STORY, request_id="mine-4")
    assert whole.request_id == "mine-4"
    stream = aclient.chat.stream(**STORY)
    assert "".join([chunk.text async for chunk in stream]) == whole.text
    assert stream.completion.usage == whole.usage
    assert "".join([text async for text in aclient.chat.stream(**STORY).text_stream]) == whole.text
    teller = AsyncTeller()
    completion = await aclient.chat.stream(**STORY).run(teller)
    assert teller.notes.told == ["start", "complete"]
    assert teller.notes.text == completion.text == whole.text


async def test_the_asynchronous_client_s_other_calls(aclient: AsyncClient) -> None:
    assert "smollm2" in [model.name for model in await aclient.models.list()]
    assert (await aclient.models.get("smollm2")).state == model_pb2.MODEL_STATE_READY
    tokenized = await aclient.tokenizer.tokenize("smollm2", "The fox", add_special=False)
    assert await aclient.tokenizer.detokenize("smollm2", tokenized.tokens) == "The fox"
    assert (await aclient.tokenizer.count_chat_tokens(**STORY)).prompt_tokens > 5


async def test_errors_of_the_asynchronous_client(aclient: AsyncClient, nobody: str) -> None:
    with pytest.raises(ModelNotFoundError):
        await aclient.chat.create(**{**STORY, "model": "smollm3"})
    with pytest.raises(InvalidRequestError) as caught:
        await aclient.chat.stream(**{**STORY, "temperature": 9, "n": 0}).result()
    assert caught.value.fields.keys() == {"temperature", "n"}
    with pytest.raises(UnsupportedError):
        await aclient.chat.create(**{**STORY, "messages": [user(image("data:image/png;base64,"))]})
    with pytest.raises(DeadlineExceededError):
        await aclient.chat.create(**LONG, timeout_seconds=0.4)
    with pytest.raises(DeadlineExceededError):
        await aclient.chat.stream(**LONG, timeout_seconds=0.4).result()
    async with AsyncClient(nobody, retries=1) as lonely:
        with pytest.raises(ConnectionFailedError):
            await lonely.chat.create(**STORY)
        with pytest.raises(ConnectionFailedError):
            await lonely.chat.stream(**STORY).result()


async def test_an_asynchronous_stream_closed_in_the_middle(
    server: RunningServer, aclient: AsyncClient
) -> None:
    async with aclient.chat.stream(**LONG) as stream:
        while not (await anext(stream)).text:
            pass
        assert (await asyncio.to_thread(server.model)).active_requests == 1
    await wait_in_thread(lambda: is_idle(server))
    with pytest.raises(RequestCancelledError):
        await anext(stream)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "streamed"])
async def test_a_cancelled_task_frees_its_sequence(
    server: RunningServer, aclient: AsyncClient, whole: bool
) -> None:
    call = aclient.chat.create(**LONG) if whole else aclient.chat.stream(**LONG).result()
    task = asyncio.ensure_future(call)
    await wait_in_thread(lambda: server.model().active_requests == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_in_thread(lambda: is_idle(server))


async def test_many_at_once(aclient: AsyncClient) -> None:
    completions = await asyncio.gather(
        *(aclient.chat.stream(**{**STORY, "max_tokens": 3 + number}).result() for number in range(5))
    )
    assert [completion.usage.completion_tokens for completion in completions] == list(range(3, 8))
