"""Messages over HTTP: whole and streamed ones, counts, and failures in Anthropic's form."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from anthropic import types as sdk
from anthropic.types.shared import ErrorResponse
from named_events import call_delta, calls, events_of, reasoning, tool_call
from pydantic import TypeAdapter

from llamawire.v1 import chat_pb2
from llamawire_server.errors import Condition, FieldViolation, ServiceError, invalid_field
from llamawire_server.shim.messages import response_schema as schema

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = "/v1/messages"
COUNT = f"{MESSAGES}/count_tokens"
USER = {"role": "user", "content": "Hi"}
ASKED = {"model": "smollm2", "max_tokens": 9, "messages": [USER]}
TOOL = {"name": "f", "input_schema": {"type": "object"}}

SDK_EVENTS: TypeAdapter[Any] = TypeAdapter(sdk.RawMessageStreamEvent)
OWN_EVENTS = {
    "message_start": schema.MessageStartEvent,
    "content_block_start": schema.BlockStartEvent,
    "content_block_delta": schema.BlockDeltaEvent,
    "content_block_stop": schema.BlockStopEvent,
    "message_delta": schema.MessageDeltaEvent,
    "message_stop": schema.MessageStopEvent,
    "ping": schema.PingEvent,
    "error": schema.MessageError,
}


async def answer(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """The message to a request, which is as it is described and as the SDK has it."""
    response = await http.post(MESSAGES, json=ASKED | fields)
    assert response.status_code == 200, response.text
    schema.MessageObject.model_validate(response.json())
    sdk.Message.model_validate(response.json())
    return response.json()


async def stream(http: httpx.AsyncClient, **fields: Any) -> list[dict[str, Any]]:
    response = await http.post(MESSAGES, json=ASKED | fields | {"stream": True})
    assert response.status_code == 200, response.text
    return checked(response.text)


def checked(text: str) -> list[dict[str, Any]]:
    """The events of a stream, each of which is as it is described and as the SDK has it."""
    events = events_of(text)
    for event in events:
        OWN_EVENTS[event["type"]].model_validate(event)
        if event["type"] not in ("ping", "error"):
            SDK_EVENTS.validate_python(event)
    return events


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer that must have this status, in Anthropic's form."""
    assert response.status_code == status, response.text
    body = response.json()
    schema.MessageError.model_validate(body)
    if body["error"]["type"] != "request_too_large":  # which the SDK has no type for
        ErrorResponse.model_validate(body)
    assert body["request_id"] == response.headers["request-id"] == response.headers["x-request-id"]
    return body["error"]


async def test_a_whole_message(http, service, script):
    service.answer = script.completion()
    message = await answer(http)
    assert message.pop("id").startswith("msg_")
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "smollm2",
        "content": [{"type": "text", "text": "Hello", "citations": None}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 4,
            "cache_read_input_tokens": 3,
            "cache_creation_input_tokens": 0,
            "output_tokens": 2,
            "output_tokens_details": {"thinking_tokens": 1},
            "service_tier": "standard",
        },
    }


async def test_thinking_text_and_tools_are_blocks(http, service, script):
    arguments = '{"a": 123456789012345678901234567890}'
    service.answer = script.completion(
        script.choice(
            finish_reason=chat_pb2.FINISH_REASON_TOOL_CALLS,
            content="Let me look.",
            reasoning_content="hm",
            tool_calls=[tool_call("call_a", "f", arguments), tool_call("call_b", "f", "{}")],
        )
    )
    message = await answer(http, tools=[TOOL])
    assert message["stop_reason"] == "tool_use"
    thinking, text, first, second = message["content"]
    assert (thinking["thinking"], bool(thinking["signature"])) == ("hm", True)
    assert text["text"] == "Let me look."
    assert (first["id"], first["name"]) == ("call_a", "f")
    assert first["input"] == {"a": 123456789012345678901234567890}, "as it was generated"
    assert second["input"] == {}
    omitted = await answer(http, thinking={"type": "adaptive", "display": "omitted"})
    assert omitted["content"][0]["thinking"] == ""


