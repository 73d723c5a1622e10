"""Responses over HTTP: whole ones, kept ones, and what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from named_events import tool_call
from openai.types import responses as sdk

from llamawire.v1 import chat_pb2
from llamawire_server.errors import Condition, ServiceError, invalid_field
from llamawire_server.shim.http.response_types import Error
from llamawire_server.shim.responses import response_schema as schema

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESPONSES = "/v1/responses"
HI = {"model": "smollm2", "input": "Hi"}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}


async def respond(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """The response to a request, which is as it is described and as the SDK has it."""
    answer = await http.post(RESPONSES, json=HI | fields)
    assert answer.status_code == 200, answer.text
    schema.ResponseObject.model_validate(answer.json())
    sdk.Response.model_validate(answer.json())
    return answer.json()


async def refused(http: httpx.AsyncClient, status: int = 400, **fields: Any) -> dict[str, Any]:
    answer = await http.post(RESPONSES, json=HI | fields)
    assert answer.status_code == status, answer.text
    Error.model_validate(answer.json())
    return answer.json()["error"]


async def test_a_whole_response(http, service, script):
    service.answer = script.completion()
    response = await respond(http, metadata={"a": "b"}, temperature=0)
    assert response.pop("id").startswith("resp_")
    assert response["output"][0].pop("id").startswith("msg_")
    assert response.pop("created_at") <= response.pop("completed_at")
    assert response.pop("timings")["generation_seconds"] == 1.5
    assert response == {
        "object": "response",
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "model": "smollm2",
        "output": [
            {
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello"}],
            }
        ],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": True,
        "temperature": 0.0,
        "text": {"format": {"type": "text"}, "verbosity": None},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": None,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 7,
            "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 1},
            "total_tokens": 9,
        },
        "user": None,
        "metadata": {"a": "b"},
    }


async def test_what_was_asked_comes_back(http, service, script):
    service.answer = script.completion()
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    asked = {
        "instructions": "Be brief.",
        "tools": [FUNCTION],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "text": {"format": form, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "max_output_tokens": 5,
        "store": False,
        "top_logprobs": 2,
        "include": ["message.output_text.logprobs"],
    }
    response = await respond(http, **asked)
    del asked["include"]
    assert response["tools"] == [{**FUNCTION, "description": None, "strict": True}]
    assert {name: response[name] for name in asked if name != "tools"} == {
        name: value for name, value in asked.items() if name != "tools"
    }


async def test_reasoning_text_and_calls_are_items(http, service, script):
    service.answer = script.completion(
        script.choice(
            finish_reason=chat_pb2.FINISH_REASON_TOOL_CALLS,
            content="Let me look.",
            reasoning_content="hm",
            tool_calls=[tool_call("call_a", "f", '{"a":1}'), tool_call("call_b", "f", "{}")],
        )
    )
    response = await respond(http, tools=[FUNCTION])
    assert [item["type"] for item in response["output"]] == ["reasoning", "message", *["function_call"] * 2]
    reasoning, _, first, second = response["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert reasoning["summary"] == []
    assert (first["call_id"], first["name"], first["arguments"]) == ("call_a", "f", '{"a":1}')
    assert second["call_id"] == "call_b"
    assert len({item["id"] for item in response["output"]}) == 4
    assert {item["status"] for item in response["output"]} == {"completed"}


@pytest.mark.parametrize(
    ("message", "types"),
    [
        ({"content": "Hel"}, ["message"]),
        ({"content": ""}, ["message"]),
        ({"content": "", "reasoning_content": "hm"}, ["reasoning"]),
        ({"content": "a", "tool_calls": [tool_call("c", "f", '{"a')]}, ["message", "function_call"]),
    ],
)
async def test_what_a_limit_cut_is_incomplete(http, service, script, message, types):
    service.answer = script.completion(script.choice(finish_reason=chat_pb2.FINISH_REASON_LENGTH, **message))
    response = await respond(http)
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["completed_at"] is None
    assert [item["type"] for item in response["output"]] == types
    assert [item["status"] for item in response["output"]] == [
        *["completed"] * (len(types) - 1),
        "incomplete",
    ]


async def test_no_text_at_all_is_an_empty_one(http, service, script):
    service.answer = script.completion(script.choice(content="", reasoning_content="hm"))
    response = await respond(http)
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    assert response["output"][1]["content"][0]["text"] == ""


async def test_an_answer_that_the_server_had_to_end_has_failed(http, service, script):
    reason = chat_pb2.FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE
    service.answer = script.completion(script.choice(finish_reason=reason, content="Hel"))
    response = await respond(http)
    assert response["status"] == "failed"
    assert response["error"]["code"] == "server_error"


async def test_refusals_and_log_probabilities(http, service, script):
    top = chat_pb2.TopLogprob(token="Hi", logprob=-0.5, bytes=b"Hi")
    token = chat_pb2.TokenLogprob(token="Hi", logprob=-0.5, bytes=b"Hi", top_logprobs=[top])
    choice = script.choice(content="Hi", refusal="No.")
    choice.logprobs.content.append(token)
    service.answer = script.completion(choice)
    response = await respond(http, include=["message.output_text.logprobs"], top_logprobs=1)
    text, refusal = response["output"][0]["content"]
    likely = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
    assert text["logprobs"] == [{**likely, "top_logprobs": [likely]}]
    assert refusal == {"type": "refusal", "refusal": "No."}
    assert service.requests[0].logprobs
    assert service.requests[0].top_logprobs == 1


async def test_a_response_goes_on_from_another(http, service, script):
    call = tool_call("call_a", "f", "{}")
    service.answer = script.completion(
        script.choice(finish_reason=chat_pb2.FINISH_REASON_TOOL_CALLS, tool_calls=[call])
    )
    first = await respond(http, instructions="Be brief.")
    service.answer = script.completion()
    output = [{"type": "function_call_output", "call_id": "call_a", "output": "sunny"}]
    second = await respond(http, input=output, previous_response_id=first["id"])
    assert second["previous_response_id"] == first["id"]
    third = await respond(http, input="Thanks", previous_response_id=second["id"])
    roles = [
        [chat_pb2.Role.Name(message.role) for message in request.messages] for request in service.requests
    ]
    assert roles == [
        ["ROLE_SYSTEM", "ROLE_USER"],
        ["ROLE_USER", "ROLE_ASSISTANT", "ROLE_TOOL"],
        ["ROLE_USER", "ROLE_ASSISTANT", "ROLE_TOOL", "ROLE_ASSISTANT", "ROLE_USER"],
    ], "instructions are those of their own request"
    assert list(service.requests[1].messages[1].tool_calls) == [call]
    assert service.requests[2].messages[3].content_parts[0].text == "Hello"
    listed = (await http.get(f"{RESPONSES}/{third['id']}/input_items", params={"order": "asc"})).json()
    schema.ResponseItems.model_validate(listed)
    assert [item["type"] for item in listed["data"]] == [
        "message",
        "function_call",
        "function_call_output",
        "message",
        "message",
    ]
    assert listed["data"][1] == first["output"][0]
    assert not listed["has_more"]


async def test_a_response_is_kept_until_it_is_deleted(http, service, script):
    service.answer = script.completion()
    response = await respond(http)
    path = f"{RESPONSES}/{response['id']}"
    assert (await http.get(path)).json() == response
    deleted = await http.delete(path)
    assert deleted.json() == {"id": response["id"], "object": "response", "deleted": True}
    for gone in (await http.get(path), await http.delete(path), await http.get(f"{path}/input_items")):
        assert gone.status_code == 404
        assert gone.json()["error"]["type"] == "invalid_request_error"
    error = await refused(http, previous_response_id=response["id"])
    assert (error["code"], error["param"]) == ("previous_response_not_found", "previous_response_id")
    assert response["id"] in error["message"]


async def test_what_is_not_to_be_stored_is_not(http, service, script):
    service.answer = script.completion()
    response = await respond(http, store=False)
    assert not response["store"]
    assert (await http.get(f"{RESPONSES}/{response['id']}")).status_code == 404


async def test_a_kept_response_is_whole(http, service, script):
    service.answer = script.completion()
    response = await respond(http)
    refused = await http.get(f"{RESPONSES}/{response['id']}", params={"stream": "true"})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "stream"


async def test_input_items_come_in_pages(http, service, script):
    service.answer = script.completion()
    given = [{"role": "user", "content": str(number), "id": f"msg_{number}"} for number in range(5)]
    response = await respond(http, input=given)
    path = f"{RESPONSES}/{response['id']}/input_items"

    async def page(**query: Any) -> tuple[list[str], bool]:
        listed = (await http.get(path, params=query)).json()
        schema.ResponseItems.model_validate(listed)
        sdk.ResponseItemList.model_validate(listed)
        ids = [item["id"] for item in listed["data"]]
        assert (listed["first_id"], listed["last_id"]) == (ids[0], ids[-1])
        return ids, listed["has_more"]

    assert await page() == (["msg_4", "msg_3", "msg_2", "msg_1", "msg_0"], False)
    assert await page(limit=2) == (["msg_4", "msg_3"], True)
    assert await page(limit=2, after="msg_3") == (["msg_2", "msg_1"], True)
    assert await page(limit=2, order="asc", after="msg_2") == (["msg_3", "msg_4"], False)
    for name, value in [("limit", 0), ("limit", 101), ("limit", "x"), ("order", "up"), ("after", "msg_9")]:
        bad = await http.get(path, params={name: value})
        assert bad.status_code == 400
        assert bad.json()["error"]["param"] == name
    last = (await http.get(path, params={"after": "msg_0"})).json()
    assert (last["data"], last["first_id"], last["has_more"]) == ([], None, False)


BAD_FIELDS = [
    ("temprature", {"temprature": 1}),
    ("input", {"input": 7}),
    ("input[0].type", {"input": [{"type": "web_search_call", "id": "w"}]}),
    ("input[0].type", {"input": [{"text": "Hi"}]}),
    ("input[0].role", {"input": [{"role": "tool", "content": "a"}]}),
    ("input[0].foo", {"input": [{"role": "user", "content": "a", "foo": 1}]}),
    ("input[0].content[0].type", {"input": [{"role": "user", "content": [{"type": "input_file"}]}]}),
    (
        "input[0].content[0].image_url",
        {"input": [{"role": "user", "content": [{"type": "input_image", "detail": "low"}]}]},
    ),
    (
        "input[0].content[0].file_id",
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
    ),
    (
        "input[0].encrypted_content",
        {"input": [{"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x"}]},
    ),
    ("tools[0].type", {"tools": [{"type": "web_search"}]}),
    ("tools[0].parameters", {"tools": [{**FUNCTION, "parameters": "{}"}]}),
    ("tools[0].async", {"tools": [{**FUNCTION, "async": True}]}),
    ("tool_choice.type", {"tool_choice": {"type": "mcp", "server_label": "s"}}),
    ("text.format.type", {"text": {"format": {"type": "xml"}}}),
    ("text.format.schema", {"text": {"format": {"type": "json_schema", "name": "n"}}}),
    ("reasoning.effort", {"reasoning": {"effort": "huge"}}),
    ("include[0]", {"include": ["file_search_call.results"]}),
    ("top_logprobs", {"top_logprobs": 3}),
    ("truncation", {"truncation": "auto"}),
    ("background", {"background": True}),
    ("conversation", {"conversation": "conv_1"}),
    ("prompt", {"prompt": {"id": "p"}}),
    ("moderation", {"moderation": {"model": "m"}}),
    ("stream", {"stream": "yes"}),
    ("store", {"store": "no"}),
]


@pytest.mark.parametrize(("param", "fields"), BAD_FIELDS, ids=[param for param, _ in BAD_FIELDS])
async def test_a_bad_field_is_named(http, service, param, fields):
    error = await refused(http, **fields)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert param in error["message"]
    assert service.requests == []


async def test_built_in_tools_are_refused_by_their_names(http):
    for name in ("web_search", "file_search", "code_interpreter", "mcp", "image_generation"):
        assert name in (await refused(http, tools=[{"type": name}]))["message"]


async def test_what_may_be_sent_without_effect(http, service, script):
    service.answer = script.completion()
    await respond(
        http,
        background=False,
        conversation=None,
        prompt_cache_key="k",
        safety_identifier="s",
        service_tier="auto",
        stream_options={"include_obfuscation": False},
        truncation="disabled",
        max_tool_calls=3,
        input=[
            {
                "role": "assistant",
                "phase": "final_answer",
                "content": [{"type": "output_text", "text": "a", "parsed": {"b": 1}, "logprobs": None}],
            },
            {
                "type": "function_call",
                "call_id": "c",
                "name": "f",
                "arguments": "{}",
                "async_": None,
                "parsed_arguments": {},
                "namespace": None,
            },
        ],
    )


async def test_the_service_s_complaints_are_in_the_caller_s_words(http, service):
    service.answer = invalid_field("messages[1].content_parts[0]", "is odd")
    given = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "input_text", "text": "b"}]},
    ]
    error = await refused(http, input=given)
    assert (error["param"], error["message"]) == ("input[1].content[0]", "input[1].content[0]: is odd")


async def test_an_error_is_a_plain_answer(http, service):
    service.answer = ServiceError(Condition.BUSY, "QUEUE_FULL", "the queue is full", retry_seconds=1)
    error = await refused(http, 429)
    assert error["type"] == "rate_limit_error"


async def test_too_many_items_are_refused_by_their_number(serve, service):
    async with serve(service, max_body_bytes=100_000) as running, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(running.url + RESPONSES, json={"model": "m", "input": [1] * 16_385})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "input"


async def test_a_long_conversation_is_read_in_a_thread(serve, service, script):
    """What it goes on from may be large, though the request is not."""
    service.answer = script.completion()
    async with (
        serve(service, max_body_bytes=1_000_000) as running,
        httpx.AsyncClient(base_url=running.url, trust_env=False) as http,
    ):
        first = await respond(http, input="x" * 200_000)
        await respond(http, previous_response_id=first["id"])
    assert len(service.requests[1].messages[0].content_parts[0].text) == 200_000
