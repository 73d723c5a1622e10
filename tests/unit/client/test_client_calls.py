"""Client and AsyncClient: what they send, what they give, and when they try again."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from llamawire import (
    AsyncClient,
    Client,
    ConnectionFailedError,
    DeadlineExceededError,
    InvalidRequestError,
    RequestCancelledError,
    UnavailableError,
    request,
)
from llamawire.v1 import chat_pb2, model_pb2, tokenizer_pb2

SAY_HELLO = {"model": "m", "messages": [("user", "hello")]}
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def completion(text: str) -> chat_pb2.ChatCompletion:
    message = chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT, content=text)
    return chat_pb2.ChatCompletion(id="chatcmpl-1", choices=[chat_pb2.Choice(message=message)])


@pytest.fixture
def client(server):
    with Client(server.target) as client:
        yield client


@pytest.fixture
async def aio_client(server):
    async with AsyncClient(server.target) as client:
        yield client


def test_create_sends_the_request_and_gives_the_answer(server, client):
    server.answers(completion("Hi!"))

    answer = client.chat.create(**SAY_HELLO, temperature=0)

    assert answer.text == "Hi!"
    assert server.received[0].request == request(**SAY_HELLO, temperature=0)


def test_create_takes_a_proto(server, client):
    server.answers(completion("Hi!"))

    client.chat.create(request(**SAY_HELLO), seed=7)

    assert server.received[0].request == request(**SAY_HELLO, seed=7)


def test_an_answer_beyond_grpc_s_own_limit(server, client):
    text = "x" * (5 * 1024 * 1024)
    server.answers(completion(text))

    assert client.chat.create(**SAY_HELLO).text == text


def test_metadata_and_request_id_are_sent_and_the_id_comes_back(server):
    server.answers(completion("Hi!"))
    server.answered_request_id = "from-the-server"

    with Client(server.target, metadata={"Team": "a"}) as client:
        answer = client.chat.create(**SAY_HELLO, call_metadata=[("traceparent", "00-1")], request_id="mine")

    sent = server.received[0].metadata
    assert (sent["team"], sent["traceparent"], sent["x-request-id"]) == ("a", "00-1", "mine")
    assert answer.request_id == "from-the-server"


def test_a_call_s_own_request_id_comes_before_the_client_s(server):
    with Client(server.target, metadata={"x-request-id": "the-client-s"}) as client:
        for _ in range(2):
            server.answers(chat_pb2.ChatCompletion(), chat_pb2.ChatCompletion())
        client.chat.create(**SAY_HELLO)
        client.chat.create(**SAY_HELLO, call_metadata={"X-Request-Id": "the-call-s"})

    sent = [call.metadata["x-request-id"] for call in server.received]
    assert sent == ["the-client-s", "the-call-s"]


def test_a_request_id_is_made_where_none_is_given(server, client):
    server.answers(completion("Hi!"))

    answer = client.chat.create(**SAY_HELLO)

    assert answer.request_id == server.received[0].metadata["x-request-id"]
    assert answer.request_id


def test_the_timeout_is_the_call_s_deadline(server):
    is_over = server.hangs()

    with (
        Client(server.target, timeout_seconds=1000) as client,
        pytest.raises(DeadlineExceededError) as caught,
    ):
        client.chat.create(**SAY_HELLO, timeout_seconds=0.2)

    assert caught.value.reason == "DEADLINE_EXCEEDED"
    assert is_over.wait(5)
    assert server.received[0].seconds_left < 1


def test_a_call_that_found_the_server_busy_is_tried_again(server, client, error_info, retry_info):
    server.fails(UNAVAILABLE, error_info("MODEL_LOADING"), retry_info(0))
    server.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, error_info("QUEUE_FULL"), retry_info(0))
    server.answers(completion("Hi!"))

    answer = client.chat.create(**SAY_HELLO)

    assert answer.text == "Hi!"
    assert {call.metadata["x-request-id"] for call in server.received} == {answer.request_id}
    assert len(server.received) == 3


def test_retries_have_an_end(server, error_info, retry_info):
    for _ in range(2):
        server.fails(UNAVAILABLE, error_info("MODEL_LOADING"), retry_info(0))

    with Client(server.target, retries=1) as client, pytest.raises(UnavailableError):
        client.chat.create(**SAY_HELLO)

    assert len(server.received) == 2


def test_a_wrong_request_is_sent_once(server, client, error_info):
    server.fails(grpc.StatusCode.INVALID_ARGUMENT, error_info("INVALID_FIELD"))

    with pytest.raises(InvalidRequestError):
        client.chat.create(**SAY_HELLO)

    assert len(server.received) == 1


@pytest.mark.parametrize("call", ["create", "stream", "count"])
def test_who_does_not_wait_for_a_model_is_told_at_once(server, client, error_info, retry_info, call):
    server.fails(UNAVAILABLE, error_info("MODEL_LOADING"), retry_info(0))
    impatient = {**SAY_HELLO, "wait_for_model": False}
    calls = {
        "create": client.chat.create,
        "stream": lambda **options: client.chat.stream(**options).result(),
        "count": client.tokenizer.count_chat_tokens,
    }

    with pytest.raises(UnavailableError) as caught:
        calls[call](**impatient)

    assert caught.value.reason == "MODEL_LOADING"
    assert len(server.received) == 1


@pytest.mark.parametrize("call", ["create", "stream", "count"])
async def test_who_does_not_wait_for_a_model_is_told_at_once_with_asyncio(
    server, aio_client, error_info, retry_info, call
):
    server.fails(UNAVAILABLE, error_info("MODEL_LOADING"), retry_info(0))
    impatient = {**SAY_HELLO, "wait_for_model": False}
    calls = {
        "create": aio_client.chat.create,
        "stream": lambda **options: aio_client.chat.stream(**options).result(),
        "count": aio_client.tokenizer.count_chat_tokens,
    }

    with pytest.raises(UnavailableError):
        await calls[call](**impatient)

    assert len(server.received) == 1


def test_a_wait_beyond_the_deadline_gives_the_server_s_error_at_once(server, client, error_info, retry_info):
    server.fails(UNAVAILABLE, error_info("MODEL_LOADING"), retry_info(30))

    with pytest.raises(UnavailableError) as caught:
        client.chat.create(**SAY_HELLO, timeout_seconds=20)

    assert caught.value.reason == "MODEL_LOADING"
    assert caught.value.retry_after_seconds == 30


def test_a_stream_is_tried_again_before_its_first_chunk(server, client, error_info, retry_info, text_chunks):
    server.fails(UNAVAILABLE, error_info("MODEL_LOADING"), retry_info(0))
    server.answers(*text_chunks("Hi", "!"))

    answer = client.chat.stream(**SAY_HELLO).result()

    assert answer.text == "Hi!"
    assert len(server.received) == 2


def test_a_call_that_the_server_began_is_not_tried_again(server, client):
    """UNAVAILABLE without llamawire's own details is a connection that broke, and work was done."""
    for _ in range(2):
        server.breaks()

    with pytest.raises(ConnectionFailedError):
        client.chat.create(**SAY_HELLO)
    with pytest.raises(ConnectionFailedError):
        client.chat.stream(**SAY_HELLO).result()

    assert len(server.received) == 2


