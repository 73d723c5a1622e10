"""`client.embeddings`: what is sent, and what comes of the answer."""

from __future__ import annotations

import grpc
import pytest

from llamawire import AsyncClient, Client, EmbeddingList, UnavailableError, embedding_request
from llamawire.v1 import embedding_pb2

ANSWER = embedding_pb2.CreateEmbeddingsResponse(
    model="m",
    data=[
        embedding_pb2.Embedding(index=0, values=[0.5, 0.5]),
        embedding_pb2.Embedding(index=1, values=[1, 0]),
    ],
    usage=embedding_pb2.EmbeddingUsage(prompt_tokens=3, total_tokens=3),
)


def text(content: str) -> embedding_pb2.EmbeddingInput:
    return embedding_pb2.EmbeddingInput(text=content)


def tokens(*ids: int) -> embedding_pb2.EmbeddingInput:
    return embedding_pb2.EmbeddingInput(tokens=embedding_pb2.EmbeddingTokens(ids=ids))


@pytest.fixture
def client(server):
    with Client(server.target) as client:
        yield client


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a", [text("a")]),
        (["a", "b"], [text("a"), text("b")]),
        ([1, 2], [tokens(1, 2)]),
        ((1, 2), [tokens(1, 2)]),
        ([[1, 2], "a", (3,)], [tokens(1, 2), text("a"), tokens(3)]),
        ((word for word in "ab"), [text("a"), text("b")]),
        (text("a"), [text("a")]),
        ([text("a"), tokens(1)], [text("a"), tokens(1)]),
        ([], []),
    ],
    ids=lambda value: "",
)
def test_every_form_of_input(given, expected):
    assert list(embedding_request(model="m", input=given).input) == expected


def test_a_request_is_made_of_a_proto_and_of_options():
    base = embedding_pb2.CreateEmbeddingsRequest(model="m", input=[text("a")], dimensions=3)
    made = embedding_request(base, input="b", priority=1, user=None)
    assert (made.model, list(made.input), made.dimensions, made.priority) == ("m", [text("b")], 3, 1)
    assert list(base.input) == [text("a")]
    with pytest.raises(TypeError, match="no 'inputs'"):
        embedding_request(model="m", inputs="a")


def test_the_answer_is_a_sequence_of_vectors(server, client):
    server.answers(ANSWER)
    answer = client.embeddings.create(model="m", input=["a", "b"], dimensions=2, request_id="mine")
    assert server.received[0].request == embedding_request(model="m", input=["a", "b"], dimensions=2)
    assert isinstance(answer, EmbeddingList)
    assert (len(answer), answer[1], list(answer)) == (2, [1.0, 0.0], [[0.5, 0.5], [1.0, 0.0]])
    assert answer.vectors == list(answer)
    assert (answer.model, answer.usage.total_tokens, answer.request_id) == ("m", 3, "mine")
    assert answer.proto == ANSWER
    assert repr(answer) == "EmbeddingList(model='m', 2 vectors of 2 numbers)"


async def test_the_same_for_asyncio(server):
    server.answers(ANSWER)
    async with AsyncClient(server.target) as client:
        answer = await client.embeddings.create(model="m", input="a")
    assert answer.vectors == [[0.5, 0.5], [1.0, 0.0]]


def test_an_answer_beyond_grpc_s_own_limit(server, client):
    large = embedding_pb2.Embedding(values=[1.0] * 2_000_000)
    server.answers(embedding_pb2.CreateEmbeddingsResponse(data=[large]))
    assert len(client.embeddings.create(model="m", input="a")[0]) == 2_000_000


def test_who_does_not_wait_for_the_model_is_told_so_at_once(server, client, error_info, retry_info):
    server.fails(grpc.StatusCode.UNAVAILABLE, error_info("MODEL_LOADING"), retry_info(0.0))
    with pytest.raises(UnavailableError):
        client.embeddings.create(model="m", input="a", wait_for_model=False)
    assert len(server.received) == 1
