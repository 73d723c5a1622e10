"""Requests, from OpenAI's form to the contract's: nothing is lost, nothing is made up."""

from __future__ import annotations

import base64
import json
import math
import time
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from llamawire.v1 import chat_pb2
from llamawire_server.errors import ServiceError
from llamawire_server.shim.chat.functions import uses_functions
from llamawire_server.shim.chat.request_schema import ChatCompletionRequest
from llamawire_server.shim.chat.translate import to_chat_request
from llamawire_server.shim.http.body import validate

TEXT = st.text(max_size=8)
FLOAT32_MAX = 3.4028234663852886e38
INT32 = st.integers(-(2**31), 2**31 - 1)
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
EXACT = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT
FREE_JSON = st.dictionaries(
    TEXT,
    st.recursive(
        EXACT | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)


def translate(**fields: Any) -> chat_pb2.ChatCompletionRequest:
    """What a request with these fields becomes, sent as JSON."""
    body = json.loads(json.dumps({"model": "m", "messages": [], **fields}))
    return to_chat_request(validate(body, ChatCompletionRequest, allow_unknown_fields=False))


def optional(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=strategies)


JSON_TEXT = FREE_JSON.map(lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")))

PARTS = st.one_of(
    TEXT.map(lambda text: chat_pb2.ContentPart(text=text)),
    TEXT.map(lambda text: chat_pb2.ContentPart(refusal=text)),
    st.builds(chat_pb2.ImageUrl, url=TEXT, detail=TEXT).map(
        lambda image: chat_pb2.ContentPart(image_url=image)
    ),
    st.builds(chat_pb2.InputAudio, data=st.binary(max_size=8), format=TEXT).map(
        lambda audio: chat_pb2.ContentPart(input_audio=audio)
    ),
)
CALLS = st.builds(
    chat_pb2.ToolCall,
    id=TEXT,
    type=st.just("function"),
    function=st.builds(chat_pb2.FunctionCall, name=TEXT, arguments=TEXT),
)
CONTENTS = optional(content=TEXT) | optional(content_parts=st.lists(PARTS, min_size=1, max_size=3))
MESSAGES = st.builds(
    lambda content, fields: chat_pb2.Message(**content, **fields),
    CONTENTS,
    st.fixed_dictionaries(
        {"role": st.sampled_from(chat_pb2.Role.values()[1:])},
        optional={
            "name": TEXT,
            "tool_calls": st.lists(CALLS, max_size=2),
            "tool_call_id": TEXT,
            "reasoning_content": TEXT,
            "refusal": TEXT,
        },
    ),
)
FUNCTIONS = optional(name=TEXT, description=TEXT, parameters=JSON_TEXT, strict=st.booleans()).map(
    lambda fields: chat_pb2.FunctionDefinition(**fields)
)
FORMATS = st.one_of(
    st.just(chat_pb2.ResponseFormat(text=chat_pb2.TextFormat())),
    st.just(chat_pb2.ResponseFormat(json_object=chat_pb2.JsonObjectFormat())),
    optional(name=TEXT, description=TEXT, schema=JSON_TEXT, strict=st.booleans()).map(
        lambda fields: chat_pb2.ResponseFormat(json_schema=chat_pb2.JsonSchemaFormat(**fields))
    ),
    st.builds(
        chat_pb2.GrammarFormat,
        syntax=st.sampled_from(chat_pb2.GrammarFormat.Syntax.values()),
        grammar=TEXT,
    ).map(lambda grammar: chat_pb2.ResponseFormat(grammar=grammar)),
)
CHOICES = st.one_of(
    st.sampled_from(chat_pb2.ToolChoice.Mode.values()[1:]).map(lambda mode: chat_pb2.ToolChoice(mode=mode)),
    TEXT.map(lambda name: chat_pb2.ToolChoice(function_name=name)),
)
NUMBERS = {
    **dict.fromkeys(["temperature", "top_p", "min_p", "repeat_penalty"], FLOAT32),
    **dict.fromkeys(["frequency_penalty", "presence_penalty"], FLOAT32),
    **dict.fromkeys(["top_k", "max_tokens", "n", "top_logprobs", "priority", "reasoning_budget"], INT32),
    **dict.fromkeys(["logprobs", "parallel_tool_calls", "wait_for_model"], st.booleans()),
    "seed": st.integers(-(2**63), 2**63 - 1),
}


@st.composite
def requests(draw: st.DrawFn) -> chat_pb2.ChatCompletionRequest:
    """Any request that can be said in OpenAI's form."""
    request = chat_pb2.ChatCompletionRequest(
        **draw(optional(**NUMBERS)),
        model=draw(TEXT),
        messages=draw(st.lists(MESSAGES, max_size=3)),
        stop=draw(st.lists(TEXT, max_size=2)),
        stop_token_ids=draw(st.lists(INT32, max_size=2)),
        logit_bias=draw(st.dictionaries(INT32, FLOAT32, max_size=2)),
        tools=[chat_pb2.Tool(function=function) for function in draw(st.lists(FUNCTIONS, max_size=2))],
        tool_choice=draw(st.none() | CHOICES),
        response_format=draw(st.none() | FORMATS),
        reasoning_effort=draw(st.sampled_from(chat_pb2.ReasoningEffort.values())),
        prediction=draw(st.none() | TEXT.map(lambda text: chat_pb2.Prediction(content=text))),
        user=draw(TEXT),
        metadata=draw(st.dictionaries(TEXT, TEXT, max_size=2)),
    )
    if (variables := draw(st.none() | FREE_JSON)) is not None:
        request.chat_template_kwargs.update(variables)
    return request


def in_openai_form(request: chat_pb2.ChatCompletionRequest) -> dict[str, Any]:
    """The request as OpenAI's clients would send it: the translation's inverse."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [message_in_openai_form(message) for message in request.messages],
        "stop": list(request.stop),
        "stop_token_ids": list(request.stop_token_ids),
        "logit_bias": {str(token): bias for token, bias in request.logit_bias.items()},
        "tools": [
            {"type": "function", "function": schema_in_openai_form(tool.function, "parameters")}
            for tool in request.tools
        ],
        "user": request.user,
        "metadata": dict(request.metadata),
        **{name: getattr(request, name) for name in NUMBERS if request.HasField(name)},
    }
    choice = request.tool_choice
    if choice.WhichOneof("choice") == "mode":
        body["tool_choice"] = chat_pb2.ToolChoice.Mode.Name(choice.mode).removeprefix("MODE_").lower()
    elif choice.WhichOneof("choice") == "function_name":
        body["tool_choice"] = {"type": "function", "function": {"name": choice.function_name}}
    if request.HasField("response_format"):
        body["response_format"] = format_in_openai_form(request.response_format)
    if request.reasoning_effort:
        effort = chat_pb2.ReasoningEffort.Name(request.reasoning_effort)
        body["reasoning_effort"] = effort.removeprefix("REASONING_EFFORT_").lower()
    if request.HasField("chat_template_kwargs"):
        body["chat_template_kwargs"] = MessageToDict(request.chat_template_kwargs)
    if request.HasField("prediction"):
        body["prediction"] = {"type": "content", "content": request.prediction.content}
    return body


def message_in_openai_form(message: chat_pb2.Message) -> dict[str, Any]:
    body = {
        "role": chat_pb2.Role.Name(message.role).removeprefix("ROLE_").lower(),
        "content": message.content if message.HasField("content") else None,
        "name": message.name,
        "tool_call_id": message.tool_call_id,
        "reasoning_content": message.reasoning_content if message.HasField("reasoning_content") else None,
        "refusal": message.refusal if message.HasField("refusal") else None,
        "tool_calls": [
            {
                "id": call.id,
                "type": call.type,
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in message.tool_calls
        ],
    }
    if message.content_parts:
        body["content"] = [part_in_openai_form(part) for part in message.content_parts]
    return body


def part_in_openai_form(part: chat_pb2.ContentPart) -> dict[str, Any]:
    kind = part.WhichOneof("part")
    if kind == "image_url":
        return {"type": kind, kind: {"url": part.image_url.url, "detail": part.image_url.detail}}
    if kind == "input_audio":
        data = base64.b64encode(part.input_audio.data).decode()
        return {"type": kind, kind: {"data": data, "format": part.input_audio.format}}
    return {"type": kind, kind: getattr(part, kind)}


def schema_in_openai_form(source: Any, schema_field: str) -> dict[str, Any]:
    text = getattr(source, schema_field)
    return {
        "name": source.name,
        "description": source.description,
        schema_field: json.loads(text) if text else None,
        "strict": source.strict if source.HasField("strict") else None,
    }


def format_in_openai_form(source: chat_pb2.ResponseFormat) -> dict[str, Any]:
    kind = source.WhichOneof("format")
    if kind == "json_schema":
        return {"type": kind, kind: schema_in_openai_form(source.json_schema, "schema")}
    if kind == "grammar":
        name = chat_pb2.GrammarFormat.Syntax.Name(source.grammar.syntax).removeprefix("SYNTAX_").lower()
        syntax = None if name == "unspecified" else name
        return {"type": kind, "syntax": syntax, "grammar": source.grammar.grammar}
    return {"type": kind}


@given(requests())
def test_every_request_survives_the_way_through_openai_s_form(request):
    assert translate(**in_openai_form(request)) == request


def test_null_is_absent():
    names = [
        *NUMBERS,
        "stop",
        "stop_token_ids",
        "logit_bias",
        "tools",
        "tool_choice",
        "functions",
        "metadata",
    ]
    names += ["function_call", "response_format", "reasoning_effort", "chat_template_kwargs", "prediction"]
    names += ["user", "max_completion_tokens", "stream", "stream_options", "store", "audio", "modalities"]
    nulls = dict.fromkeys(names)
    assert translate(**nulls) == translate()


def test_an_explicit_zero_is_not_absent():
    request = translate(temperature=0, top_k=0, seed=0, max_tokens=0, logprobs=False, wait_for_model=False)
    assert request.HasField("temperature")
    assert request.HasField("top_k")
    assert request.HasField("seed")
    assert request.HasField("max_tokens")
    assert request.HasField("logprobs")
    assert request.HasField("wait_for_model")
    assert not request.HasField("top_p")


def test_what_has_no_effect_is_accepted():
    assert (
        translate(
            stream=True,
            stream_options={"include_usage": True, "include_obfuscation": False},
            prompt_cache_key="k",
            prompt_cache_retention="24h",
            prompt_cache_options={"mode": "implicit"},
            safety_identifier="s",
            service_tier="flex",
            verbosity="low",
            store=True,
            modalities=["text"],
        )
        == translate()
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 5}, 5),
        ({"max_completion_tokens": 5, "max_tokens": 5}, 5),
        ({"max_completion_tokens": 0, "max_tokens": None}, 0),
    ],
)
def test_both_names_of_max_tokens(fields, expected):
    assert translate(**fields).max_tokens == expected


@pytest.mark.parametrize("effort", ["high", "xhigh", "max"])
def test_more_than_a_high_effort_is_a_high_one(effort):
    assert translate(reasoning_effort=effort).reasoning_effort == chat_pb2.REASONING_EFFORT_HIGH


def test_a_stop_may_be_a_string():
    assert list(translate(stop="END").stop) == ["END"]


def test_a_prediction_may_have_parts():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert translate(prediction={"type": "content", "content": parts}).prediction.content == "ab"


def test_a_schema_keeps_its_integers_and_the_order_of_its_keys():
    schema = {
        "type": "object",
        "properties": {"b": {"maximum": 2**70}, "a": {"multipleOf": 0.1, "minimum": 1}},
    }
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert translate(response_format=form).response_format.json_schema.schema == (
        '{"type":"object","properties":{"b":{"maximum":1180591620717411303424},'
        '"a":{"multipleOf":0.1,"minimum":1}}}'
    )


def test_a_nested_template_variable_survives_the_wire():
    """As deep as is accepted: protocol buffers refuse what is nested too deeply only when they read it."""
    value: Any = [1.5]
    for _ in range(22):
        value = {"a": value}
    request = translate(chat_template_kwargs={"b": value})
    assert chat_pb2.ChatCompletionRequest.FromString(request.SerializeToString()) == request
    with pytest.raises(ServiceError, match="nested"):
        translate(chat_template_kwargs={"b": {"c": value}})


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_carried_or_refused(value):
    if abs(value) > FLOAT32_MAX:
        with pytest.raises(ServiceError, match="temperature"):
            translate(temperature=value)
    else:
        carried = translate(temperature=value).temperature
        assert math.isclose(carried, value, rel_tol=1e-6, abs_tol=1e-38)


def test_the_older_function_calling():
    call = {"name": "weather", "arguments": '{"city":"Rome"}'}
    fields: dict[str, Any] = {
        "functions": [{"name": "weather", "parameters": {"type": "object"}}],
        "function_call": "auto",
        "messages": [
            {"role": "user", "content": "Rome?"},
            {"role": "assistant", "content": None, "function_call": call},
            {"role": "function", "name": "weather", "content": "sunny"},
        ],
    }
    request = translate(**fields)
    assert uses_functions(
        validate({"model": "m", **fields}, ChatCompletionRequest, allow_unknown_fields=False)
    )
    assert request.tools[0].function.parameters == '{"type":"object"}'
    assert request.tool_choice.mode == chat_pb2.ToolChoice.MODE_AUTO
    assert request.HasField("parallel_tool_calls")
    assert not request.parallel_tool_calls
    _, asked, answered = request.messages
    assert asked.tool_calls[0].function == chat_pb2.FunctionCall(**call)
    assert answered.role == chat_pb2.ROLE_TOOL
    assert answered.content == "sunny"
    assert answered.tool_call_id == asked.tool_calls[0].id != ""


def test_a_long_history_of_function_calls_takes_no_longer_than_another():
    asked = {"role": "assistant", "function_call": {"name": "f", "arguments": ""}}
    answer = {"role": "function", "name": "f", "content": "1"}
    request = validate(
        {"model": "m", "messages": [asked, *[answer] * 16_000]},
        ChatCompletionRequest,
        allow_unknown_fields=False,
    )
    began = time.process_time()
    message = to_chat_request(request)
    assert time.process_time() - began < 2, "looking for the call from each answer takes 6 s and more"
    assert len({answer.tool_call_id for answer in message.messages[1:]}) == 1


def test_a_function_s_answer_is_to_the_last_call_of_it():
    asked = [{"role": "assistant", "function_call": {"name": name, "arguments": ""}} for name in "faf"]
    answer = {"role": "function", "name": "f", "content": "1"}
    messages = translate(messages=[*asked, answer, asked[1], {**answer, "name": "a"}, answer]).messages
    ids = [call.id for message in messages for call in message.tool_calls]
    assert len(set(ids)) == 4
    assert [message.tool_call_id for message in messages if message.tool_call_id] == [ids[2], ids[3], ids[2]]


def test_of_the_tools_those_are_told_that_are_allowed():
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in "fgh"]
    named = [{"type": "function", "function": {"name": name}} for name in "hf"]
    for mode, expected in (
        ("auto", chat_pb2.ToolChoice.MODE_AUTO),
        ("required", chat_pb2.ToolChoice.MODE_REQUIRED),
    ):
        choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}
        request = translate(tools=tools, tool_choice=choice)
        assert [tool.function.name for tool in request.tools] == ["f", "h"]
        assert request.tool_choice.mode == expected
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    assert not translate(tools=tools, tool_choice=choice).tools
