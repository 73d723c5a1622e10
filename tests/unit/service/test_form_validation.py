"""What is wrong with what a request says of its answer's form, field by field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llamawire.v1 import chat_pb2
from llamawire_server.errors import Condition, ServiceError
from llamawire_server.service import validation

USER = {"role": chat_pb2.ROLE_USER, "content": "x"}
MODES = chat_pb2.ToolChoice


def complaints(**fields: Any) -> dict[str, str]:
    """What is wrong with a request, by field; nothing where it is taken."""
    request = chat_pb2.ChatCompletionRequest(**{"model": "m", "messages": [USER], **fields})
    try:
        validation.check_chat_request(request)
    except ServiceError as error:
        refusal = error
    else:
        return {}
    assert refusal.condition is Condition.INVALID
    return {violation.field: violation.description for violation in refusal.violations}


def tool(name: str = "f", parameters: Any = None, **function: Any) -> dict[str, Any]:
    text = parameters if isinstance(parameters, str) else json.dumps(parameters) if parameters else ""
    return {"function": {"name": name, "parameters": text, **function}}


DEEP = '{"a":' * 200 + "1" + "}" * 200

SCHEMAS = [
    ("{}", ""),
    ('{"type": "object", "properties": {"a": {"type": ["string", "null"]}}}', ""),
    ("[]", "must be a JSON object"),
    ("true", "must be a JSON object"),
    ('"x"', "must be a JSON object"),
    ("{", "is no JSON: Expecting property name enclosed in double quotes, at line 1, column 2"),
    ('{"a": NaN}', "NaN is no JSON"),
    ('{"maximum": 1e999}', "the number 1e999 is too large"),
    (f'{{"a": {2**64}}}', "can't be used"),
    ('{"a": "\\ud800"}', "can't be used"),
    (DEEP, "is nested more than 128 levels deep"),
    ('{"a":' * 100_000, "is longer than 100000 characters"),
    (json.dumps({"description": "x" * 140_000}), "is longer than 100000 characters"),
]


@pytest.mark.parametrize(("schema", "complaint"), SCHEMAS, ids=lambda text: str(text)[:20])
def test_a_schema_is_a_json_object_of_a_bounded_size(schema: str, complaint: str) -> None:
    wanted = complaints(response_format={"json_schema": {"name": "s", "schema": schema}})
    called = complaints(tools=[tool(parameters=schema)])
    if not complaint:
        assert (wanted, called) == ({}, {})
    else:
        assert complaint in wanted["response_format.json_schema.schema"]
        assert complaint in called["tools[0].function.parameters"]


@pytest.mark.parametrize("schema", ['{"type": "string"}', '{"type": ["object", "null"]}', '{"type": 1}'])
def test_a_function_s_arguments_are_an_object(schema: str) -> None:
    assert complaints(tools=[tool(parameters=schema)]) == {
        "tools[0].function.parameters": "must be the schema of an object"
    }
    assert complaints(response_format={"json_schema": {"schema": schema}}) == {}


def test_tools_have_room_for_so_much_together() -> None:
    half = {"description": "x" * 70_000}
    assert complaints(tools=[tool("f", half)]) == {}
    assert set(complaints(tools=[tool("f", half), tool("g", half)])) == {"tools"}
    assert set(complaints(tools=[tool(description="x" * 70_000)])) == {"tools[0].function.description"}


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({"tool_choice": {"mode": MODES.MODE_AUTO}}, set()),
        ({"tool_choice": {"mode": MODES.MODE_NONE}}, set()),
        ({"tool_choice": {"mode": MODES.MODE_REQUIRED}}, {"tool_choice"}),
        ({"tool_choice": {"function_name": "f"}}, {"tool_choice.function_name"}),
        ({"tool_choice": {"function_name": ""}, "tools": [tool()]}, {"tool_choice.function_name"}),
        ({"tool_choice": {"function_name": "g"}, "tools": [tool()]}, {"tool_choice.function_name"}),
        ({"tool_choice": {"function_name": "f"}, "tools": [tool()]}, set()),
        ({"tool_choice": {"mode": MODES.MODE_REQUIRED}, "tools": [tool()]}, set()),
        ({"tool_choice": {"mode": 99}, "tools": [tool()]}, {"tool_choice.mode"}),
    ],
)
def test_what_is_to_be_called_is_there(fields: dict[str, Any], bad: set[str]) -> None:
    assert set(complaints(**fields)) == bad


FORMATS: list[dict[str, Any]] = [
    {"json_object": {}},
    {"json_schema": {"schema": "{}"}},
    {"grammar": {"grammar": "x"}},
]


@pytest.mark.parametrize("wanted", FORMATS)
def test_an_answer_that_must_be_a_call_has_no_other_form(wanted: dict[str, Any]) -> None:
    for choice in ({"mode": MODES.MODE_REQUIRED}, {"function_name": "f"}):
        found = complaints(response_format=wanted, tools=[tool()], tool_choice=choice)
        assert set(found) == {"response_format"}
        assert "tool_choice" in found["response_format"]
    assert complaints(response_format=wanted, tools=[tool()]) == {}
    assert complaints(response_format={"text": {}}, tools=[tool()], tool_choice={"function_name": "f"}) == {}


@pytest.mark.parametrize(
    ("wanted", "bad"),
    [
        ({"json_schema": {"name": "s"}}, {"response_format.json_schema.schema"}),
        ({"grammar": {}}, {"response_format.grammar.grammar"}),
        ({"grammar": {"grammar": "x" * 100_001}}, {"response_format.grammar.grammar"}),
        ({"grammar": {"grammar": "x", "syntax": 9}}, {"response_format.grammar.syntax"}),
        ({"grammar": {"grammar": "x", "syntax": 3}}, set()),
    ],
)
def test_a_form_is_described_whole(wanted: dict[str, Any], bad: set[str]) -> None:
    assert set(complaints(response_format=wanted)) == bad


def test_log_probabilities_are_asked_for_before_their_number() -> None:
    assert set(complaints(top_logprobs=3)) == {"top_logprobs"}
    assert set(complaints(top_logprobs=3, logprobs=False)) == {"top_logprobs"}
    assert complaints(top_logprobs=0, logprobs=True) == {}


def test_a_history_that_makes_no_sense_is_named() -> None:
    answer = {"role": chat_pb2.ROLE_TOOL, "content": "x", "tool_call_id": "nobody"}
    found = complaints(messages=[USER, answer])
    assert {field.partition(".")[0] for field in found} == {"messages[1]"}


def test_counting_looks_at_the_tools_and_at_no_more() -> None:
    request = chat_pb2.ChatCompletionRequest(
        model="m", messages=[USER], tools=[tool(parameters="{")], response_format={"grammar": {}}
    )
    with pytest.raises(ServiceError) as caught:
        validation.check_prompt(request)
    assert [violation.field for violation in caught.value.violations] == ["tools[0].function.parameters"]
