"""Embeddings of real models over real sockets: of one that generates, and of encoders."""

from __future__ import annotations

import base64
import os
import signal
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import openai
import pytest
from callers import http_client, wait_until
from gguf import PoolingType
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from reference_embeddings import reference
from servers import NO_END, RunningServer, ask, endless, failure_of, launch, reason_of
from tiny_encoder import CONTEXT_LENGTH, WIDTH, write_encoder
from tiny_memories import write_recurrent
from tiny_model import write_tiny_model

from llamawire import AsyncClient, Client, InvalidRequestError, UnsupportedError
from llamawire.v1 import embedding_pb2, embedding_pb2_grpc, model_pb2, tokenizer_pb2

SERVICE = "llamawire.v1.EmbeddingService"
TEXTS = [
    "The fox jumps.",
    "A quick brown fox jumps over the lazy dog, again and again, until the sun goes down behind the hills.",
    "Why is the sky blue?",
    "x",
    "Là-bas, 天空 is blue. 🦊",
]
ENCODER_TEXTS = ["the fox jumps", "the sky is blue.", "a", "why is the dog blue? 42"]
EMBEDDINGS = model_pb2.MODEL_CAPABILITY_EMBEDDINGS
# Of a model whose tokens are bytes these are more than are computed at once.
LONG_TEXT = "The fox is red and the sky is blue. " * 60
TEMPLATE = "{{ messages[0].content }}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of all kinds: by mean, by the first token and by the last, and such as give no vectors."""
    folder = tmp_path_factory.mktemp("embeddings")
    write_encoder(folder / "encoder.gguf", PoolingType.MEAN)
    write_encoder(folder / "first.gguf", PoolingType.CLS)
    write_encoder(folder / "ranker.gguf", PoolingType.RANK)
    write_encoder(folder / "tokens.gguf", PoolingType.NONE)
    os.link(folder / "tokens.gguf", folder / "told.gguf")
    write_tiny_model(folder / "last.gguf")
    write_tiny_model(folder / "swift.gguf")
    write_recurrent(folder / "recurrent.gguf", folder / "last.gguf")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, model_file: Path) -> Iterator[RunningServer]:
    catalog = folder / "models.yaml"
    catalog.write_text(
        f"smollm2: {{path: {model_file}, threads: 1}}\n"
        f"told: {{path: {folder}/told.gguf, threads: 1, pooling: cls}}\n"
        f"last: {{path: {folder}/last.gguf, threads: 1, pooling: last}}\n"
        f"swift: {{path: {folder}/swift.gguf, threads: 1, context_length: 4096, chat_template: '{TEMPLATE}'}}\n"
        + "".join(
            f"{name}: {{path: {folder}/{name}.gguf, threads: 1}}\n"
            for name in ("encoder", "first", "ranker", "tokens", "recurrent")
        )
    )
    arguments = ("--models-yaml", str(catalog), "--preload", "smollm2", "--preload", "encoder")
    with launch(folder / "server.log", folder, *arguments) as running:
        yield running
        assert running.stop() == 0
    errors = [line for line in (folder / "server.log").read_text().splitlines() if " ERROR " in line]
    assert [line for line in errors if "was ended by SIGKILL" not in line] == []


@pytest.fixture
def stub(server: RunningServer) -> embedding_pb2_grpc.EmbeddingServiceStub:
    return embedding_pb2_grpc.EmbeddingServiceStub(server.channel)


def request(*texts: str, model: str = "swift", **fields: Any) -> embedding_pb2.CreateEmbeddingsRequest:
    inputs = [embedding_pb2.EmbeddingInput(text=text) for text in texts]
    return embedding_pb2.CreateEmbeddingsRequest(model=model, input=inputs, **fields)


def assert_alike(vectors: Any, expected: Any, tolerance: float = 1e-4) -> None:
    """Both are of length 1 and point the same way."""
    first, second = np.array(vectors, np.float64), np.array(expected, np.float64)
    assert first.shape == second.shape
    assert np.linalg.norm(first, axis=-1) == pytest.approx(np.ones(len(first)), abs=1e-5)
    assert (first * second).sum(axis=-1) == pytest.approx(np.ones(len(first)), abs=tolerance)


