"""Health, the description of the API, and the real server's answers held against it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from callers import chat_body, events_of, http_client
from pydantic import BaseModel, ValidationError
from servers import RunningServer, StartServer

from llamawire_server.shim.chat import request_schema, response_schema
from llamawire_server.shim.http import response_types
from llamawire_server.shim.models import schema as model_schema

STORY = chat_body("Write a story about a fox.")


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with http_client(server.http_address) as client:
        yield client


def ask_http(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/chat/completions", json={**STORY, **fields})


def test_health_and_readiness(http: httpx.Client) -> None:
    for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
        response = http.get(path)
        assert (response.status_code, response.json()) == (200, {"status": status})
        response_types.Health.model_validate_json(response.content)


def test_a_server_without_models_is_ready(start_server: StartServer) -> None:
    """Nothing is loaded yet, and everything can be."""
    with http_client(start_server().http_address) as http:
        assert http.get("/readyz").status_code == 200
        assert [model["id"] for model in http.get("/v1/models").json()["data"]] == ["smollm2"]


def test_the_page_for_people_shows_the_description(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "/openapi.json" in page.text


def schemas(http: httpx.Client) -> dict[str, Any]:
    description = http.get("/openapi.json").json()
    assert description["openapi"].startswith("3.")
    found: dict[str, Any] = description["components"]["schemas"]
    return found


@pytest.mark.parametrize(
    "model",
    [
        response_schema.ChatCompletion,
        response_schema.ChatCompletionChunk,
        model_schema.Model,
        model_schema.ModelList,
        response_types.Error,
        response_types.Health,
        request_schema.ChatCompletionRequest,
    ],
)
def test_the_served_description_is_that_of_these_models(http: httpx.Client, model: type[BaseModel]) -> None:
    """So that what is valid for a model, as below, is valid for the description."""
    served = schemas(http)[model.__name__]
    made = model.model_json_schema(ref_template="#/components/schemas/{model}")
    made.pop("$defs", None)
    assert served == made


def test_a_whole_answer_is_as_described(http: httpx.Client) -> None:
    answer = response_schema.ChatCompletion.model_validate_json(ask_http(http, n=2).content)
    assert len(answer.choices) == 2
    assert answer.timings.generation_seconds > 0


@pytest.mark.parametrize("include_usage", [False, True])
def test_every_chunk_is_as_described(http: httpx.Client, include_usage: bool) -> None:
    options = {"include_usage": include_usage}
    events = events_of(ask_http(http, stream=True, stream_options=options))
    chunks = [response_schema.ChatCompletionChunk.model_validate_json(json.dumps(event)) for event in events]
    assert (chunks[-1].usage is not None) is include_usage
    assert (chunks[-1].timings is not None) is include_usage


def test_models_are_as_described(http: httpx.Client) -> None:
    listed = model_schema.ModelList.model_validate_json(http.get("/v1/models").content)
    model = model_schema.Model.model_validate_json(http.get("/v1/models/smollm2").content)
    assert model in listed.data


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"model": "smollm3"}, 404),
        ({"temperature": 9}, 400),
        ({"bogus": 1}, 400),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "word"}}}]}, 400),
        ({"max_tokens": 8192}, 400),
        ({"user": "x" * (17 * 1024 * 1024)}, 413),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_errors_are_as_described(http: httpx.Client, fields: dict[str, Any], status: int) -> None:
    response = ask_http(http, **fields)
    assert response.status_code == status
    response_types.Error.model_validate_json(response.content)
    described = http.get("/openapi.json").json()["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert str(status) in described
    assert "x-request-id" in response.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("GET", "/v1/chat/completions", 405), ("POST", "/healthz", 405)],
)
def test_paths_and_methods_that_are_not_there(
    http: httpx.Client, method: str, path: str, status: int
) -> None:
    response = http.request(method, path)
    assert response.status_code == status
    error = response_types.Error.model_validate_json(response.content).error
    assert error.type == "invalid_request_error"
    assert path in error.message


@pytest.mark.parametrize(
    ("content", "content_type", "complaint"),
    [
        (b"{", "application/json", "not valid JSON"),
        (b"", "application/json", "not valid JSON"),
        (b"[]", "application/json", "must be a JSON object"),
        (b'{"temperature": NaN}', "application/json", "not valid JSON"),
        (b'{"model": "\xff\xfe"}', "application/json", "not valid JSON"),
        (b"[" * 100_000, "application/json", "not valid JSON"),
        (b"model=smollm2", "application/x-www-form-urlencoded", "content type must be application/json"),
        (b"{}", "application/json; charset=latin-1", "UTF-8"),
    ],
)
def test_a_body_that_is_no_request(
    http: httpx.Client, content: bytes, content_type: str, complaint: str
) -> None:
    response = http.post("/v1/chat/completions", content=content, headers={"content-type": content_type})
    assert response.status_code == 400
    assert complaint in response_types.Error.model_validate_json(response.content).error.message


def test_the_models_are_strict_enough_to_tell(http: httpx.Client) -> None:
    """A wrong answer would not pass."""
    answer = ask_http(http, max_tokens=1).json()
    for wrong in (
        {**answer, "bogus": 1},
        {**answer, "created": "now"},
        {name: value for name, value in answer.items() if name != "usage"},
        {**answer, "choices": [{**answer["choices"][0], "finish_reason": "tired"}]},
    ):
        with pytest.raises(ValidationError):
            response_schema.ChatCompletion.model_validate_json(json.dumps(wrong))
