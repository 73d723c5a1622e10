"""What the Python client raises: for requests that are wrong, and for servers that come and go."""

from __future__ import annotations

import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from callers import wait_until
from python_client_calls import LONG, STORY, read_some
from servers import StartServer

from llamawire import (
    Client,
    ConnectionFailedError,
    InferenceError,
    InvalidRequestError,
    LlamawireError,
    MessageTooLargeError,
    ModelNotFoundError,
    UnavailableError,
    UnsupportedError,
    image,
    user,
)


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
