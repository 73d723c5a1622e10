"""Requests that can't be understood: each is refused, with the field at fault, before the service sees it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from llamawire.v1 import chat_pb2
from llamawire_server.errors import ServiceError
from llamawire_server.service.validation import MAX_MESSAGES, check_prompt
from llamawire_server.shim.chat import endpoint
from llamawire_server.shim.chat.translate import to_chat_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
USER = {"role": "user", "content": "Hi"}


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer that must have this status and nothing but an error."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code"]
    return body["error"]


def tool(**function: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", **function}}]}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def allowed(*tools: Any) -> dict[str, Any]:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": list(tools)}}
    return {**tool(), "tool_choice": choice}


def user(content: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content, **fields}]}


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


BAD_FIELDS = [
    # A request's own fields.
    ("messages", {"messages": None}),
    ("messages", {"messages": "Hi"}),
    ("model", {"model": None}),
    ("model", {"model": 7}),
    ("temprature", {"temprature": 1}),
    ("temperature", {"temperature": "0.5"}),
    ("temperature", {"temperature": True}),
    ("temperature", {"temperature": 1e39}),
    ("max_tokens", {"max_tokens": 2**31}),
    ("max_tokens", {"max_tokens": 5.5}),
    ("max_tokens", {"max_tokens": False}),
    ("max_completion_tokens", {"max_completion_tokens": 5, "max_tokens": 6}),
    ("top_k", {"top_k": -(2**31) - 1}),
    ("seed", {"seed": 2**63}),
    ("stream", {"stream": "yes"}),
    ("stream", {"stream": 1}),
    ("stream_options.include_usages", {"stream_options": {"include_usages": True}}),
    ("stream_options", {"stream_options": {"include_usage": True}}),
    (
        "stream_options.continuous_usage_stats",
        {"stream": True, "stream_options": {"continuous_usage_stats": True}},
    ),
    ("stop", {"stop": 7}),
    ("stop[1]", {"stop": ["a", 7]}),
    ("stop_token_ids[0]", {"stop_token_ids": [2**31]}),
    ("logit_bias.cat", {"logit_bias": {"cat": 1}}),
    ("logit_bias.2147483648", {"logit_bias": {"2147483648": 1}}),
    ("logit_bias.5", {"logit_bias": {"5": "1"}}),
    ("metadata.a", {"metadata": {"a": 1}}),
    ("reasoning_effort", {"reasoning_effort": "huge"}),
    ("user", {"user": 7}),
    # What would change the answer and can't be done.
    ("audio", {"audio": {"voice": "alloy", "format": "wav"}}),
    ("modalities[1]", {"modalities": ["text", "audio"]}),
    ("web_search_options", {"web_search_options": {}}),
    ("moderation", {"moderation": {"model": "m"}}),
    # Messages.
    ("messages[0].role", {"messages": [{"role": "robot", "content": "Hi"}]}),
    ("messages[0].role", {"messages": [{"role": "", "content": "Hi"}]}),
    ("messages[0].role", {"messages": [{"content": "Hi"}]}),
    ("messages[1].role", {"messages": [USER, {"role": None, "content": "Hi"}]}),
    ("messages[1]", {"messages": [USER, "Hi"]}),
    ("messages[1].foo", {"messages": [USER, {**USER, "foo": 1}]}),
    ("messages[0].content", user(7)),
    ("messages[0].content", user({"type": "text", "text": "Hi"})),
    ("messages[0].content[0].type", user([{"type": "file", "file": {"file_id": "f"}}])),
    ("messages[0].content[0].type", user([{"text": "Hi"}])),
    ("messages[0].content[0]", user(["Hi"])),
    ("messages[0].content[1].text", user([{"type": "text", "text": "a"}, {"type": "text"}])),
    ("messages[0].content[0].txt", user([{"type": "text", "text": "a", "txt": "b"}])),
    ("messages[0].content[0].image_url.url", user([{"type": "image_url", "image_url": {}}])),
    (
        "messages[0].content[0].input_audio.data",
        user([{"type": "input_audio", "input_audio": {"data": "!", "format": "wav"}}]),
    ),
    ("messages[0].audio", user("Hi", audio={"id": "a"})),
    ("messages[0].tool_calls[0].type", user("Hi", tool_calls=[{"id": "a", "type": "custom"}])),
    (
        "messages[0].tool_calls[0].function.arguments",
        user("Hi", tool_calls=[{"id": "a", "type": "function", "function": {"name": "f", "arguments": {}}}]),
    ),
    # Tools and forms.
    ("tools[0].type", {"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
    ("tools[0].function.name", tool(name=None)),
    ("tools[0].function.parameters", tool(parameters="{}")),
    ("tool_choice", {"tool_choice": "always"}),
    ("tool_choice.type", {"tool_choice": {"type": "custom", "custom": {"name": "f"}}}),
    ("tool_choice.type", {"tool_choice": {"function": {"name": "f"}}}),
    ("tool_choice.allowed_tools.mode", {"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}),
    ("tool_choice.allowed_tools.tools[0].type", allowed({"type": "custom", "custom": {"name": "f"}})),
    ("tool_choice.allowed_tools.tools[1].function.name", allowed(named("f"), named("g"))),
    ("tool_choice.allowed_tools", {**allowed(), "tools": None, "functions": [{"name": "f"}]}),
    ("tool_choice.function.name", {"tool_choice": {"type": "function", "function": {}}}),
    ("functions", {"functions": [{"name": "f"}], **tool()}),
    ("function_call", {"functions": [{"name": "f"}], "function_call": "auto", "tool_choice": "auto"}),
    ("parallel_tool_calls", {"functions": [{"name": "f"}], "parallel_tool_calls": True}),
    ("messages[0].name", {"messages": [{"role": "function", "name": "f", "content": "1"}]}),
    ("response_format.type", {"response_format": {"type": "xml"}}),
    ("response_format.type", {"response_format": {}}),
    ("response_format", {"response_format": "json_object"}),
    ("response_format.json_schema", {"response_format": {"type": "json_schema"}}),
    (
        "response_format.json_schema.schema",
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": "{}"}}},
    ),
    ("response_format.syntax", {"response_format": {"type": "grammar", "syntax": "bnf", "grammar": ""}}),
    ("prediction.type", {"prediction": {"content": "a"}}),
    ("prediction.content[0].type", {"prediction": {"type": "content", "content": [{"type": "image_url"}]}}),
    ("chat_template_kwargs", {"chat_template_kwargs": {"a": 2**53 + 1}}),
    ("chat_template_kwargs", {"chat_template_kwargs": deep(30)}),
    ("chat_template_kwargs", {"chat_template_kwargs": []}),
]


@pytest.mark.parametrize(("param", "fields"), BAD_FIELDS, ids=[param for param, _ in BAD_FIELDS])
async def test_a_bad_field_is_named(http, service, chat_body, param, fields):
    error = error_of(await http.post(CHAT, json=chat_body | fields), 400)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert param in error["message"]
    assert service.requests == []


@pytest.mark.parametrize("missing", ["model", "messages"])
async def test_a_missing_field_is_named(http, chat_body, missing):
    del (body := dict(chat_body))[missing]
    error = error_of(await http.post(CHAT, json=body), 400)
    assert error["param"] == missing
    assert error["message"] == f"{missing}: is required"


async def test_all_bad_fields_are_named(http, chat_body):
    body = chat_body | {"temperature": "hot", "messages": [{"role": "robot"}], "foo": 1}
    message = error_of(await http.post(CHAT, json=body), 400)["message"]
    assert all(name in message for name in ("temperature", "messages[0].role", "foo"))


async def test_the_message_stays_small_however_much_is_wrong(http, chat_body):
    error = error_of(await http.post(CHAT, json=chat_body | {"messages": [1] * 10_000}), 400)
    assert len(error["message"]) < 5_000


@pytest.mark.parametrize(
    ("number", "field"),
    [
        ("NaN", "temperature"),
        ("Infinity", "top_p"),
        ("-Infinity", "temperature"),
        ("1e999", "temperature"),
        ("NaN", "chat_template_kwargs"),
        ("Infinity", "prompt_cache_options"),
    ],
)
async def test_a_number_that_is_none(http, service, number, field):
    for value in (number, f'{{"a": [{number}]}}'):
        text = f'{{"model": "m", "messages": [], "{field}": {value}}}'
        error_of(await http.post(CHAT, content=text, headers=JSON), 400)
    assert service.requests == []


@pytest.mark.parametrize(
    "fields",
    [
        '"tools": [{"type": "function", "function": {"name": "f", "parameters": {"maximum": 1e999}}}]',
        '"chat_template_kwargs": {"a": [1e999]}',
    ],
)
async def test_a_number_that_is_none_in_free_form_json(http, fields):
    text = f'{{"model": "m", "messages": [], {fields}}}'
    error = error_of(await http.post(CHAT, content=text, headers=JSON), 400)
    assert error["param"] in ("tools[0].function.parameters", "chat_template_kwargs")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "line 1 column 0"),
        (b'{"model": "m",\n  oops}', "line 2 column 3"),
        (b'{"model": "m"', "line 1 column 13"),
        (b'{"model": "\xff"}', "line 1"),
        (b'{"model": "\\ud800"}', "line 1"),
        (b'\xef\xbb\xbf{"model": "m"}', "line 1 column 1"),
        (b"[" * 50_000, "recursion limit"),
        (b'{"a":' * 10_000, "recursion limit"),
        (b'{"seed": ' + b"9" * 10_000 + b"}", "out of range"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value[:12]),
)
async def test_a_body_that_is_no_json_object(http, service, content, says):
    error = error_of(await http.post(CHAT, content=content, headers=JSON), 400)
    assert error["type"] == "invalid_request_error"
    assert says in error["message"]
    assert service.requests == []


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=latin-1", None],
)
async def test_a_wrong_content_type(http, service, chat_body, content_type):
    headers = {} if content_type is None else {"content-type": content_type}
    error_of(await http.post(CHAT, content=json.dumps(chat_body).encode(), headers=headers), 400)
    assert service.requests == []


@pytest.mark.parametrize(
    "content_type",
    ["application/json; charset=utf-8", 'Application/JSON; charset="UTF-8"', "application/json;charset=utf8"],
)
async def test_a_content_type_that_will_do(http, service, script, chat_body, content_type):
    service.answer = script.completion()
    content = json.dumps(chat_body).encode()
    response = await http.post(CHAT, content=content, headers={"content-type": content_type})
    assert response.status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("excess_bytes", [0, 1, 1_000_000])
async def test_the_limit_of_a_body(http, service, script, chat_body, chunked, excess_bytes):
    service.answer = script.completion()
    limit_bytes = 64 * 1024
    text = json.dumps(chat_body).encode()
    text += b" " * (limit_bytes + excess_bytes - len(text))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(text), 10_000):
            yield text[start : start + 10_000]

    response = await http.post(CHAT, content=pieces() if chunked else text, headers=JSON)
    if excess_bytes == 0:
        assert response.status_code == 200
    else:
        assert error_of(response, 413)["type"] == "invalid_request_error"
        assert service.requests == []


@pytest.mark.parametrize("is_large", [False, True])
async def test_a_large_body_keeps_nobody_waiting(serve, service, script, chat_body, monkeypatch, is_large):
    """It is taken apart in a thread; a small one is not worth that."""
    loop_thread, threads = threading.get_ident(), []
    has_begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def translate(asked: Any) -> Any:
        threads.append(threading.get_ident())
        loop.call_soon_threadsafe(has_begun.set)
        if is_large:
            assert go_on.wait(10), "nothing else was answered meanwhile"
        return to_chat_request(asked)

    monkeypatch.setattr(endpoint, "to_chat_request", translate)
    service.answer = script.completion()
    body = {**chat_body, "user": "x" * (70_000 if is_large else 10)}
    async with (
        serve(service, max_body_bytes=100_000) as running,
        httpx.AsyncClient(base_url=running.url, trust_env=False, timeout=10) as http,
    ):
        answering = asyncio.create_task(http.post(CHAT, json=body))
        await asyncio.wait_for(has_begun.wait(), 10)
        assert (await http.get("/healthz")).status_code == 200
        go_on.set()
        assert (await answering).status_code == 200
    assert [thread != loop_thread for thread in threads] == [is_large]


async def test_too_many_messages_are_refused_by_their_number(serve, service, chat_body):
    """None of them is looked at, and the complaint is that of gRPC."""
    body = {**chat_body, "messages": [1] * (MAX_MESSAGES + 1)}
    async with serve(service, max_body_bytes=100_000) as running, httpx.AsyncClient(trust_env=False) as http:
        error = error_of(await http.post(running.url + CHAT, json=body), 400)
    messages = [chat_pb2.Message()] * (MAX_MESSAGES + 1)
    with pytest.raises(ServiceError) as caught:
        check_prompt(chat_pb2.ChatCompletionRequest(model="m", messages=messages))
    assert error["message"] == str(caught.value)
    assert error["param"] == "messages"


@pytest.mark.parametrize(
    "fields",
    [{"stop_token_ids": ["x"] * 10_000}, {"tools": [1] * 10_000}, user([1] * 10_000)],
    ids=["stop_token_ids", "tools", "parts"],
)
async def test_of_other_long_lists_one_bad_entry_is_named(http, chat_body, fields):
    """Millions of complaints take a minute to make."""
    error = error_of(await http.post(CHAT, json=chat_body | fields), 400)
    assert "[0]" in error["param"]
    assert "[1]" not in error["message"]


async def test_a_body_that_declares_too_much_is_not_waited_for(running, service):
    url = httpx.URL(running.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: 1000000\r\n\r\n".encode())
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    await writer.wait_closed()


async def test_a_refused_body_leaves_the_server_answering(http, service, script, chat_body):
    service.answer = script.completion()
    for _ in range(3):
        error_of(await http.post(CHAT, content=b" " * 100_000, headers=JSON), 413)
        assert (await http.post(CHAT, json=chat_body)).status_code == 200


async def test_an_unknown_path(http):
    error = error_of(await http.post("/v1/completion", json={}), 404)
    assert error["type"] == "invalid_request_error"
    assert "/v1/completion" in error["message"]


async def test_a_wrong_method(http):
    response = await http.get(CHAT)
    assert error_of(response, 405)["type"] == "invalid_request_error"
    assert response.headers["allow"] == "POST"


async def test_unknown_fields_pass_where_the_server_lets_them(serve, service, script, chat_body):
    service.answer = script.completion()
    body = {**chat_body, "foo": 1, "messages": [{**USER, "bar": {"baz": 1}}]}
    async with (
        serve(service, allow_unknown_fields=True) as running,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        assert (await http.post(running.url + CHAT, json=body)).status_code == 200
        refused = await http.post(running.url + CHAT, json={**body, "audio": {}})
    assert error_of(refused, 400)["param"] == "audio"
