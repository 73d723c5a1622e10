"""Embeddings over HTTP: what the service is asked, and what its answer becomes."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from llamawire.v1 import embedding_pb2
from llamawire_server.errors import Condition, FieldViolation, ServiceError, invalid, unsupported
from llamawire_server.shim.embeddings.request_schema import EmbeddingRequest
from llamawire_server.shim.embeddings.response_schema import EmbeddingList

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/v1/embeddings"
# Numbers that float32 has exactly, and one that it does not.
VECTORS = [[0.5, -0.25, 0.1], [1.0, 0.0, 2.0**-30]]


def answer(*vectors: list[float]) -> embedding_pb2.CreateEmbeddingsResponse:
    data = [embedding_pb2.Embedding(index=index, values=values) for index, values in enumerate(vectors)]
    usage = embedding_pb2.EmbeddingUsage(prompt_tokens=7, total_tokens=7)
    return embedding_pb2.CreateEmbeddingsResponse(model="tiny", data=data, usage=usage)


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": "x", **fields}


def error_of(response: httpx.Response, status: int = 400) -> dict[str, Any]:
    assert response.status_code == status, response.text
    return response.json()["error"]


@pytest.fixture(autouse=True)
def answered(service: Any) -> None:
    service.vectors = answer(*VECTORS)


@pytest_asyncio.fixture(loop_scope="module")
async def sdk(running, service) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_an_answer_with_numbers(http):
    response = await http.post(PATH, json=body())
    assert response.status_code == 200
    said = response.json()
    EmbeddingList.model_validate(said)
    assert (said["object"], said["model"]) == ("list", "tiny")
    assert said["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert [(entry["object"], entry["index"]) for entry in said["data"]] == [
        ("embedding", 0),
        ("embedding", 1),
    ]
    packed = [struct.pack("<3f", *entry["embedding"]) for entry in said["data"]]
    assert packed == [struct.pack("<3f", *values) for values in VECTORS]


async def test_an_answer_in_base64_has_the_same_bits(http):
    response = await http.post(PATH, json=body(encoding_format="base64"))
    EmbeddingList.model_validate(response.json())
    decoded = [base64.b64decode(entry["embedding"]) for entry in response.json()["data"]]
    assert decoded == [struct.pack("<3f", *values) for values in VECTORS]


async def test_a_large_answer(http, service):
    service.vectors = answer(*[[1.0] * 4096] * 20)
    for form in ("float", "base64"):
        said = (await http.post(PATH, json=body(encoding_format=form))).json()
        assert len(said["data"]) == 20


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("x", [{"text": "x"}]),
        (["x", "y"], [{"text": "x"}, {"text": "y"}]),
        ([1, 2], [{"tokens": {"ids": [1, 2]}}]),
        ([[1, 2], [3]], [{"tokens": {"ids": [1, 2]}}, {"tokens": {"ids": [3]}}]),
        ("", [{"text": ""}]),
        ([], []),
        ([[]], [{"tokens": {"ids": []}}]),
    ],
)
async def test_every_form_of_input(http, service, given, expected):
    await http.post(PATH, json=body(input=given))
    (request,) = service.requests
    assert request == embedding_pb2.CreateEmbeddingsRequest(model="m", input=expected)
    # What is in none of them is set even where it is empty.
    assert [entry.WhichOneof("input") for entry in request.input] == [next(iter(entry)) for entry in expected]


async def test_every_field_is_passed_on_or_has_no_effect(http, service):
    fields = {
        "dimensions": 2,
        "user": "u",
        "wait_for_model": False,
        "priority": -3,
        "encoding_format": "float",
    }
    assert (await http.post(PATH, json=body(**fields))).status_code == 200
    (request,) = service.requests
    assert (request.dimensions, request.user, request.wait_for_model, request.priority) == (2, "u", False, -3)
    nothing = dict.fromkeys(fields)
    assert (await http.post(PATH, json=body(**nothing))).status_code == 200
    assert service.requests[1] == embedding_pb2.CreateEmbeddingsRequest(model="m", input=[{"text": "x"}])
    assert set(fields) | {"model", "input"} == set(EmbeddingRequest.model_fields)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"input": None}, "input", "is required"),
        ({"input": 7}, "input", "wrong type"),
        ({"input": {"a": 1}}, "input", "wrong type"),
        ({"input": ["x", 7]}, "input[1]", "a valid string"),
        ({"input": [1, "x"]}, "input[1]", "a valid integer"),
        ({"input": [1, 2.5]}, "input[1]", "integer"),
        ({"input": [[1], "x"]}, "input[1]", "an array"),
        ({"input": [[1], [2, "x"]]}, "input[1][1]", "a valid integer"),
        ({"input": [2**31]}, "input[0]", "2147483647"),
        ({"input": ["x"] * 2049}, "input", "has 2049 entries; at most 2048"),
        ({"input": [[1]] * 2049}, "input", "has 2049 entries; at most 2048"),
        ({"model": None}, "model", "is required"),
        ({"encoding_format": "int8"}, "encoding_format", "'float' or 'base64'"),
        ({"dimensions": "2"}, "dimensions", "a valid integer"),
        ({"normalize": True}, "normalize", "unknown field"),
    ],
)
async def test_a_bad_field_is_named(http, service, fields, param, words):
    asked = {name: value for name, value in body(**fields).items() if value is not None}
    error = error_of(await http.post(PATH, json=asked))
    assert error["param"] == param
    assert words in error["message"]
    assert service.requests == []


@pytest.mark.parametrize(
    ("given", "field", "param"),
    [
        ("x", "input[0]", "input"),
        ([1, 2], "input[0]", "input"),
        ([1, 2], "input[0].tokens.ids[1]", "input[1]"),
        (["x", "y"], "input[1]", "input[1]"),
        ([[1], [2, 3]], "input[1].tokens.ids[1]", "input[1][1]"),
        ("x", "dimensions", "dimensions"),
    ],
)
async def test_what_the_service_refuses_has_the_name_that_the_caller_used(http, service, given, field, param):
    service.vectors = invalid([FieldViolation(field, "is bad")])
    error = error_of(await http.post(PATH, json=body(input=given)))
    assert (error["param"], error["message"]) == (param, f"{param}: is bad")


async def test_the_model_can_not(http, service):
    service.vectors = unsupported([FieldViolation("model", "ranks texts")])
    error = error_of(await http.post(PATH, json=body()))
    assert (error["type"], error["param"]) == ("invalid_request_error", "model")


async def test_a_context_that_is_too_short_has_openai_s_code(http, service):
    service.vectors = ServiceError(
        Condition.INVALID,
        "CONTEXT_LENGTH_EXCEEDED",
        "input[3] has 9 tokens",
        violations=[FieldViolation("input[3]", "input[3] has 9 tokens")],
    )
    error = error_of(await http.post(PATH, json=body(input=["x"] * 4)))
    assert (error["param"], error["code"]) == ("input[3]", "context_length_exceeded")
    assert error["message"] == "input[3] has 9 tokens"


async def test_openai_s_sdk_asks_for_base64_and_gives_numbers(sdk, service):
    said = await sdk.embeddings.create(model="m", input=["x", "y"])
    packed = [struct.pack("<3f", *entry.embedding) for entry in said.data]
    assert packed == [struct.pack("<3f", *values) for values in VECTORS]
    assert said.usage.prompt_tokens == 7
    numbers = await sdk.embeddings.create(model="m", input=["x", "y"], encoding_format="float")
    assert [struct.pack("<3f", *entry.embedding) for entry in numbers.data] == packed


async def test_the_description(http):
    description = (await http.get("/openapi.json")).json()
    operation = description["paths"][PATH]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert schema.endswith("/EmbeddingRequest")
    assert "Error" in operation["responses"]["400"]["content"]["application/json"]["schema"]["$ref"]


async def test_every_field_of_a_request_is_in_the_docs():
    page = (Path(__file__).parents[3] / "docs/openai.md").read_text()
    section = page[page.index("## Embeddings") :]
    for name in EmbeddingRequest.model_fields:
        assert re.search(rf"`{name}\b", section), name