@pytest.mark.parametrize(
    ("reason", "matched", "expected"),
    [
        (chat_pb2.FINISH_REASON_STOP, "", ("end_turn", None)),
        (chat_pb2.FINISH_REASON_STOP, "END", ("stop_sequence", "END")),
        (chat_pb2.FINISH_REASON_LENGTH, "", ("max_tokens", None)),
        (chat_pb2.FINISH_REASON_CONTENT_FILTER, "", ("refusal", None)),
        (chat_pb2.FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE, "", ("pause_turn", None)),
    ],
)
async def test_why_it_ended(http, service, script, reason, matched, expected):
    choice = script.choice(finish_reason=reason, content="Hel")
    choice.matched_stop = matched
    service.answer = script.completion(choice)
    message = await answer(http)
    assert (message["stop_reason"], message["stop_sequence"]) == expected
    finish = script.finish(reason)
    finish.matched_stop = matched
    service.steps = [*script.stream("Hel")[:-1], script.chunk(finish, usage=script.usage)]
    *_, delta, _ = await stream(http)
    assert (delta["delta"]["stop_reason"], delta["delta"]["stop_sequence"]) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"a": 1, "b": "cu', {"a": 1}),
        ('{"a": [1, 2', {"a": [1, 2]}),
        ("", {}),
        ('"text"', {}),
        ("{]", {}),
    ],
)
async def test_arguments_that_a_limit_cut_are_what_there_is_of_them(
    http, service, script, arguments, expected
):
    service.answer = script.completion(
        script.choice(
            finish_reason=chat_pb2.FINISH_REASON_LENGTH, tool_calls=[tool_call("call_a", "f", arguments)]
        )
    )
    message = await answer(http)
    assert message["stop_reason"] == "max_tokens"
    assert message["content"][0]["input"] == expected


async def test_a_message_may_have_nothing_in_it(http, service, script):
    service.answer = script.completion(script.choice(content=""))
    assert (await answer(http))["content"] == []
    service.steps = script.stream()
    assert [event["type"] for event in await stream(http)] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]


async def test_a_stream(http, service, script):
    service.steps = [
        script.chunk(script.role()),
        script.chunk(reasoning("h")),
        script.chunk(reasoning("m")),
        script.chunk(script.text("Let me ")),
        script.chunk(script.text("look.")),
        script.chunk(calls(call_delta(0, "", id="call_a", name="f"))),
        script.chunk(calls(call_delta(0, '{"a"'))),
        script.chunk(calls(call_delta(0, ":1}"), call_delta(1, "{}", id="call_b", name="g"))),
        script.chunk(script.finish(chat_pb2.FINISH_REASON_TOOL_CALLS), usage=script.usage),
    ]
    start, *events, delta, stop = await stream(http)
    assert start["message"]["content"] == []
    assert start["message"]["model"] == "smollm2"
    assert start["message"]["usage"]["input_tokens"] == 0
    blocks = [event for event in events if event["type"] != "content_block_delta"]
    assert [(event["type"].removeprefix("content_block_"), event["index"]) for event in blocks] == [
        (kind, index) for index in range(4) for kind in ("start", "stop")
    ]
    assert [event["delta"] for event in events if event["type"] == "content_block_delta"] == [
        {"type": "thinking_delta", "thinking": "h"},
        {"type": "thinking_delta", "thinking": "m"},
        {"type": "signature_delta", "signature": "llamawire"},
        {"type": "text_delta", "text": "Let me "},
        {"type": "text_delta", "text": "look."},
        {"type": "input_json_delta", "partial_json": '{"a"'},
        {"type": "input_json_delta", "partial_json": ":1}"},
        {"type": "input_json_delta", "partial_json": "{}"},
    ]
    assert blocks[4]["content_block"] == {"type": "tool_use", "id": "call_a", "name": "f", "input": {}}
    assert delta["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert delta["usage"] == {
        "input_tokens": 4,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 0,
        "output_tokens": 2,
        "output_tokens_details": {"thinking_tokens": 1},
    }
    assert stop == {"type": "message_stop"}