def test_a_model_that_generates_embeds_as_llama_cpp_does(client: Client, model_file: Path) -> None:
    expected = reference(model_file, PoolingType.MEAN, TEXTS)
    alone = [client.embeddings.create(model="smollm2", input=text)[0] for text in TEXTS]
    assert_alike(alone, expected, 1e-5)
    # With quantised weights, a last bit that differs in other company grows.
    answer = client.embeddings.create(model="smollm2", input=TEXTS)
    assert_alike(answer.vectors, expected, 1e-4)
    assert answer.model == "smollm2"
    alike = np.array(answer.vectors) @ np.array(answer.vectors).T
    assert alike.max() > alike.min() + 0.05, "they are not all the same"


def test_an_encoder_embeds_as_llama_cpp_does(client: Client, folder: Path) -> None:
    vectors = {}
    for name, pooling in (("encoder", PoolingType.MEAN), ("first", PoolingType.CLS)):
        vectors[name] = client.embeddings.create(model=name, input=ENCODER_TEXTS).vectors
        assert_alike(vectors[name], reference(folder / f"{name}.gguf", pooling, ENCODER_TEXTS), 1e-5)
    assert np.abs(np.array(vectors["encoder"]) - np.array(vectors["first"])).max() > 0.05
    told = client.embeddings.create(model="told", input=ENCODER_TEXTS).vectors
    assert_alike(told, vectors["first"], 1e-6)


def test_the_last_token_where_models_yaml_says_so(client: Client, folder: Path) -> None:
    vectors = client.embeddings.create(model="last", input=ENCODER_TEXTS).vectors
    assert_alike(vectors, reference(folder / "last.gguf", PoolingType.LAST, ENCODER_TEXTS), 1e-4)


@pytest.mark.parametrize("model", ["swift", "encoder", "recurrent"])
def test_company_changes_nothing(client: Client, model: str) -> None:
    texts = [f"{text} {number}"[:50] for number in range(12) for text in ENCODER_TEXTS]
    with ThreadPoolExecutor(8) as pool:
        alone = list(pool.map(lambda text: client.embeddings.create(model=model, input=text)[0], texts[:6]))
    together = client.embeddings.create(model=model, input=texts)
    assert len(together) == len(texts)
    assert_alike(together.vectors[:6], alone)
    with ThreadPoolExecutor(8) as pool:
        crowd = list(
            pool.map(lambda text: client.embeddings.create(model=model, input=[text, "a"])[0], texts)
        )
    assert_alike(crowd, together.vectors)


@pytest.mark.parametrize("model", ["swift", "recurrent"])
def test_a_text_that_is_computed_in_parts(client: Client, folder: Path, model: str) -> None:
    texts = ["fox", LONG_TEXT[:800], "sky"]
    answer = client.embeddings.create(model=model, input=texts)
    assert answer.usage.prompt_tokens > 800
    file = folder / f"{model}.gguf"
    assert_alike(answer.vectors, reference(file, PoolingType.MEAN, texts), 1e-3)


def test_openai_s_sdk_gets_the_same_in_either_encoding(sdk: openai.OpenAI, client: Client) -> None:
    expected = client.embeddings.create(model="smollm2", input=TEXTS)
    in_base64 = sdk.embeddings.create(model="smollm2", input=TEXTS)
    in_numbers = sdk.embeddings.create(model="smollm2", input=TEXTS, encoding_format="float")
    assert [entry.index for entry in in_base64.data] == list(range(len(TEXTS)))
    assert_alike([entry.embedding for entry in in_base64.data], expected.vectors)
    assert_alike([entry.embedding for entry in in_numbers.data], expected.vectors)
    assert in_base64.usage.prompt_tokens == in_numbers.usage.total_tokens == expected.usage.prompt_tokens
    assert (in_base64.object, in_base64.model, in_base64.data[0].object) == ("list", "smollm2", "embedding")


def test_base64_is_little_endian_float32(server: RunningServer) -> None:
    said = []
    with http_client(server.http_address) as http:
        for form in ("float", "base64"):
            body = {"model": "encoder", "input": "the fox", "encoding_format": form}
            said.append(http.post("/v1/embeddings", json=body).json()["data"][0]["embedding"])
    numbers, encoded = said
    assert struct.unpack(f"<{WIDTH}f", base64.b64decode(encoded)) == tuple(numbers)