def test_a_call_that_the_server_did_not_begin_is_tried_again(server, client):
    server.fails(UNAVAILABLE, begins=False)
    server.answers(completion("Hi!"))

    assert client.chat.create(**SAY_HELLO).text == "Hi!"


def test_a_stream_is_not_tried_again_after_its_first_chunk(server, client, text_chunks):
    server.fails(UNAVAILABLE, after=tuple(text_chunks("Hi")[:2]))
    stream = client.chat.stream(**SAY_HELLO)

    with pytest.raises(ConnectionFailedError):
        stream.result()

    assert len(server.received) == 1
    assert stream.completion.text == "Hi"


def test_models(server, client):
    server.answers(
        model_pb2.ListModelsResponse(models=[model_pb2.Model(name="a"), model_pb2.Model(name="b")])
    )
    server.answers(model_pb2.GetModelResponse(model=model_pb2.Model(name="b")))

    assert [model.name for model in client.models.list(request_id="mine")] == ["a", "b"]
    assert client.models.get("B").name == "b"
    assert server.received[0].metadata["x-request-id"] == "mine"
    assert server.received[1].request == model_pb2.GetModelRequest(name="B")


def test_tokenizer(server, client):
    server.answers(tokenizer_pb2.TokenizeResponse(tokens=[1, 2], pieces=[b"a", b"b"]))
    server.answers(tokenizer_pb2.DetokenizeResponse(text="ab"))
    server.answers(tokenizer_pb2.CountChatTokensResponse(prompt_tokens=9, context_length=100))
    server.answers(tokenizer_pb2.ApplyChatTemplateResponse(prompt="<s>hello", tokens=[1, 2]))

    assert list(client.tokenizer.tokenize("m", "ab", add_special=False).tokens) == [1, 2]
    assert client.tokenizer.detokenize("m", [1, 2]) == "ab"
    assert client.tokenizer.count_chat_tokens(**SAY_HELLO).prompt_tokens == 9
    assert client.tokenizer.apply_chat_template(**SAY_HELLO).prompt == "<s>hello"
    assert [call.request for call in server.received] == [
        tokenizer_pb2.TokenizeRequest(model="m", text="ab", add_special=False),
        tokenizer_pb2.DetokenizeRequest(model="m", tokens=[1, 2]),
        tokenizer_pb2.CountChatTokensRequest(request=request(**SAY_HELLO)),
        tokenizer_pb2.ApplyChatTemplateRequest(request=request(**SAY_HELLO)),
    ]


