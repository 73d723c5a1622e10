"""Bad fields are called what the caller called them."""

from __future__ import annotations

from typing import Any

import pytest

from llamawire_server.errors import (
    Condition,
    FieldViolation,
    ServiceError,
    engine_fault,
    from_status,
    invalid,
    invalid_field,
    to_status,
    unsupported,
)
from llamawire_server.shim.chat.field_names import renaming
from llamawire_server.shim.chat.request_schema import ChatCompletionRequest
from llamawire_server.shim.http.body import validate
from llamawire_server.shim.http.errors import as_sent

FUNCTIONS: dict[str, Any] = {"functions": [{"name": "f"}]}
ALLOWED: dict[str, Any] = {
    "tools": [{"type": "function", "function": {"name": name}} for name in "fgh"],
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "auto",
            "tools": [{"type": "function", "function": {"name": name}} for name in "hg"],
        },
    },
}
OLDER: dict[str, Any] = {
    "messages": [
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "x"},
    ]
}


def request(**fields: Any) -> ChatCompletionRequest:
    return validate(
        {"model": "m", "messages": [], **fields}, ChatCompletionRequest, allow_unknown_fields=False
    )


@pytest.mark.parametrize(
    ("fields", "name", "sent"),
    [
        ({}, "messages[3].content_parts[1]", "messages[3].content[1]"),
        ({}, "messages[3].content", "messages[3].content"),
        ({}, "messages[0].tool_calls[1].function.name", "messages[0].tool_calls[1].function.name"),
        ({"max_completion_tokens": 0}, "max_tokens", "max_completion_tokens"),
        ({"max_tokens": 0}, "max_tokens", "max_tokens"),
        ({"stop": ""}, "stop[0]", "stop"),
        ({"stop": [""]}, "stop[0]", "stop[0]"),
        ({}, "response_format.grammar.grammar", "response_format.grammar"),
        ({}, "response_format.grammar.syntax", "response_format.syntax"),
        ({}, "response_format.json_schema.schema/a", "response_format.json_schema.schema/a"),
        (FUNCTIONS, "tools[0].function.name", "functions[0].name"),
        (FUNCTIONS, "tools[0].function.parameters/a", "functions[0].parameters/a"),
        (FUNCTIONS, "tools", "functions"),
        (FUNCTIONS, "tool_choice.function_name", "function_call.name"),
        (ALLOWED, "tools[0].function.name", "tools[1].function.name"),
        (ALLOWED, "tools[1].function.parameters/a", "tools[2].function.parameters/a"),
        (ALLOWED, "tools", "tools"),
        (ALLOWED, "messages[3].content_parts[1]", "messages[3].content[1]"),
        ({}, "tools[0].function.name", "tools[0].function.name"),
        ({}, "tools", "tools"),
        ({}, "tool_choice.function_name", "tool_choice.function.name"),
        ({}, "tool_choice", "tool_choice"),
        (OLDER, "messages[0].tool_calls[0].id", "messages[0].function_call"),
        (OLDER, "messages[0].tool_calls[0].function.arguments", "messages[0].function_call.arguments"),
        (OLDER, "messages[1].tool_call_id", "messages[1].name"),
        (OLDER, "messages[1].content", "messages[1].content"),
        ({}, "messages[0].tool_calls[0].id", "messages[0].tool_calls[0].id"),
    ],
)
def test_each_name(fields: dict[str, Any], name: str, sent: str) -> None:
    error = as_sent(invalid_field(name, "is odd"), renaming(request(**fields)))
    assert list(error.violations) == [FieldViolation(sent, "is odd")]
    assert error.message == f"{sent}: is odd"
    assert (error.condition, error.reason) == (Condition.INVALID, "INVALID_FIELD")


def test_a_message_of_its_own_words_is_kept() -> None:
    violations = [FieldViolation("max_tokens", "does not fit")]
    error = ServiceError(Condition.INVALID, "TOO_LONG", "max_tokens is 9", violations=violations)
    renamed = as_sent(error, renaming(request(max_completion_tokens=9)))
    assert renamed.message == "max_tokens is 9"
    assert renamed.violations[0].field == "max_completion_tokens"


def test_its_own_words_may_read_like_a_list() -> None:
    """The reason says what a message is, and not its text."""
    violations = [FieldViolation("max_tokens", "does not fit")]
    error = ServiceError(Condition.INVALID, "TOO_LONG", "max_tokens: does not fit", violations=violations)
    assert as_sent(error, renaming(request(max_completion_tokens=9))).message == "max_tokens: does not fit"


def test_a_list_that_was_cut_on_its_way_is_renamed() -> None:
    """As another server's may be: a status has little room."""
    fields = [FieldViolation(f"messages[{index}].content_parts[0]", "is odd") for index in range(40)]
    cut = from_status(to_status(invalid(fields), "id"))
    renamed = as_sent(cut, renaming(request()))
    assert renamed.message.startswith("messages[0].content[0]: is odd; messages[1].content[0]: is odd")
    assert renamed.message.endswith("; and 8 more are wrong")


def test_every_field_of_several_is_renamed() -> None:
    fields = [FieldViolation(name, "is odd") for name in ("stop[0]", "n", "max_tokens")]
    for error in (invalid(fields), unsupported(fields)):
        renamed = as_sent(error, renaming(request(stop="", max_completion_tokens=0)))
        assert renamed.message == "stop: is odd; n: is odd; max_completion_tokens: is odd"
        assert renamed.condition is error.condition


def test_the_rest_of_an_error_is_kept() -> None:
    error = engine_fault("it broke")
    assert as_sent(error, renaming(request())).message == "it broke"
    busy = ServiceError(Condition.BUSY, "FULL", "full", retry_seconds=3.0, metadata={"limit": "1"})
    kept = as_sent(busy, renaming(request()))
    assert (kept.retry_after_seconds, kept.metadata, kept.message) == (3.0, {"limit": "1"}, "full")