def test_tokens_are_the_text_that_they_stand_for(server: RunningServer, sdk: openai.OpenAI) -> None:
    def tokenize(text: str) -> list[int]:
        message = tokenizer_pb2.TokenizeRequest(model="encoder", text=text)
        return list(server.tokenizer.Tokenize(message).tokens)

    texts = ENCODER_TEXTS[:2]
    tokens = [tokenize(text) for text in texts]
    from_texts = sdk.embeddings.create(model="encoder", input=texts)
    from_tokens = sdk.embeddings.create(model="encoder", input=tokens)
    assert_alike([e.embedding for e in from_tokens.data], [e.embedding for e in from_texts.data], 1e-6)
    assert from_tokens.usage.prompt_tokens == sum(map(len, tokens)) == from_texts.usage.prompt_tokens
    single = sdk.embeddings.create(model="encoder", input=tokens[1])
    assert_alike([single.data[0].embedding], [from_texts.data[1].embedding], 1e-6)


def test_fewer_dimensions_are_the_first_ones_scaled_again(sdk: openai.OpenAI) -> None:
    whole = np.array(sdk.embeddings.create(model="smollm2", input="fox").data[0].embedding)
    short = np.array(sdk.embeddings.create(model="smollm2", input="fox", dimensions=64).data[0].embedding)
    assert len(whole) == 576
    assert short == pytest.approx(whole[:64] / np.linalg.norm(whole[:64]), abs=1e-3)
    assert np.linalg.norm(short) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "param", "words", "code"),
    [
        ({"input": ["a", "b", "c", ""]}, "input[3]", "is empty", None),
        ({"input": ""}, "input", "is empty", None),
        ({"input": []}, "input", "at least one entry", None),
        (
            {"input": ["a", "b", "c", "fox " * 80], "model": "encoder"},
            "input[3]",
            f"the model's context has {CONTEXT_LENGTH}",
            "context_length_exceeded",
        ),
        (
            {"input": [1] * (CONTEXT_LENGTH + 1), "model": "encoder"},
            "input",
            "has 65 tokens",
            "context_length_exceeded",
        ),
        ({"input": [[1], [2, 10_000]], "model": "encoder"}, "input[1][1]", "is not in [0, ", None),
        ({"input": [1, -1], "model": "encoder"}, "input[1]", "is not in [0, ", None),
        ({"dimensions": WIDTH + 1, "model": "encoder"}, "dimensions", f"vectors have {WIDTH}", None),
        ({"dimensions": 0}, "dimensions", "at least 1", None),
    ],
)
def test_a_bad_request_names_its_field(
    sdk: openai.OpenAI, fields: dict[str, Any], param: str, words: str, code: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.embeddings.create(**{"model": "smollm2", "input": "x", **fields})
    assert (caught.value.param, caught.value.code) == (param, code)
    assert words in caught.value.message


def test_grpc_names_it_too(client: Client) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.embeddings.create(model="encoder", input=["a", "fox " * 80])
    assert caught.value.reason == "CONTEXT_LENGTH_EXCEEDED"
    assert list(caught.value.fields) == ["input[1]"]


def test_what_a_model_can_not_do_is_a_failed_precondition(server: RunningServer, client: Client) -> None:
    for model, why in (("ranker", "ranks texts"), ("tokens", "`pooling` in models.yaml")):
        with pytest.raises(UnsupportedError, match=why) as caught:
            client.embeddings.create(model=model, input="x")
        assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
        assert (caught.value.reason, list(caught.value.fields)) == ("NO_EMBEDDINGS", ["model"])
        assert list(server.model(model).facts.capabilities) == []
    for call in (
        lambda: server.chat.CreateChatCompletion(ask("x", model="encoder")),
        lambda: list(server.chat.StreamChatCompletion(ask("x", model="encoder"))),
    ):
        error = failure_of(call)
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert reason_of(error) == "NOT_GENERATIVE"
    with pytest.raises(UnsupportedError, match="generates nothing"):
        client.completions.create(model="encoder", prompt="x")
    response = httpx.post(
        f"http://{server.http_address}/v1/embeddings", json={"model": "ranker", "input": "x"}, trust_env=False
    )
    assert (response.status_code, response.json()["error"]["param"]) == (400, "model")


def test_what_a_model_can_do_is_told(server: RunningServer) -> None:
    encoder = server.model("encoder").facts
    assert list(encoder.capabilities) == [EMBEDDINGS]
    assert (encoder.context_length, encoder.embedding_length) == (CONTEXT_LENGTH, WIDTH)
    assert (encoder.kv_cache_tokens, encoder.architecture) == (0, "bert")
    facts = server.model().facts
    assert list(facts.capabilities) == [model_pb2.MODEL_CAPABILITY_CHAT, EMBEDDINGS]
    assert facts.embedding_length == 576


def test_the_service_has_health_and_is_reflected(server: RunningServer) -> None:
    assert server.is_serving(SERVICE)
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    (response,) = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    assert SERVICE in {service.name for service in response.list_services_response.service}


def test_a_stream_goes_on_while_a_library_is_embedded(
    server: RunningServer, stub: embedding_pb2_grpc.EmbeddingServiceStub
) -> None:
    story = ask("Write a story about a fox.", max_tokens=24, model="swift", logit_bias=NO_END)
    alone = server.chat.CreateChatCompletion(story).choices[0].message.content
    stream = server.chat.StreamChatCompletion(endless(model="swift", max_tokens=3000))
    next(stream)
    library = stub.CreateEmbeddings.future(request(*[LONG_TEXT] * 3))
    num_chunks = 0
    for _ in stream:
        num_chunks += 1
        if library.done():
            break
    assert num_chunks > 3
    assert len(library.result().data) == 3
    stream.cancel()
    both = stub.CreateEmbeddings.future(request(*TEXTS * 4))
    assert server.chat.CreateChatCompletion(story).choices[0].message.content == alone
    assert len(both.result().data) == 4 * len(TEXTS)


def test_a_question_does_not_wait_for_a_library(stub: embedding_pb2_grpc.EmbeddingServiceStub) -> None:
    library = stub.CreateEmbeddings.future(request(*[LONG_TEXT] * 40))
    assert len(stub.CreateEmbeddings(request("Why?")).data) == 1
    assert not library.done()
    library.cancel()


def test_a_cancel_and_a_deadline_end_the_work(
    server: RunningServer, stub: embedding_pb2_grpc.EmbeddingServiceStub
) -> None:
    library = request(*[LONG_TEXT] * 90)
    running = stub.CreateEmbeddings.future(library)
    wait_until(lambda: server.model("swift").active_requests == 1)
    running.cancel()
    wait_until(lambda: server.model("swift").active_requests == 0)
    error = failure_of(lambda: stub.CreateEmbeddings(library, timeout=0.3))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: server.model("swift").active_requests == 0)
    assert len(stub.CreateEmbeddings(request("x")).data) == 1