def test_a_channel_of_the_caller_s_own_stays_open(server):
    server.answers(completion("one"))
    server.answers(completion("two"))

    with grpc.insecure_channel(server.target) as channel:
        for expected in ("one", "two"):
            with Client(channel=channel) as client:
                assert client.chat.create(**SAY_HELLO).text == expected


def test_closing_the_client_ends_its_calls(server, text_chunks):
    is_over = server.hangs(*text_chunks("Hi")[:2])
    client = Client(server.target)
    stream = client.chat.stream(**SAY_HELLO)
    next(stream)
    next(stream)

    client.close()

    assert is_over.wait(5)
    with pytest.raises(RequestCancelledError):
        next(stream)


async def test_asyncio_create(server, aio_client, error_info, retry_info):
    server.fails(UNAVAILABLE, error_info("MODEL_LOADING"), retry_info(0))
    server.answers(completion("Hi!"))
    server.answered_request_id = "from-the-server"

    answer = await aio_client.chat.create(**SAY_HELLO, call_metadata={"Team": "a"})

    assert answer.text == "Hi!"
    assert answer.request_id == "from-the-server"
    assert server.received[1].request == request(**SAY_HELLO)
    assert server.received[1].metadata["team"] == "a"


async def test_a_call_that_the_server_began_is_not_tried_again_with_asyncio(server, aio_client):
    for _ in range(2):
        server.breaks()

    with pytest.raises(ConnectionFailedError):
        await aio_client.chat.create(**SAY_HELLO)
    with pytest.raises(ConnectionFailedError):
        await aio_client.chat.stream(**SAY_HELLO).result()

    assert len(server.received) == 2


async def test_a_call_that_the_server_did_not_begin_is_tried_again_with_asyncio(server, aio_client):
    server.fails(UNAVAILABLE, begins=False)
    server.answers(completion("Hi!"))

    assert (await aio_client.chat.create(**SAY_HELLO)).text == "Hi!"


async def test_asyncio_timeout(server, aio_client):
    is_over = server.hangs()

    with pytest.raises(DeadlineExceededError):
        await aio_client.chat.create(**SAY_HELLO, timeout_seconds=0.2)

    assert await asyncio.to_thread(is_over.wait, 5)


