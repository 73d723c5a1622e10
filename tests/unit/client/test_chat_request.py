"""Chat requests from keyword arguments."""

from __future__ import annotations

import json

import pytest

from llamawire import request, user
from llamawire.chat_request import ChatOptions
from llamawire.v1 import chat_pb2


def test_every_field_of_the_proto_is_an_option():
    assert ChatOptions.__annotations__.keys() == set(chat_pb2.ChatCompletionRequest.DESCRIPTOR.fields_by_name)


def test_zero_is_kept_and_none_is_left_out():
    built = request(
        model="m", temperature=0, top_k=0, seed=0, logprobs=False, max_tokens=None, stop=None, messages=None
    )

    assert {field.name for field, _ in built.ListFields()} == {
        "model",
        "temperature",
        "top_k",
        "seed",
        "logprobs",
    }


def test_every_option_arrives():
    built = request(
        model="m",
        messages=[("system", "be brief"), {"role": "user", "content": "hello"}, user("again")],
        temperature=0.5,
        top_p=0.25,
        top_k=5,
        min_p=0.125,
        frequency_penalty=0.5,
        presence_penalty=-0.5,
        repeat_penalty=1.5,
        seed=7,
        max_tokens=9,
        stop="\n",
        stop_token_ids=[1, 2],
        n=2,
        logprobs=True,
        top_logprobs=3,
        logit_bias={5: -1},
        tools=[{"name": "weather"}],
        tool_choice="auto",
        parallel_tool_calls=False,
        response_format="json_object",
        reasoning_effort="low",
        chat_template_kwargs={"enable_thinking": False},
        prediction="hello",
        user="someone",
        metadata={"team": "a"},
        wait_for_model=False,
        priority=-3,
        reasoning_budget=0,
        continuous_usage=True,
    )

    names = {field.name for field, _ in built.ListFields()}
    assert names == set(chat_pb2.ChatCompletionRequest.DESCRIPTOR.fields_by_name)
    assert [message.content for message in built.messages] == ["be brief", "hello", "again"]
    assert built.top_p == 0.25
    assert list(built.stop) == ["\n"]
    assert dict(built.logit_bias) == {5: -1}
    assert built.reasoning_effort == chat_pb2.REASONING_EFFORT_LOW
    assert built.chat_template_kwargs["enable_thinking"] is False
    assert built.prediction.content == "hello"
    assert built.priority == -3
    assert built.HasField("reasoning_budget")


def test_options_take_the_place_of_a_proto_s_fields_and_leave_it_alone():
    base = request(model="m", messages=[("user", "first")], stop=["a"], temperature=1)
    before = chat_pb2.ChatCompletionRequest.FromString(base.SerializeToString())

    built = request(base, messages=[("user", "second")], temperature=0)

    assert [message.content for message in built.messages] == ["second"]
    assert (built.model, built.temperature, list(built.stop)) == ("m", 0, ["a"])
    assert base == before


def test_stop_texts_in_a_row():
    assert list(request(stop=("a", "b")).stop) == ["a", "b"]


SCHEMA = {"type": "object", "properties": {"z": {"type": "integer"}, "a": {"type": "string"}}}


@pytest.mark.parametrize(
    "tool",
    [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True},
        },
        {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True},
        {"name": "f", "description": "d", "parameters": json.dumps(SCHEMA), "strict": True},
        chat_pb2.FunctionDefinition(name="f", description="d", parameters=json.dumps(SCHEMA), strict=True),
        chat_pb2.Tool(
            function=chat_pb2.FunctionDefinition(
                name="f", description="d", parameters=json.dumps(SCHEMA), strict=True
            )
        ),
    ],
)
def test_a_tool_in_any_form(tool):
    function = request(tools=[tool]).tools[0].function

    assert (function.name, function.description, function.strict) == ("f", "d", True)
    assert list(json.loads(function.parameters)["properties"]) == ["z", "a"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("none", chat_pb2.ToolChoice(mode=chat_pb2.ToolChoice.MODE_NONE)),
        ("auto", chat_pb2.ToolChoice(mode=chat_pb2.ToolChoice.MODE_AUTO)),
        ("required", chat_pb2.ToolChoice(mode=chat_pb2.ToolChoice.MODE_REQUIRED)),
        ({"type": "function", "function": {"name": "f"}}, chat_pb2.ToolChoice(function_name="f")),
        (chat_pb2.ToolChoice(function_name="f"), chat_pb2.ToolChoice(function_name="f")),
    ],
)
def test_a_tool_choice_in_any_form(choice, expected):
    assert request(tool_choice=choice).tool_choice == expected


@pytest.mark.parametrize(
    ("response_format", "expected"),
    [
        ("text", chat_pb2.ResponseFormat(text=chat_pb2.TextFormat())),
        ({"type": "json_object"}, chat_pb2.ResponseFormat(json_object=chat_pb2.JsonObjectFormat())),
        (
            {
                "type": "json_schema",
                "json_schema": {"name": "s", "schema": {"type": "null"}, "strict": False},
            },
            chat_pb2.ResponseFormat(
                json_schema=chat_pb2.JsonSchemaFormat(name="s", schema='{"type": "null"}', strict=False)
            ),
        ),
        (
            {"type": "grammar", "grammar": 'root ::= "a"'},
            chat_pb2.ResponseFormat(
                grammar=chat_pb2.GrammarFormat(
                    grammar='root ::= "a"', syntax=chat_pb2.GrammarFormat.SYNTAX_GBNF
                )
            ),
        ),
        (
            {"type": "grammar", "grammar": "a+", "syntax": "regex"},
            chat_pb2.ResponseFormat(
                grammar=chat_pb2.GrammarFormat(grammar="a+", syntax=chat_pb2.GrammarFormat.SYNTAX_REGEX)
            ),
        ),
        (
            chat_pb2.ResponseFormat(text=chat_pb2.TextFormat()),
            chat_pb2.ResponseFormat(text=chat_pb2.TextFormat()),
        ),
        (
            bool,
            chat_pb2.ResponseFormat(
                json_schema=chat_pb2.JsonSchemaFormat(name="bool", schema='{"type": "boolean"}')
            ),
        ),
    ],
)
def test_a_response_format_in_any_form(response_format, expected):
    assert request(response_format=response_format).response_format == expected


def test_an_unknown_option_is_named():
    with pytest.raises(TypeError, match="temprature"):
        request(temprature=1)


@pytest.mark.parametrize(
    "options",
    [
        {"tools": [{"type": "function", "function": {"nmae": "f"}}]},
        {"tools": [{"type": "function", "function": {"name": "f"}, "extra": 1}]},
        {"tool_choice": "maybe"},
        {"tool_choice": {"type": "function"}},
        {"response_format": "xml"},
        {"response_format": {"type": "json_object", "schema": {}}},
        {"response_format": {"type": "json_schema", "json_schema": {"schma": {}}}},
        {"response_format": {"type": "grammar", "grammar": "x", "syntax": "yacc"}},
        {"reasoning_effort": "huge"},
        {"prediction": {"type": "content", "text": "x"}},
        {"logit_bias": {"hello": 1}},
    ],
)
def test_what_stands_for_nothing_is_refused(options):
    with pytest.raises(ValueError):  # noqa: PT011
        request(**options)