def test_whoever_hangs_up_is_not_worked_for(server: RunningServer) -> None:
    body = {"model": "swift", "input": [LONG_TEXT] * 90}
    with http_client(server.http_address) as http, pytest.raises(httpx.ReadTimeout):
        http.post("/v1/embeddings", json=body, timeout=0.5)
    wait_until(lambda: server.model("swift").active_requests == 0)


@pytest.mark.parametrize("model", ["swift", "encoder"])
def test_a_worker_s_death_shows_in_nothing_but_the_time(
    server: RunningServer, stub: embedding_pb2_grpc.EmbeddingServiceStub, folder: Path, model: str
) -> None:
    texts = [LONG_TEXT] * 10 if model == "swift" else ENCODER_TEXTS * 400
    expected = stub.CreateEmbeddings(request(*texts, model=model))
    worker = server.worker_of(folder / f"{model}.gguf")
    if model == "encoder":
        os.kill(worker, signal.SIGSTOP)  # it would be done before anybody looks
    again = stub.CreateEmbeddings.future(request(*texts, model=model))
    wait_until(lambda: server.model(model).active_requests == 1)
    os.kill(worker, signal.SIGKILL)
    response = again.result()
    assert_alike([entry.values for entry in response.data], [entry.values for entry in expected.data])
    assert response.usage == expected.usage


async def test_the_asyncio_client(server: RunningServer) -> None:
    async with AsyncClient(server.grpc_address) as client:
        answer = await client.embeddings.create(model="encoder", input=ENCODER_TEXTS)
    assert len(answer) == len(ENCODER_TEXTS)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
