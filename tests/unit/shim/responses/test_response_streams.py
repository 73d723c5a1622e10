"""Streamed responses: every kind of event, in its order, as the SDK's own types have it."""

from __future__ import annotations

import asyncio
from typing import Any, Union, get_args

import httpx
import pytest
from named_events import call_delta, calls, events_of, reasoning, refusal
from openai.types import responses as sdk
from pydantic import TypeAdapter

from llamawire.v1 import chat_pb2
from llamawire_server.errors import Condition, ServiceError, invalid_field
from llamawire_server.shim.responses.event_schema import EVENTS

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESPONSES = "/v1/responses"
ASKED = {"model": "smollm2", "input": "Hi", "stream": True}

SDK_EVENTS = {
    get_args(model.model_fields["type"].annotation)[0]: model
    for model in get_args(get_args(sdk.ResponseStreamEvent)[0])
}
OWN_EVENTS: TypeAdapter[Any] = TypeAdapter(Union[EVENTS])  # noqa: UP007 (as many as there are)


def checked(text: str) -> list[dict[str, Any]]:
    """The events of a stream, each of which is as it is described and as the SDK has it, and numbered."""
    events = events_of(text)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        SDK_EVENTS[event["type"]].model_validate(event)
        OWN_EVENTS.validate_python(event)
    assert len({event["response"]["id"] for event in events if "response" in event}) == 1
    return events


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


async def stream(http: httpx.AsyncClient, **fields: Any) -> list[dict[str, Any]]:
    answer = await http.post(RESPONSES, json=ASKED | fields)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    return checked(answer.text)


def whole(script, *choices: chat_pb2.ChunkChoice, reason: Any = chat_pb2.FINISH_REASON_STOP) -> list[Any]:
    """A stream with these deltas."""
    last = script.chunk(script.finish(reason), usage=script.usage, timings=script.timings())
    return [script.chunk(script.role()), *map(script.chunk, choices), last]


async def test_a_text(http, service, script):
    service.steps = script.stream("Hel", "lo")
    events = await stream(http)
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    created, in_progress, item, part, first, second, text, part_done, item_done, completed = events
    for begun in (created["response"], in_progress["response"]):
        assert (begun["status"], begun["output"], begun["usage"]) == ("in_progress", [], None)
    assert (item["item"]["content"], item["item"]["status"]) == ([], "in_progress")
    assert part["part"] == {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    assert (first["delta"], second["delta"], text["text"]) == ("Hel", "lo", "Hello")
    assert part_done["part"]["text"] == "Hello"
    assert item_done["item"]["status"] == "completed"
    response = completed["response"]
    assert response["status"] == "completed"
    assert response["output"] == [item_done["item"]]
    assert response["usage"]["total_tokens"] == 9
    assert response["timings"]["generation_seconds"] == 1.5
    ids = {event["item_id"] for event in events if "item_id" in event}
    assert ids == {item["item"]["id"]}


async def test_reasoning_text_and_calls(http, service, script):
    service.steps = whole(
        script,
        reasoning("h"),
        reasoning("m"),
        script.text("Let me look."),
        calls(call_delta(0, "", id="call_a", name="f")),
        calls(call_delta(0, '{"a"')),
        calls(call_delta(0, ":1}")),
        calls(call_delta(1, "{}", id="call_b", name="g")),
        reason=chat_pb2.FINISH_REASON_TOOL_CALLS,
    )
    events = await stream(http)
    assert kinds(events)[2:] == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    output = events[-1]["response"]["output"]
    assert [event["item"] for event in events if event["type"] == "response.output_item.done"] == output
    assert output[0]["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert [(call["call_id"], call["name"], call["arguments"]) for call in output[2:]] == [
        ("call_a", "f", '{"a":1}'),
        ("call_b", "g", "{}"),
    ]
    added = [event for event in events if event["type"] == "response.output_item.added"]
    assert [event["output_index"] for event in added] == [0, 1, 2, 3]
    assert added[2]["item"]["arguments"] == ""


async def test_what_a_slow_reader_gets_at_once(http, service, script):
    """The rest of a call comes before the text and the calls that follow it."""
    service.steps = whole(
        script,
        calls(call_delta(0, "{", id="call_a", name="f")),
        calls(call_delta(0, "}"), call_delta(1, "{}", id="call_b", name="g"), content="And now:"),
        reason=chat_pb2.FINISH_REASON_TOOL_CALLS,
    )
    output = (await stream(http))[-1]["response"]["output"]
    assert [item.get("arguments") for item in output] == ["{}", None, "{}"]
    assert output[1]["content"][0]["text"] == "And now:"


async def test_a_refusal_is_a_part(http, service, script):
    service.steps = whole(script, script.text("Well."), refusal("N"), refusal("o."))
    events = await stream(http)
    assert kinds(events)[4:-1] == [
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "content_part.added",
        "refusal.delta",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
    ]
    assert [part["type"] for part in events[-1]["response"]["output"][0]["content"]] == [
        "output_text",
        "refusal",
    ]


async def test_log_probabilities_come_with_their_text(http, service, script):
    token = chat_pb2.TokenLogprob(token="Hi", logprob=-0.5, bytes=b"Hi")
    choice = script.text("Hi")
    choice.logprobs.content.append(token)
    service.steps = whole(script, choice, script.text("!"))
    events = await stream(http, include=["message.output_text.logprobs"])
    deltas = [event["logprobs"] for event in events if event["type"] == "response.output_text.delta"]
    expected = [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}]
    assert deltas == [expected, []]
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == expected


