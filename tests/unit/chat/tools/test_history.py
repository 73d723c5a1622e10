"""Calls and results that make sense together, and those that don't."""

from __future__ import annotations

from typing import Any

import pytest

from llamawire_server.chat.tools.history import check_history

USER = {"role": "user", "content": "Well?"}


def call(call_id: str = "a", name: str = "now", arguments: Any = None) -> dict[str, Any]:
    function = {"name": name, "arguments": {} if arguments is None else arguments}
    return {"id": call_id, "type": "function", "function": function}


def calling(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": list(calls)}


def result(call_id: str = "a") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "1"}


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [USER],
        [USER, {"role": "assistant", "content": "x"}, USER],
        [USER, {"role": "assistant", "content": "x", "tool_calls": []}, USER],
        [USER, calling(call()), result()],
        [USER, calling(call()), result(), USER],
        [
            USER,
            calling(call("a"), call("b")),
            result("b"),
            result("a"),
            {"role": "assistant", "content": "x"},
        ],
        [USER, calling(call()), result(), calling(call()), result(), USER],
        [calling(call()), result()],
        [USER, calling(call())],
        [USER, calling(call("a"), call("b")), result("b")],
        [USER, calling(call(arguments='{"a": 1}'))],
        [USER, calling(call(arguments=""))],
        [USER, calling({"id": "a", "function": {"name": "now"}})],
    ],
)
def test_what_is_right(messages: list[dict[str, Any]]) -> None:
    assert check_history(messages) == []


@pytest.mark.parametrize(
    ("messages", "field", "said"),
    [
        ([USER, result()], "messages[1].role", "must follow"),
        ([USER, calling(call()), USER, result()], "messages[3].role", "must follow"),
        ([USER, calling(call()), result("b")], "messages[2].tool_call_id", "'b'"),
        ([USER, calling(call()), result(), result()], "messages[3].tool_call_id", "answered before"),
        (
            [USER, calling(call()), {"role": "tool", "content": "1"}],
            "messages[2].tool_call_id",
            "is required",
        ),
        ([USER, calling(call()), USER], "messages[1].tool_calls[0].id", "no message with role tool"),
        (
            [USER, calling(call("a"), call("b")), result("a"), USER],
            "messages[1].tool_calls[1].id",
            "no message",
        ),
        ([calling(call()), calling(call("b"))], "messages[0].tool_calls[0].id", "no message"),
        ([calling(call(), call())], "messages[0].tool_calls[1].id", "another call"),
        ([calling(call(""))], "messages[0].tool_calls[0].id", "is required"),
        ([calling(call(name=""))], "messages[0].tool_calls[0].function.name", "is required"),
        ([calling(call(arguments="{"))], "messages[0].tool_calls[0].function.arguments", "JSON object"),
        ([calling(call(arguments="[1]"))], "messages[0].tool_calls[0].function.arguments", "JSON object"),
        ([calling(call(arguments=[1]))], "messages[0].tool_calls[0].function.arguments", "JSON object"),
        (
            [calling(call(arguments="[" * 100_000))],
            "messages[0].tool_calls[0].function.arguments",
            "JSON object",
        ),
    ],
)
def test_what_is_wrong(messages: list[dict[str, Any]], field: str, said: str) -> None:
    problems = check_history(messages)
    assert field in [place for place, _ in problems]
    assert any(place == field and said in text for place, text in problems)


def test_everything_is_said_at_once() -> None:
    messages = [result(), calling(call("a"), call("a", arguments="x")), result("c"), USER]
    assert [place for place, _ in check_history(messages)] == [
        "messages[0].role",
        "messages[1].tool_calls[1].id",
        "messages[1].tool_calls[1].function.arguments",
        "messages[2].tool_call_id",
        "messages[1].tool_calls[1].id",
    ]