async def test_cancelling_the_task_cancels_the_call(server, aio_client):
    is_over = server.hangs()
    task = asyncio.create_task(aio_client.chat.create(**SAY_HELLO))
    assert await asyncio.to_thread(server.is_called.wait, 5)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(is_over.wait, 5)


async def test_asyncio_models(server, aio_client):
    server.answers(model_pb2.ListModelsResponse(models=[model_pb2.Model(name="a")]))
    server.answers(model_pb2.GetModelResponse(model=model_pb2.Model(name="a")))

    assert [model.name for model in await aio_client.models.list()] == ["a"]
    assert (await aio_client.models.get("a")).name == "a"


PART = tokenizer_pb2.TokenizeRequest.Part


async def test_tokens_of_texts_and_tokens(server, client, aio_client):
    for _ in range(2):
        server.answers(tokenizer_pb2.TokenizeResponse(tokens=[1]))

    client.tokenizer.tokenize("m", ["a", [5, 6], "b"], unparse_special=True)
    await aio_client.tokenizer.tokenize("m", ("a", (5, 6), "b"), unparse_special=True)

    parts = [PART(text="a"), PART(tokens=PART.Tokens(tokens=[5, 6])), PART(text="b")]
    asked = tokenizer_pb2.TokenizeRequest(model="m", parts=parts, unparse_special=True)
    assert [call.request for call in server.received] == [asked, asked]
    with pytest.raises(TypeError):
        client.tokenizer.tokenize("m", [5, 6])


async def test_a_prompt_that_ends_with_the_last_message(server, client, aio_client):
    for _ in range(2):
        server.answers(tokenizer_pb2.ApplyChatTemplateResponse(prompt="hello"))

    client.tokenizer.apply_chat_template(**SAY_HELLO, add_generation_prompt=False)
    await aio_client.tokenizer.apply_chat_template(**SAY_HELLO, add_generation_prompt=False)

    asked = tokenizer_pb2.ApplyChatTemplateRequest(request=request(**SAY_HELLO), add_generation_prompt=False)
    assert [call.request for call in server.received] == [asked, asked]


async def test_asyncio_tokenizer(server, aio_client):
    server.answers(tokenizer_pb2.TokenizeResponse(tokens=[1, 2]))
    server.answers(tokenizer_pb2.DetokenizeResponse(text="ab"))
    server.answers(tokenizer_pb2.CountChatTokensResponse(prompt_tokens=9))
    server.answers(tokenizer_pb2.ApplyChatTemplateResponse(prompt="<s>hello", tokens=[1, 2]))

    assert list((await aio_client.tokenizer.tokenize("m", "ab", parse_special=True)).tokens) == [1, 2]
    assert await aio_client.tokenizer.detokenize("m", [1, 2], unparse_special=True) == "ab"
    assert (await aio_client.tokenizer.count_chat_tokens(**SAY_HELLO)).prompt_tokens == 9
    assert (await aio_client.tokenizer.apply_chat_template(**SAY_HELLO)).prompt == "<s>hello"
    assert [call.request for call in server.received] == [
        tokenizer_pb2.TokenizeRequest(model="m", text="ab", parse_special=True),
        tokenizer_pb2.DetokenizeRequest(model="m", tokens=[1, 2], unparse_special=True),
        tokenizer_pb2.CountChatTokensRequest(request=request(**SAY_HELLO)),
        tokenizer_pb2.ApplyChatTemplateRequest(request=request(**SAY_HELLO)),
    ]


async def test_a_channel_of_the_caller_s_own_stays_open_with_asyncio(server):
    server.answers(completion("one"))
    server.answers(completion("two"))

    async with grpc.aio.insecure_channel(server.target) as channel:
        for expected in ("one", "two"):
            async with AsyncClient(channel=channel) as client:
                assert (await client.chat.create(**SAY_HELLO)).text == expected