async def test_thinking_that_is_to_be_omitted(http, service, script):
    service.steps = [script.chunk(script.role()), script.chunk(reasoning("hm")), *script.stream("Hi")[1:]]
    events = await stream(http, thinking={"type": "enabled", "budget_tokens": 5, "display": "omitted"})
    assert [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"] == [
        "signature_delta",
        "text_delta",
    ]


async def test_a_waiting_stream_is_kept_alive(serve, service, script):
    go_on = asyncio.Event()
    service.steps = [go_on, *script.stream("Hello")]
    text = ""
    async with (
        serve(service, keep_alive_seconds=0.02) as running,
        httpx.AsyncClient(trust_env=False) as http,
        http.stream("POST", running.url + MESSAGES, json={**ASKED, "stream": True}) as response,
    ):
        async for piece in response.aiter_text():
            text += piece
            go_on.set()
    kinds = [event["type"] for event in checked(text)]
    assert kinds[:2] == ["message_start", "ping"]
    assert kinds.count("message_start") == 1
    assert kinds[-1] == "message_stop"


async def test_tokens_are_counted(http, service):
    service.num_prompt_tokens = 12
    fields = {name: value for name, value in ASKED.items() if name != "max_tokens"}
    response = await http.post(COUNT, json={**fields, "system": "Be brief.", "tools": [TOOL]})
    assert response.json() == {"input_tokens": 12}
    (counted,) = service.requests
    assert [message.role for message in counted.request.messages] == [
        chat_pb2.ROLE_SYSTEM,
        chat_pb2.ROLE_USER,
    ]
    assert counted.request.tools[0].function.name == "f"
    assert "max_tokens" in error_of(await http.post(COUNT, json=ASKED), 400)["message"]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Condition.INVALID, "invalid_request_error"),
        (Condition.UNSUPPORTED, "invalid_request_error"),
        (Condition.UNKNOWN_MODEL, "not_found_error"),
        (Condition.UNAUTHENTICATED, "authentication_error"),
        (Condition.FORBIDDEN, "permission_error"),
        (Condition.BUSY, "rate_limit_error"),
        (Condition.TOO_LARGE, "request_too_large"),
        (Condition.NOT_READY, "overloaded_error"),
        (Condition.DEADLINE, "timeout_error"),
        (Condition.CANCELLED, "api_error"),
        (Condition.ENGINE, "api_error"),
    ],
)
async def test_every_condition_has_its_type(http, service, script, condition, expected):
    service.answer = failure = ServiceError(condition, "REASON", "what happened")
    status = condition.value.http_status
    for path, body in ((MESSAGES, ASKED), (COUNT, {"model": "m", "messages": [USER]})):
        response = await http.post(path, json=body)
        assert error_of(response, status) == {"type": expected, "message": "what happened"}
        assert ("retry-after" in response.headers) == (status in (429, 503))
        assert ("x-should-retry" in response.headers) == (status in (500, 504))
    service.steps = [*script.stream("Hel")[:-1], failure]
    *_, last = await stream(http)
    assert last["error"] == {"type": expected, "message": "what happened"}
    assert last["request_id"] == service.calls[-1].request_id


async def test_what_nobody_foresaw_has_the_form_too(http, service, script, caplog):
    service.answer = KeyError("secret")
    error = error_of(await http.post(MESSAGES, json=ASKED), 500)
    assert error["type"] == "api_error"
    service.steps = [*script.stream("Hel")[:-1], KeyError("secret")]
    assert (await stream(http))[-1]["error"] == error
    assert "secret" not in error["message"]
    assert "secret" in caplog.text


