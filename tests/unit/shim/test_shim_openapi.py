"""The description of the API, against what is served."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from llamawire.v1 import model_pb2
from llamawire_server.errors import Condition, ServiceError
from llamawire_server.shim.chat import response_schema
from llamawire_server.shim.chat.request_schema import ChatCompletionRequest
from llamawire_server.shim.http import response_types
from llamawire_server.shim.models import schema as model_schema

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def description(http) -> dict[str, Any]:
    response = await http.get("/openapi.json")
    assert response.status_code == 200
    return response.json()


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for member in value.values():
            yield from references(member)
    elif isinstance(value, list):
        for member in value:
            yield from references(member)


def schema_of(response: dict[str, Any], media_type: str = "application/json") -> str:
    return response["content"][media_type]["schema"]["$ref"].removeprefix("#/components/schemas/")


async def test_the_paths(description):
    paths = {path: list(operations) for path, operations in description["paths"].items()}
    assert paths == {
        "/v1/chat/completions": ["post"],
        "/v1/completions": ["post"],
        "/v1/embeddings": ["post"],
        "/v1/responses": ["post"],
        "/v1/responses/{id}": ["get", "delete"],
        "/v1/responses/{id}/input_items": ["get"],
        "/v1/messages": ["post"],
        "/v1/messages/count_tokens": ["post"],
        "/v1/models": ["get"],
        "/v1/models/{id}": ["get"],
        "/tokenize": ["post"],
        "/detokenize": ["post"],
        "/apply-template": ["post"],
        "/healthz": ["get"],
        "/readyz": ["get"],
    }


async def test_every_reference_leads_somewhere(description):
    schemas = description["components"]["schemas"]
    found = set(references(description))
    assert found == {f"#/components/schemas/{name}" for name in schemas}


async def test_the_chat_request_and_its_answers(description):
    chat = description["paths"]["/v1/chat/completions"]["post"]
    assert schema_of(chat["requestBody"]) == "ChatCompletionRequest"
    assert schema_of(chat["responses"]["200"]) == "ChatCompletion"
    assert schema_of(chat["responses"]["200"], "text/event-stream") == "ChatCompletionChunk"
    errors = {status for status, answer in chat["responses"].items() if "Error" in schema_of(answer)}
    assert errors == set(chat["responses"]) - {"200"}
    assert errors >= {str(condition.value.http_status) for condition in Condition} - {"401", "403"}
    assert "422" not in chat["responses"]


async def test_nothing_else_is_taken_or_sent_than_described(description):
    for name, schema in description["components"]["schemas"].items():
        assert schema["additionalProperties"] is False, name


async def test_every_field_of_a_request_is_in_the_docs():
    docs = (Path(__file__).parents[3] / "docs/openai.md").read_text()
    for name in ChatCompletionRequest.model_fields:
        assert re.search(rf"`{name}\b", docs), name


async def test_retry_headers_are_described_where_they_are_sent(description):
    responses = description["paths"]["/v1/chat/completions"]["post"]["responses"]
    for status, answer in responses.items():
        assert "x-request-id" in answer["headers"]
        assert ("retry-after" in answer["headers"]) == (status in ("429", "503"))
        assert ("x-should-retry" in answer["headers"]) == (status in ("500", "504"))


async def test_what_is_served_is_what_is_described(http, service, script, chat_body):
    service.answer, service.steps = script.completion(), script.stream("Hello")
    service.models = [model_pb2.Model(name="tiny")]
    answers = {
        response_schema.ChatCompletion: await http.post("/v1/chat/completions", json=chat_body),
        model_schema.ModelList: await http.get("/v1/models"),
        model_schema.Model: await http.get("/v1/models/tiny"),
        response_types.Error: await http.get("/v1/models/huge"),
        response_types.Health: await http.get("/healthz"),
    }
    for model, response in answers.items():
        model.model_validate(response.json())
    body = {**chat_body, "stream": True, "stream_options": {"include_usage": True}}
    *events, done, nothing = (await http.post("/v1/chat/completions", json=body)).text.split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    for event in events:
        response_schema.ChatCompletionChunk.model_validate(json.loads(event.removeprefix("data: ")))


async def test_the_page_for_people(http):
    page = await http.get("/docs")
    assert page.status_code == 200
    assert "/openapi.json" in page.text


async def test_health_and_readiness(http, service):
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    assert (await http.get("/readyz")).json() == {"status": "ready"}
    service.serving = False
    assert (await http.get("/healthz")).status_code == 200
    refused = await http.get("/readyz")
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "10"
    response_types.Error.model_validate(refused.json())


@pytest.mark.parametrize("condition", list(Condition))
async def test_every_condition_has_its_row(http, service, chat_body, condition):
    service.answer = ServiceError(condition, "REASON", "what happened", retry_seconds=None)
    response = await http.post("/v1/chat/completions", json=chat_body)
    row = condition.value
    assert response.status_code == row.http_status
    assert response.json()["error"] == {
        "message": "what happened",
        "type": row.openai_type,
        "param": None,
        "code": row.openai_code,
    }
    assert ("retry-after" in response.headers) == (row.http_status in (429, 503))
    assert ("x-should-retry" in response.headers) == (row.http_status in (500, 504))


async def test_events_of_several_types_are_described(description):
    for path in ("/v1/responses", "/v1/messages"):
        content = description["paths"][path]["post"]["responses"]["200"]["content"]
        assert len(content["text/event-stream"]["schema"]["oneOf"]) > 5


async def test_failures_are_described_in_the_form_that_they_have(description):
    paths = description["paths"]
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        refused = paths[path]["post"]["responses"]["400"]
        assert schema_of(refused) == "MessageError"
        assert "request-id" in refused["headers"]
    assert schema_of(paths["/v1/responses"]["post"]["responses"]["400"]) == "Error"


async def test_no_two_schemas_have_one_name(description):
    """Where there are two, both are called by their modules, too."""
    assert not [name for name in description["components"]["schemas"] if "__" in name]