@pytest.mark.parametrize(
    ("choice", "item_type"),
    [
        (reasoning("hm"), "reasoning"),
        (calls(call_delta(0, '{"a', id="call_a", name="f")), "function_call"),
        (None, "message"),
    ],
)
async def test_what_a_limit_cuts_is_incomplete(http, service, script, choice, item_type):
    choices = [] if choice is None else [choice]
    service.steps = whole(script, *choices, reason=chat_pb2.FINISH_REASON_LENGTH)
    events = await stream(http)
    assert events[-1]["type"] == "response.incomplete"
    response = events[-1]["response"]
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [(item["type"], item["status"]) for item in response["output"]] == [(item_type, "incomplete")]


async def test_no_text_at_all_is_an_empty_one(http, service, script):
    service.steps = whole(script, reasoning("hm"))
    output = (await stream(http))[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "message"]
    service.steps = whole(script)
    events = await stream(http)
    assert kinds(events)[2:] == [
        "output_item.added",
        "content_part.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


async def test_a_streamed_response_is_kept_before_its_end_is_told(http, service, script):
    service.steps = script.stream("Hello")
    response = (await stream(http))[-1]["response"]
    assert (await http.get(f"{RESPONSES}/{response['id']}")).json() == response
    service.steps = script.stream("again")
    later = (await stream(http, previous_response_id=response["id"]))[-1]["response"]
    assert [message.role for message in service.requests[-1].messages] == [
        chat_pb2.ROLE_USER,
        chat_pb2.ROLE_ASSISTANT,
        chat_pb2.ROLE_USER,
    ]
    assert later["previous_response_id"] == response["id"]


async def test_a_response_that_was_cut_can_be_gone_on_from(http, service, script):
    service.steps = whole(script, script.text("Hel"), reason=chat_pb2.FINISH_REASON_LENGTH)
    response = (await stream(http))[-1]["response"]
    assert (await http.get(f"{RESPONSES}/{response['id']}")).status_code == 200


async def test_an_error_before_anything_is_a_plain_answer(http, service):
    service.steps = [ServiceError(Condition.NOT_READY, "MODEL_LOADING", "loading")]
    answer = await http.post(RESPONSES, json=ASKED)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "model_loading"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ServiceError(Condition.DEADLINE, "DEADLINE_EXCEEDED", "too late"), "server_error"),
        (ServiceError(Condition.BUSY, "QUEUE_FULL", "full"), "rate_limit_exceeded"),
        (invalid_field("max_tokens", "is too large"), "invalid_prompt"),
    ],
)
async def test_an_error_after_it_ends_the_stream(http, service, script, failure, code):
    service.steps = [*script.stream("Hel")[:-1], failure]
    *events, error, failed = await stream(http)
    assert kinds(events)[-1] == "output_text.delta"
    assert error["type"] == "error"
    assert failed["type"] == "response.failed"
    response = failed["response"]
    assert response["error"] == {"code": code, "message": error["message"]}
    assert (response["output"][0]["status"], response["output"][0]["content"][0]["text"]) == (
        "incomplete",
        "Hel",
    )
    if code == "invalid_prompt":
        assert error["param"] == "max_output_tokens"
        assert error["message"] == "max_output_tokens: is too large"
    assert (await http.get(f"{RESPONSES}/{response['id']}")).status_code == 404, "it is no basis for another"


async def test_an_unforeseen_exception_tells_nothing_of_itself(http, service, script, caplog):
    service.steps = [*script.stream("Hel")[:-1], KeyError("secret")]
    answer = await http.post(RESPONSES, json=ASKED)
    assert events_of(answer.text)[-1]["response"]["error"]["code"] == "server_error"
    assert "secret" not in answer.text
    assert "secret" in caplog.text


async def test_a_waiting_stream_is_kept_alive(serve, service, script):
    """Before its first chunk, too: and it keeps its id to the end."""
    first, later = asyncio.Event(), asyncio.Event()
    opening, *rest = script.stream("Hello")
    service.steps = [first, opening, later, *rest]
    text = ""
    async with (
        serve(service, keep_alive_seconds=0.02) as running,
        httpx.AsyncClient(trust_env=False) as http,
        http.stream("POST", running.url + RESPONSES, json=ASKED) as response,
    ):
        async for piece in response.aiter_text():
            text += piece
            first.set()
            if text.count("response.in_progress\n") > 2:
                later.set()
    events = checked(text)
    assert kinds(events)[:3] == ["created", "in_progress", "in_progress"]
    assert events[-1]["type"] == "response.completed"


async def test_a_stream_names_the_model_that_answers(http, service, script):
    service.steps = script.stream("Hello")
    events = await stream(http, model="SmolLM2:latest")
    assert {event["response"]["model"] for event in events if "response" in event} == {"smollm2"}
