"""Web pages from elsewhere: whose scripts may call the server, and what they may read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
import pytest_asyncio

from llamawire_server.errors import Condition, ServiceError, engine_fault

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE_SECONDS = 10.0
APP, OTHER_APP, STRANGER = "https://app.example", "http://localhost:3000", "https://elsewhere.example"
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
PATHS = [CHAT, "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/responses/resp_1", MESSAGES]
PATHS += ["/tokenize", "/v1/models", "/healthz", "/nowhere"]

ALLOW, EXPOSE = "access-control-allow-origin", "access-control-expose-headers"


def origin(name: str) -> dict[str, str]:
    return {"origin": name}


def preflight(name: str, method: str = "POST", *headers: str) -> dict[str, str]:
    """What a browser asks before it sends a request of a page."""
    asked = {"access-control-request-headers": ",".join(headers)} if headers else {}
    return {"origin": name, "access-control-request-method": method, **asked}


def listed(header: str) -> set[str]:
    return {name.strip().lower() for name in header.split(",")}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(serve, running) -> AsyncIterator[Any]:
    """A server that pages of two origins may call."""
    async with serve(running.service, allowed_origins=(APP, OTHER_APP)) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(shared) -> AsyncIterator[httpx.AsyncClient]:
    async with calling(shared) as client:
        yield client


@pytest.fixture
def page(browser, service) -> httpx.AsyncClient:
    """A script of a page, as far as the server can tell; the service is as new."""
    return browser


def calling(server: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_SECONDS, trust_env=False)


def client_headers() -> list[str]:
    """What OpenAI's and Anthropic's clients send in a browser beside what needs no leave."""
    common = ["authorization", "content-type", "x-request-timeout-seconds", "x-request-id"]
    sent = {
        **openai.OpenAI(api_key="k").default_headers,
        **anthropic.Anthropic(api_key="k").default_headers,
    }
    stainless = [name.lower() for name in sent if name.lower().startswith("x-stainless-")]
    assert len(stainless) > 5
    of_anthropic = ["x-api-key", "anthropic-version", "anthropic-beta"]
    return [*common, *of_anthropic, "anthropic-dangerous-direct-browser-access", *stainless]


@pytest.mark.parametrize(("name", "method"), [(APP, "POST"), (APP, "DELETE"), (OTHER_APP, "GET")])
@pytest.mark.parametrize("path", PATHS)
async def test_a_browser_may_send_what_clients_send(page, path, method, name):
    headers = sorted(client_headers())
    answer = await page.options(path, headers=preflight(name, method, *headers))
    assert answer.status_code == 200
    assert answer.headers[ALLOW] == name
    assert method in answer.headers["access-control-allow-methods"]
    assert listed(answer.headers["access-control-allow-headers"]) == set(headers)
    assert "Origin" in answer.headers["vary"]


async def test_a_page_of_the_web_may_call_a_private_network(page):
    asked = {**preflight(APP), "access-control-request-private-network": "true"}
    answer = await page.options(CHAT, headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-private-network"] == "true"


async def test_a_strangers_browser_is_told_no(page, service):
    answer = await page.options(CHAT, headers=preflight(STRANGER, "POST", "content-type"))
    assert answer.status_code == 400
    assert ALLOW not in answer.headers
    assert service.requests == []


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_method_that_no_path_has_is_told_no(page, method):
    assert (await page.options(CHAT, headers=preflight(APP, method))).status_code == 400


async def test_whole_answers_may_be_read(page, service, script, chat_body):
    service.answer = script.completion()
    answer = await page.post(CHAT, json=chat_body, headers=origin(APP))
    assert answer.status_code == 200
    assert answer.headers[ALLOW] == APP
    assert answer.headers["x-request-id"]
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers


async def test_whoever_is_no_page_gets_its_answer(page, service, script, chat_body):
    service.answer = script.completion()
    for headers in ({}, origin(STRANGER)):
        answer = await page.post(CHAT, json=chat_body, headers=headers)
        assert answer.status_code == 200
        assert ALLOW not in answer.headers


FAILURES: dict[str, ServiceError | Exception] = {
    "busy": ServiceError(Condition.BUSY, "QUEUE_FULL", "the line is full"),
    "stopping": ServiceError(Condition.NOT_READY, "SERVER_STOPPING", "stopping"),
    "broken": engine_fault("the engine failed"),
    "unforeseen": KeyError("of nobody's concern"),
}


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_failures_may_be_read_with_all_that_clients_look_for(page, service, chat_body, path, failure):
    service.answer = failure
    answer = await page.post(path, json={**chat_body, "max_tokens": 5}, headers=origin(APP))
    assert answer.status_code in (429, 500, 503)
    assert answer.headers[ALLOW] == APP
    own = {"content-length", "content-type", "date", "vary", ALLOW, EXPOSE}
    assert set(answer.headers) - own <= listed(answer.headers[EXPOSE])
    assert {"x-request-id", *(["request-id"] if path == MESSAGES else [])} <= set(answer.headers)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/messages/nowhere", 404),
        ("GET", CHAT, 405),
        ("OPTIONS", CHAT, 405),
        ("POST", CHAT, 400),
    ],
)
async def test_what_leads_nowhere_may_be_read(page, method, path, status):
    answer = await page.request(method, path, headers=origin(APP))
    assert answer.status_code == status
    assert answer.headers[ALLOW] == APP
    assert answer.json()["error"]["message"]


async def test_a_body_that_is_too_large(page, chat_body):
    body = {**chat_body, "user": "x" * 100_000}
    answer = await page.post(CHAT, json=body, headers=origin(APP))
    assert (answer.status_code, answer.headers[ALLOW]) == (413, APP)


async def test_a_stream_is_sent_as_it_is_made(page, service, script, chat_body):
    go_on = asyncio.Event()
    first, second, *rest = script.stream("Hello", " there")
    service.steps = [first, second, go_on, *rest]
    body = {**chat_body, "stream": True}
    async with page.stream("POST", CHAT, json=body, headers=origin(APP)) as answer:
        assert answer.headers[ALLOW] == APP
        assert answer.headers["cache-control"] == "no-cache"
        lines = answer.aiter_lines()
        while "Hello" not in await anext(lines):
            pass
        assert not service.cleaned_up.is_set()
        go_on.set()
        assert [line async for line in lines if line][-1] == "data: [DONE]"


async def test_a_stream_that_fails_before_it_began(page, service, chat_body):
    service.steps = [FAILURES["busy"]]
    answer = await page.post(CHAT, json={**chat_body, "stream": True}, headers=origin(APP))
    assert (answer.status_code, answer.headers[ALLOW]) == (429, APP)


@pytest.mark.usefixtures("nothing_lost")
@pytest.mark.parametrize("stream", [False, True])
async def test_a_page_that_is_closed_ends_the_work(page, service, script, chat_body, stream):
    service.answer = asyncio.Event()
    service.steps = [*script.stream("Hello")[:-1], asyncio.Event()]
    read = asyncio.Event()

    async def call() -> None:
        body = {**chat_body, "stream": stream}
        async with page.stream("POST", CHAT, json=body, headers=origin(APP)) as answer:
            async for line in answer.aiter_lines():
                if "Hello" in line:
                    read.set()

    call_of_page = asyncio.create_task(call())
    await asyncio.wait_for((read if stream else service.began).wait(), PATIENCE_SECONDS)
    call_of_page.cancel()
    await asyncio.wait_for(service.cancelled.wait(), PATIENCE_SECONDS)
    await asyncio.wait_for(service.cleaned_up.wait(), PATIENCE_SECONDS)
    await asyncio.gather(call_of_page, return_exceptions=True)


async def test_every_page_where_all_are_allowed(serve, service, script, chat_body):
    service.answer = script.completion()
    async with (
        serve(service, allowed_origins=("*",)) as running,
        calling(running) as page,
    ):
        for name in (STRANGER, "null", "chrome-extension://abcdefghijklmnop"):
            asked = await page.options(CHAT, headers=preflight(name, "POST", "authorization"))
            assert (asked.status_code, asked.headers[ALLOW]) == (200, "*")
            # A star in the answer would not stand for it.
            assert asked.headers["access-control-allow-headers"] == "authorization"
            answer = await page.post(CHAT, json=chat_body, headers=origin(name))
            assert (answer.status_code, answer.headers[ALLOW]) == (200, "*")


async def test_no_page_where_none_is_allowed(http, service, script, chat_body):
    """Which is so unless the server is told otherwise."""
    service.answer = script.completion()
    assert (await http.options(CHAT, headers=preflight(APP))).status_code == 405
    answer = await http.post(CHAT, json=chat_body, headers=origin(APP))
    assert answer.status_code == 200
    assert {ALLOW, EXPOSE, "vary"}.isdisjoint(answer.headers)
