"""The Python client against the real server: what its calls answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from callers import wait_until
from python_client_calls import LONG, STORY, Teller, is_idle
from servers import RunningServer

from llamawire import (
    Client,
    InvalidRequestError,
    ModelNotFoundError,
    assistant,
    request,
    system,
    user,
)
from llamawire.v1 import model_pb2


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
