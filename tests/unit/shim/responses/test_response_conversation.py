"""Calls and their outputs in conversations: where they go, and what becomes of calls that a limit cut."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from named_events import call_delta, calls, events_of, tool_call

from llamawire.v1 import chat_pb2
from llamawire_server.chat.tools.history import check_history
from llamawire_server.shim.chat.places import Places
from llamawire_server.shim.http.body import validate
from llamawire_server.shim.responses import placed_items
from llamawire_server.shim.responses.request_schema import ResponseRequest
from llamawire_server.shim.responses.translate import to_chat_request

USER, ASSISTANT, TOOL = chat_pb2.ROLE_USER, chat_pb2.ROLE_ASSISTANT, chat_pb2.ROLE_TOOL
RESPONSES = "/v1/responses"
ASKED: dict[str, Any] = {"model": "smollm2", "input": "Hi"}


def translate(items: list[dict[str, Any]]) -> tuple[list[chat_pb2.Message], Places]:
    request = validate({"model": "m", "input": items}, ResponseRequest, allow_unknown_fields=False)
    message, places = to_chat_request(request, placed_items.given(request.input))
    return list(message.messages), places


def ask(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def say(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def think(text: str) -> dict[str, Any]:
    return {"type": "reasoning", "content": [{"type": "reasoning_text", "text": text}]}


def call(id: str, arguments: str = "{}", **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": id, "name": "f", "arguments": arguments, **fields}


def cut(id: str, arguments: str) -> dict[str, Any]:
    return call(id, arguments, status="incomplete")


def output(id: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id, "output": f"of {id}"}


def shown(message: chat_pb2.Message) -> str:
    """A message in short: who, what, the calls and what it answers."""
    made = "".join(f" {each.id}{each.function.arguments}" for each in message.tool_calls)
    role = chat_pb2.Role.Name(message.role).removeprefix("ROLE_").lower()
    return f"{role}:{message.content}{made}"


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (
            [call("a"), ask("Well?"), output("a")],
            ["assistant: a{}", "tool:of a", "user:Well?"],
        ),
        (
            [call("a"), call("b"), output("b"), ask("Well?"), output("a")],
            ["assistant: a{} b{}", "tool:of b", "tool:of a", "user:Well?"],
        ),
        (
            [say("1"), call("a"), say("2"), output("a"), say("3")],
            ["assistant:1 a{}", "tool:of a", "assistant:2", "assistant:3"],
        ),
        (
            [call("a"), output("a"), ask("More."), call("a"), ask("Well?"), output("a")],
            ["assistant: a{}", "tool:of a", "user:More.", "assistant: a{}", "tool:of a", "user:Well?"],
        ),
        # These make no sense, and stay where the caller has them.
        ([output("a"), call("a")], ["tool:of a", "assistant: a{}"]),
        (
            [call("a"), output("a"), ask("Well?"), output("a")],
            ["assistant: a{}", "tool:of a", "user:Well?", "tool:of a"],
        ),
    ],
)
def test_an_output_goes_to_its_call(items: list[dict[str, Any]], expected: list[str]) -> None:
    assert [shown(message) for message in translate(items)[0]] == expected


def test_what_was_moved_is_called_by_where_it_was() -> None:
    _, places = translate([call("a"), ask("Well?"), output("a"), ask("So?")])
    names = ["messages[0].tool_calls[0].id", "messages[1].tool_call_id", "messages[2].content", "messages[3]"]
    assert [places.rename(name) for name in names] == [
        "input[0].call_id",
        "input[2].call_id",
        "input[1].content",
        "input[3]",
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "{}"),
        ("{", "{}"),
        ('{"city":', "{}"),
        ('{"city":"Ro', "{}"),
        ('{"city":"Rome","n":1', '{"city": "Rome", "n": 1}'),
        ('{"city":"Zürich",', '{"city": "Zürich"}'),
        ('{"city": ["a", "b', '{"city": ["a"]}'),
        ('{"city":"Rome"}', '{"city":"Rome"}'),
        ("[1", "{}"),
        ("Rome", "{}"),
    ],
)
def test_a_cut_call_that_is_answered_has_what_there_is_of_its_arguments(
    arguments: str, expected: str
) -> None:
    messages, _ = translate([ask("Hi"), cut("a", arguments), output("a")])
    assert [shown(message) for message in messages] == ["user:Hi", f"assistant: a{expected}", "tool:of a"]


def test_a_call_that_was_not_cut_stays_as_it_is() -> None:
    messages, _ = translate([call("a", '{"city":'), output("a")])
    assert shown(messages[0]) == 'assistant: a{"city":'


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([cut("a", "{"), ask("Well?")], ["assistant:", "user:Well?"]),
        ([cut("a", "{}"), ask("Well?")], ["assistant:", "user:Well?"]),
        ([say("Let me look."), cut("a", "{"), ask("Well?")], ["assistant:Let me look.", "user:Well?"]),
        (
            [call("a"), cut("b", "{"), output("a"), ask("Well?")],
            ["assistant: a{}", "tool:of a", "user:Well?"],
        ),
        (
            [cut("a", "{"), ask("Well?"), call("a"), output("a")],
            ["assistant:", "user:Well?", "assistant: a{}", "tool:of a"],
        ),
        ([think("hm"), cut("a", "{")], ["assistant:"]),
    ],
)
def test_a_cut_call_that_nothing_answers_is_left_out(
    items: list[dict[str, Any]], expected: list[str]
) -> None:
    assert [shown(message) for message in translate(items)[0]] == expected


def test_calls_behind_one_that_is_left_out_are_called_by_their_own_names() -> None:
    messages, places = translate([cut("a", "{"), call("b"), output("b")])
    assert [each.id for each in messages[0].tool_calls] == ["b"]
    assert places.rename("messages[0].tool_calls[0].function.arguments") == "input[1].arguments"
    assert places.rename("messages[1].content") == "input[2].output"


@given(st.data())
def test_any_order_of_calls_and_later_outputs_makes_sense(data: st.DataObject) -> None:
    items: list[dict[str, Any]] = []
    waiting: list[str] = []
    num_calls = 0
    for step in data.draw(st.lists(st.sampled_from(["ask", "say", "think", "call", "cut", "output"]))):
        if step in ("call", "cut"):
            num_calls += 1
            name = f"c{num_calls}"
            items.append(cut(name, "{") if step == "cut" else call(name))
            if step == "call" or data.draw(st.booleans()):
                waiting.append(name)
        elif step != "output":
            items.append({"ask": ask, "say": say, "think": think}[step](f"t{len(items)}"))
        elif waiting:
            items.append(output(waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))))
    items += [output(name) for name in waiting]
    messages, _ = translate(items)
    told = [
        {
            "role": chat_pb2.Role.Name(message.role).removeprefix("ROLE_").lower(),
            "tool_call_id": message.tool_call_id,
            "tool_calls": [
                {
                    "id": each.id,
                    "function": {"name": each.function.name, "arguments": each.function.arguments},
                }
                for each in message.tool_calls
            ],
        }
        for message in messages
    ]
    assert check_history(told) == []
    outputs = [item["call_id"] for item in items if item.get("type") == "function_call_output"]
    assert sorted(message.tool_call_id for message in messages if message.role == TOOL) == sorted(outputs)
    asked = [item["content"] for item in items if item.get("role") == "user"]
    assert [message.content for message in messages if message.role == USER] == asked


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("stream", [False, True])
async def test_a_kept_response_whose_call_was_cut_can_be_continued(
    http: httpx.AsyncClient, service: Any, script: Any, stream: bool
) -> None:
    length = chat_pb2.FINISH_REASON_LENGTH
    made = tool_call("call_a", "f", '{"city":')
    service.answer = script.completion(script.choice(finish_reason=length, tool_calls=[made]))
    service.steps = [
        script.chunk(script.role()),
        script.chunk(calls(call_delta(0, '{"city":', id="call_a", name="f"))),
        script.chunk(script.finish(length), usage=script.usage),
    ]
    answer = await http.post(RESPONSES, json=ASKED | {"stream": stream})
    response = events_of(answer.text)[-1]["response"] if stream else answer.json()
    assert response["output"][0]["arguments"] == '{"city":', "the caller sees what there is"
    service.answer = script.completion()
    for items, expected in (
        ([output("call_a")], ["user:", "assistant: call_a{}", "tool:of call_a"]),
        ([ask("Well?")], ["user:", "assistant:", "user:Well?"]),
        ([ask("Well?"), output("call_a")], ["user:", "assistant: call_a{}", "tool:of call_a", "user:Well?"]),
    ):
        asked = ASKED | {"input": items, "previous_response_id": response["id"]}
        answer = await http.post(RESPONSES, json=asked)
        assert answer.status_code == 200, answer.text
        assert [shown(message) for message in service.requests[-1].messages] == expected