async def test_so_have_bad_bodies_methods_and_paths(http):
    headers = {"content-type": "application/json"}
    assert error_of(await http.post(MESSAGES, content=b"{", headers=headers), 400)["type"] == (
        "invalid_request_error"
    )
    large = await http.post(MESSAGES, content=b" " * 100_000, headers=headers)
    assert error_of(large, 413)["type"] == "request_too_large"
    assert error_of(await http.get(MESSAGES), 405)["type"] == "invalid_request_error"
    assert error_of(await http.post(f"{MESSAGES}/batches", json={}), 404)["type"] == "not_found_error"


async def test_other_paths_keep_openai_s_form(http):
    for path in ("/v1/messagesx", "/v1/chat/completions", "/v1"):
        response = await http.get(path)
        assert list(response.json()) == ["error"]
        assert "request-id" not in response.headers


BAD_FIELDS = [
    ("max_tokens", {"max_tokens": None}),
    ("temprature", {"temprature": 1}),
    ("messages[0].role", {"messages": [{"role": "tool", "content": "a"}]}),
    ("messages[0].content", {"messages": [{"role": "user", "content": 7}]}),
    ("messages[0].content[0].type", {"messages": [{"role": "user", "content": [{"type": "document"}]}]}),
    (
        "messages[0].content[0].source.type",
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]},
    ),
    ("tools[0].type", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("tools[0].input_schema", {"tools": [{"name": "f"}]}),
    ("tools[0].defer_loading", {"tools": [{**TOOL, "defer_loading": True}]}),
    ("tool_choice.type", {"tool_choice": {"type": "some"}}),
    ("tool_choice.name", {"tool_choice": {"type": "tool"}}),
    ("thinking.budget_tokens", {"thinking": {"type": "enabled"}}),
    ("thinking.type", {"thinking": {"type": "on"}}),
    ("output_config.format.type", {"output_config": {"format": {"type": "xml", "schema": {}}}}),
    ("system[0].type", {"system": [{"type": "image"}]}),
    ("container", {"container": "c"}),
    ("mcp_servers", {"mcp_servers": []}),
]


@pytest.mark.parametrize(("name", "fields"), BAD_FIELDS, ids=[name for name, _ in BAD_FIELDS])
async def test_a_bad_field_is_named(http, service, name, fields):
    error = error_of(await http.post(MESSAGES, json=ASKED | fields), 400)
    assert error["type"] == "invalid_request_error"
    assert name in error["message"]
    assert service.requests == []


async def test_the_service_s_complaints_are_in_the_caller_s_words(http, service):
    service.answer = invalid_field("messages[0].content_parts[1]", "is odd")
    blocks = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    response = await http.post(MESSAGES, json=ASKED | {"messages": [{"role": "user", "content": blocks}]})
    assert error_of(response, 400)["message"] == "messages[0].content[1]: is odd"


async def test_a_message_of_its_own_words_names_its_field(http, service):
    for words, expected in (
        ("is no grammar", "output_config.format.schema/a: is no grammar"),
        ("output_config.format.schema/a is none", "output_config.format.schema/a is none"),
    ):
        violation = FieldViolation("response_format.json_schema.schema/a", "is odd")
        service.answer = ServiceError(Condition.INVALID, "GRAMMAR_INVALID", words, violations=[violation])
        assert error_of(await http.post(MESSAGES, json=ASKED), 400)["message"] == expected


async def test_anthropic_s_headers_are_taken(http, service, script):
    service.answer = script.completion()
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01", "anthropic-beta": "a,b"}
    response = await http.post(MESSAGES, params={"beta": "true"}, json=ASKED, headers=headers)
    assert response.status_code == 200


async def test_too_many_messages_are_refused_by_their_number(serve, service):
    async with serve(service, max_body_bytes=100_000) as running, httpx.AsyncClient(trust_env=False) as http:
        response = await http.post(running.url + MESSAGES, json={**ASKED, "messages": [1] * 16_385})
    assert "16385" in error_of(response, 400)["message"]
