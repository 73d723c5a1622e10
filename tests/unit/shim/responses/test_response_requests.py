"""Responses requests as chat requests, and bad fields called by what the caller called them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)

from llamawire.v1 import chat_pb2
from llamawire_server.errors import ServiceError, invalid_field
from llamawire_server.shim.chat.places import Places
from llamawire_server.shim.http.body import validate
from llamawire_server.shim.http.errors import as_sent
from llamawire_server.shim.responses import history
from llamawire_server.shim.responses.field_names import renaming
from llamawire_server.shim.responses.placed_items import given as given_items
from llamawire_server.shim.responses.placed_items import remembered
from llamawire_server.shim.responses.request_schema import ResponseRequest
from llamawire_server.shim.responses.translate import to_chat_request

USER, ASSISTANT, TOOL, SYSTEM = (
    chat_pb2.ROLE_USER,
    chat_pb2.ROLE_ASSISTANT,
    chat_pb2.ROLE_TOOL,
    chat_pb2.ROLE_SYSTEM,
)
FUNCTION = {
    "type": "function",
    "name": "f",
    "parameters": {"type": "object", "properties": {}},
    "strict": True,
}


def asked(**fields: Any) -> ResponseRequest:
    """A request with these fields, sent as JSON."""
    body = json.loads(json.dumps({"model": "m", **fields}))
    return validate(body, ResponseRequest, allow_unknown_fields=False)


def translate(**fields: Any) -> chat_pb2.ChatCompletionRequest:
    return to_chat(asked(**fields))[0]


def to_chat(request: ResponseRequest) -> tuple[chat_pb2.ChatCompletionRequest, Places]:
    return to_chat_request(request, given_items(request.input))


def message(role: chat_pb2.Role.ValueType, content: str | None = None, **fields: Any) -> chat_pb2.Message:
    return chat_pb2.Message(role=role, content=content, **fields)


def parts(*texts: str) -> list[chat_pb2.ContentPart]:
    return [chat_pb2.ContentPart(text=text) for text in texts]


def call(id: str, arguments: str = "{}") -> chat_pb2.ToolCall:
    function = chat_pb2.FunctionCall(name="f", arguments=arguments)
    return chat_pb2.ToolCall(id=id, type="function", function=function)


def call_item(id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "call_id": id, "name": "f", "arguments": arguments}


def output_item(id: str, output: Any = "done") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id, "output": output}


def said(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": content}


def thought(text: str) -> dict[str, Any]:
    return {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": text}],
    }


def test_a_text_is_a_user_s_message() -> None:
    expected = chat_pb2.ChatCompletionRequest(model="m", messages=[message(USER, "Hi")])
    assert translate(input="Hi") == expected


def test_instructions_come_first() -> None:
    assert list(translate(input="Hi", instructions="Be brief.").messages) == [
        message(SYSTEM, "Be brief."),
        message(USER, "Hi"),
    ]


def test_all_that_is_said_of_the_answer() -> None:
    request = translate(
        input="Hi",
        max_output_tokens=5,
        temperature=0.5,
        top_p=0.25,
        top_logprobs=3,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        tools=[{**FUNCTION, "description": "d"}],
        tool_choice="required",
        parallel_tool_calls=False,
        reasoning={"effort": "xhigh", "summary": "auto"},
        reasoning_budget=9,
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        user="u",
        metadata={"a": "b"},
        top_k=4,
        min_p=0.5,
        seed=7,
        wait_for_model=False,
        priority=-3,
        chat_template_kwargs={"a": 1},
    )
    expected = chat_pb2.ChatCompletionRequest(
        model="m",
        messages=[message(USER, "Hi")],
        max_tokens=5,
        temperature=0.5,
        top_p=0.25,
        logprobs=True,
        top_logprobs=3,
        tool_choice=chat_pb2.ToolChoice(mode=chat_pb2.ToolChoice.MODE_REQUIRED),
        parallel_tool_calls=False,
        reasoning_effort=chat_pb2.REASONING_EFFORT_HIGH,
        reasoning_budget=9,
        user="u",
        metadata={"a": "b"},
        top_k=4,
        min_p=0.5,
        seed=7,
        wait_for_model=False,
        priority=-3,
    )
    expected.tools.add(
        function=chat_pb2.FunctionDefinition(
            name="f", description="d", parameters='{"type":"object","properties":{}}', strict=True
        )
    )
    form = chat_pb2.JsonSchemaFormat(name="n", schema='{"type":"object"}', strict=True)
    expected.response_format.json_schema.CopyFrom(form)
    expected.chat_template_kwargs.update({"a": 1})
    assert request == expected


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"type": "text"}, chat_pb2.ResponseFormat(text=chat_pb2.TextFormat())),
        ({"type": "json_object"}, chat_pb2.ResponseFormat(json_object=chat_pb2.JsonObjectFormat())),
        (
            {"type": "grammar", "syntax": "regex", "grammar": "a|b"},
            chat_pb2.ResponseFormat(
                grammar=chat_pb2.GrammarFormat(syntax=chat_pb2.GrammarFormat.SYNTAX_REGEX, grammar="a|b")
            ),
        ),
    ],
)
def test_other_forms(form: dict[str, Any], expected: chat_pb2.ResponseFormat) -> None:
    assert translate(input="Hi", text={"format": form, "verbosity": "low"}).response_format == expected


def test_choices_of_tools() -> None:
    other = {**FUNCTION, "name": "g"}
    named = translate(input="Hi", tools=[FUNCTION], tool_choice={"type": "function", "name": "f"})
    assert named.tool_choice.function_name == "f"
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    some = translate(input="Hi", tools=[FUNCTION, other], tool_choice=allowed)
    assert [tool.function.name for tool in some.tools] == ["g"]
    assert some.tool_choice.mode == chat_pb2.ToolChoice.MODE_REQUIRED
    with pytest.raises(ServiceError) as caught:
        translate(input="Hi", tools=[FUNCTION], tool_choice=allowed)
    assert caught.value.violations[0].field == "tool_choice.tools[0].name"


ITEMS: list[tuple[list[dict[str, Any]], list[chat_pb2.Message]]] = [
    (
        [{"role": "developer", "content": "a"}, {"type": "message", "role": "user", "content": "b"}],
        [message(chat_pb2.ROLE_DEVELOPER, "a"), message(USER, "b")],
    ),
    (
        [
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
            }
        ],
        [message(USER, content_parts=parts("a", "b"))],
    ),
    (
        [{"role": "user", "content": [{"type": "input_image", "image_url": "data:x", "detail": "low"}]}],
        [
            message(
                USER,
                content_parts=[chat_pb2.ContentPart(image_url=chat_pb2.ImageUrl(url="data:x", detail="low"))],
            )
        ],
    ),
    (
        [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}],
        [message(ASSISTANT, content_parts=[chat_pb2.ContentPart(refusal="No.")])],
    ),
    # One turn of the assistant.
    (
        [
            thought("hm"),
            said("Let me look."),
            call_item("a"),
            call_item("b"),
            output_item("a"),
            output_item("b"),
        ],
        [
            message(
                ASSISTANT,
                content_parts=parts("Let me look."),
                reasoning_content="hm",
                tool_calls=[call("a"), call("b")],
            ),
            message(TOOL, "done", tool_call_id="a"),
            message(TOOL, "done", tool_call_id="b"),
        ],
    ),
    # The order of calls and text within it is not chat's to say.
    ([call_item("a"), said("x")], [message(ASSISTANT, content_parts=parts("x"), tool_calls=[call("a")])]),
    # Two answers are two messages, with the reasoning before each.
    (
        [thought("1"), said("a"), thought("2"), said("b")],
        [
            message(ASSISTANT, content_parts=parts("a"), reasoning_content="1"),
            message(ASSISTANT, content_parts=parts("b"), reasoning_content="2"),
        ],
    ),
    # Calls that were reasoned about in between are answered together.
    (
        [thought("1"), call_item("a"), thought("2"), call_item("b")],
        [message(ASSISTANT, reasoning_content="1\n2", tool_calls=[call("a"), call("b")])],
    ),
    (
        [call_item("a"), output_item("a", [{"type": "input_text", "text": "1"}]), said("b")],
        [
            message(ASSISTANT, tool_calls=[call("a")]),
            message(TOOL, content_parts=parts("1"), tool_call_id="a"),
            message(ASSISTANT, content_parts=parts("b")),
        ],
    ),
    (
        [{"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "s"}]}, said("a")],
        [message(ASSISTANT, content_parts=parts("a"), reasoning_content="s")],
    ),
    (
        [{"type": "reasoning", "id": "r", "summary": []}, {"role": "user", "content": "a"}],
        [message(USER, "a")],
    ),
]


@pytest.mark.parametrize(("given", "expected"), ITEMS)
def test_items(given: list[dict[str, Any]], expected: list[chat_pb2.Message]) -> None:
    assert list(translate(input=given).messages) == expected


@pytest.mark.parametrize(("given", "expected"), ITEMS)
def test_what_is_kept_means_the_same(given: list[dict[str, Any]], expected: list[chat_pb2.Message]) -> None:
    """A conversation that goes on from kept items is one that had them sent."""
    request = asked(input=given)
    kept_input = history.kept_input(given_items(request.input))
    turn = history.keepable(kept_input, {"output": []}, None)
    items = remembered(history.parsed_items(turn)) + given_items("next")
    message, places = to_chat_request(asked(input="next"), items)
    *earlier, _ = message.messages
    assert [text_of(each) for each in earlier] == [text_of(each) for each in expected]
    assert places.rename("messages[0].content") == "previous_response_id"
    assert places.rename(f"messages[{len(earlier)}].content") == "input"


def text_of(source: chat_pb2.Message) -> chat_pb2.Message:
    """The message with its text as one part: a kept text is in parts."""
    result = chat_pb2.Message()
    result.CopyFrom(source)
    if source.HasField("content") and source.role != TOOL:
        result.ClearField("content")
        result.content_parts.add(text=source.content)
    return result


@pytest.mark.parametrize(
    ("fields", "name", "sent"),
    [
        ({"input": "Hi"}, "messages[0].content", "input"),
        ({"input": "Hi"}, "messages", "input"),
        ({"input": "Hi", "instructions": "x"}, "messages[0].content", "instructions"),
        ({"input": "Hi", "instructions": "x"}, "messages[1].content", "input"),
        ({"input": [{"role": "user", "content": "a"}]}, "messages[0].content", "input[0].content"),
        ({"input": [{"role": "user", "content": "a"}]}, "messages[0].role", "input[0].role"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}]},
            "messages[0].content_parts[0]",
            "input[0].content[0]",
        ),
        ({"input": [thought("a"), said("b")]}, "messages[0].reasoning_content", "input[0]"),
        ({"input": [thought("a"), said("b")]}, "messages[0].content_parts[0]", "input[1].content[0]"),
        ({"input": [said("b"), call_item("a")]}, "messages[0].tool_calls[0].id", "input[1].call_id"),
        (
            {"input": [said("b"), call_item("a")]},
            "messages[0].tool_calls[0].function.arguments",
            "input[1].arguments",
        ),
        ({"input": [call_item("a"), output_item("b")]}, "messages[1].tool_call_id", "input[1].call_id"),
        ({"input": [output_item("b")]}, "messages[0].role", "input[0]"),
        ({"input": [output_item("b")]}, "messages[0].content", "input[0].output"),
        ({"max_output_tokens": 0}, "max_tokens", "max_output_tokens"),
        ({}, "response_format.json_schema.schema/properties/a", "text.format.schema/properties/a"),
        ({}, "response_format.grammar.grammar", "text.format.grammar"),
        ({}, "response_format", "text.format"),
        ({"tools": [FUNCTION]}, "tools[0].function.parameters/a", "tools[0].parameters/a"),
        ({}, "tools", "tools"),
        ({}, "tool_choice.function_name", "tool_choice.name"),
        ({}, "reasoning_effort", "reasoning.effort"),
        ({}, "top_logprobs", "top_logprobs"),
        ({}, "messages[9].content", "messages[9].content"),
    ],
)
def test_a_bad_field_is_called_by_its_own_name(fields: dict[str, Any], name: str, sent: str) -> None:
    request = asked(**fields)
    _, places = to_chat(request)
    error = as_sent(invalid_field(name, "is odd"), renaming(request, places))
    assert error.violations[0].field == sent
    assert error.message == f"{sent}: is odd"


def test_a_tool_of_those_that_are_allowed_is_called_by_its_place_among_all() -> None:
    other = {**FUNCTION, "name": "g"}
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]}
    request = asked(tools=[FUNCTION, other], tool_choice=allowed)
    rename = renaming(request, to_chat(request)[1])
    assert rename("tools[0].function.name") == "tools[1].name"


def test_every_field_that_the_sdk_knows_is_decided_upon() -> None:
    """A new one fails here until somebody honours it, or refuses it."""
    known = set(get_type_hints(ResponseCreateParamsStreaming)) | set(
        get_type_hints(ResponseCreateParamsNonStreaming)
    )
    assert known <= set(ResponseRequest.model_fields)


def test_every_field_is_in_the_docs() -> None:
    docs = (Path(__file__).parents[4] / "docs/responses.md").read_text()
    assert not [name for name in ResponseRequest.model_fields if not re.search(rf"`{name}\b", docs)]
