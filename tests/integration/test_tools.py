"""Tools on a model that was hardly trained to call any: calls that must come are always right."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from servers import RunningServer, ask

from llamawire import Client, assistant, call, function, tool, user
from llamawire.v1 import chat_pb2, tokenizer_pb2

CITIES = ["Bern", "Oslo", "Rome"]
WEATHER_SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": CITIES}, "days": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER = function("weather", "The weather in a city.", WEATHER_SCHEMA)
CLOCK = function("clock", "What time it is.")
QUESTION = "What is the weather in Rome?"
SDK_WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": WEATHER_SCHEMA, "strict": True},
}
ASKED: dict[str, Any] = {
    "model": "smollm2",
    "messages": [{"role": "user", "content": QUESTION}],
    "temperature": 0,
    "max_tokens": 60,
}
REQUIRED = chat_pb2.ToolChoice(mode=chat_pb2.ToolChoice.MODE_REQUIRED)
# What a model is told of a tool takes longer to compute than the call: so one tool mostly, and few calls.
ONE_CALL: dict[str, Any] = {
    "max_tokens": 60,
    "tools": [WEATHER],
    "tool_choice": REQUIRED,
    "parallel_tool_calls": False,
}


@pytest.fixture(scope="module")
def called(server: RunningServer) -> chat_pb2.ChatCompletion:
    """An answer that had to be one call."""
    return server.chat.CreateChatCompletion(ask(QUESTION, **ONE_CALL))


def is_weather(arguments: str) -> bool:
    found = json.loads(arguments)
    return sorted(found) == ["city", "days"] and found["city"] in CITIES and 1 <= found["days"] <= 5


def test_a_required_call_comes_and_is_right(called: chat_pb2.ChatCompletion) -> None:
    (choice,) = called.choices
    assert choice.finish_reason == chat_pb2.FINISH_REASON_TOOL_CALLS
    assert not choice.message.HasField("content")
    (made,) = choice.message.tool_calls
    assert made.id.startswith("call_")
    assert (made.type, made.function.name) == ("function", "weather")
    assert is_weather(made.function.arguments)


def test_a_named_function_is_called_and_no_other(client: Client) -> None:
    answer = client.chat.create(
        **ASKED, tools=[WEATHER, CLOCK], tool_choice=call("clock"), parallel_tool_calls=False
    )
    (made,) = answer.tool_calls
    assert (made.name, made.parse_arguments()) == ("clock", {})
    assert answer.finish_reason == "tool_calls"


def test_arguments_are_streamed_as_they_are_generated(
    server: RunningServer, called: chat_pb2.ChatCompletion
) -> None:
    deltas = [
        made
        for chunk in server.chat.StreamChatCompletion(ask(QUESTION, **ONE_CALL))
        for choice in chunk.choices
        for made in choice.delta.tool_calls
    ]
    assert [(made.index, made.type, made.function.name) for made in deltas[:1]] == [
        (0, "function", "weather")
    ]
    assert deltas[0].id
    assert not any(made.id or made.type or made.function.name for made in deltas[1:])
    whole = called.choices[0].message.tool_calls[0].function
    assert "".join(made.function.arguments for made in deltas) == whole.arguments
    assert len(deltas) > 1


def test_several_calls_in_one_answer(server: RunningServer) -> None:
    """A bias for what stands between two calls lets none be the last."""
    request = tokenizer_pb2.TokenizeRequest(model="smollm2", text="}, {", add_special=False)
    separators = server.tokenizer.Tokenize(request).tokens
    asked = ask(
        QUESTION,
        max_tokens=60,
        tools=[CLOCK],
        tool_choice=REQUIRED,
        logit_bias=dict.fromkeys(separators, 100),
    )
    (choice,) = server.chat.CreateChatCompletion(asked).choices
    calls = choice.message.tool_calls
    assert len(calls) > 1
    assert len({made.id for made in calls}) == len(calls)
    assert all((made.function.name, made.function.arguments) == ("clock", "{}") for made in calls[:-1])


def test_each_choice_has_ids_of_its_own(server: RunningServer) -> None:
    asked = ask(QUESTION, n=3, **{**ONE_CALL, "temperature": 1.2, "seed": 3})
    choices = server.chat.CreateChatCompletion(asked).choices
    ids = [made.id for choice in choices for made in choice.message.tool_calls]
    assert len(choices) == 3
    assert len(set(ids)) == len(ids) == 3


def test_a_call_that_a_limit_cuts_says_so(server: RunningServer) -> None:
    """Failure 8 of other servers: a call that was cut says tool_calls, and not length."""
    (choice,) = server.chat.CreateChatCompletion(ask(QUESTION, **{**ONE_CALL, "max_tokens": 16})).choices
    assert choice.finish_reason == chat_pb2.FINISH_REASON_LENGTH


def test_a_limit_right_behind_a_call_cuts_nothing(
    server: RunningServer, called: chat_pb2.ChatCompletion
) -> None:
    """All is there but for the end of the marker that ends the call."""
    limited = {**ONE_CALL, "max_tokens": called.usage.completion_tokens - 3}
    (choice,) = server.chat.CreateChatCompletion(ask(QUESTION, **limited)).choices
    assert choice.finish_reason == chat_pb2.FINISH_REASON_TOOL_CALLS
    (made,), (expected,) = choice.message.tool_calls, called.choices[0].message.tool_calls
    assert made.function == expected.function


def test_where_it_may_call_the_answer_is_text_or_right_calls(server: RunningServer) -> None:
    (choice,) = server.chat.CreateChatCompletion(ask(QUESTION, max_tokens=24, tools=[WEATHER])).choices
    message = choice.message
    assert message.content or message.tool_calls
    if choice.finish_reason == chat_pb2.FINISH_REASON_TOOL_CALLS:
        assert all(is_weather(made.function.arguments) for made in message.tool_calls)


def test_an_answer_with_a_form_is_that_or_calls(server: RunningServer) -> None:
    form = chat_pb2.ResponseFormat(
        grammar=chat_pb2.GrammarFormat(
            syntax=chat_pb2.GrammarFormat.SYNTAX_REGEX, grammar="It is (sunny|grey)\\."
        )
    )
    asked = ask(QUESTION, max_tokens=40, tools=[WEATHER], response_format=form)
    message = server.chat.CreateChatCompletion(asked).choices[0].message
    if message.tool_calls:
        assert not message.content
    else:
        assert message.content in ("It is sunny.", "It is grey.")


def test_where_none_may_be_called_the_model_is_not_told_of_any(server: RunningServer) -> None:
    none = chat_pb2.ToolChoice(mode=chat_pb2.ToolChoice.MODE_NONE)

    def count(**fields: Any) -> int:
        request = tokenizer_pb2.CountChatTokensRequest(request=ask(QUESTION, **fields))
        return server.tokenizer.CountChatTokens(request).prompt_tokens

    assert count(tools=[WEATHER], tool_choice=none) == count() < count(tools=[WEATHER])


def test_a_result_goes_back(client: Client, called: chat_pb2.ChatCompletion) -> None:
    (made,) = called.choices[0].message.tool_calls
    history = [user(QUESTION), called.choices[0].message, tool("Sunny, 25 °C.", tool_call_id=made.id)]
    # A message that was put together by hand is as good.
    by_hand = [user(QUESTION), assistant(tool_calls=[made]), history[2]]
    answers = [
        client.chat.create(**{**ASKED, "messages": messages, "max_tokens": 4})
        for messages in (history, by_hand)
    ]
    assert answers[0].text == answers[1].text != ""
    assert answers[0].usage.prompt_tokens == answers[1].usage.prompt_tokens


def test_the_openai_sdk(sdk: openai.OpenAI, called: chat_pb2.ChatCompletion) -> None:
    asked: dict[str, Any] = {**ASKED, "tools": [SDK_WEATHER], "tool_choice": "required"}
    with sdk.chat.completions.stream(**asked, parallel_tool_calls=False) as events:
        kinds = [event.type for event in events]
        final = events.get_final_completion().choices[0]
    assert "tool_calls.function.arguments.done" in kinds
    assert final.message.tool_calls
    (streamed,) = final.message.tool_calls
    assert is_weather(streamed.function.arguments)
    assert final.finish_reason == "tool_calls"
    answered = [
        *ASKED["messages"],
        final.message,
        {"role": "tool", "tool_call_id": streamed.id, "content": "Sunny."},
    ]
    again = sdk.chat.completions.create(**{**ASKED, "messages": answered, "max_tokens": 4})
    assert again.choices[0].message.content


def test_the_older_functions(sdk: openai.OpenAI) -> None:
    older: dict[str, Any] = {
        "functions": [SDK_WEATHER["function"]],
        "function_call": {"name": "weather"},
    }
    choice = sdk.chat.completions.create(**ASKED, **older).choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call is not None
    assert choice.message.function_call.name == "weather"
    assert is_weather(choice.message.function_call.arguments)
    assert choice.message.tool_calls is None
    answered = [
        *ASKED["messages"],
        choice.message,
        {"role": "function", "name": "weather", "content": "Sunny."},
    ]
    again = sdk.chat.completions.create(**{**ASKED, "messages": answered, "max_tokens": 4})
    assert again.choices[0].message.content


def test_a_history_without_sense_is_refused(sdk: openai.OpenAI) -> None:
    """Failure 8 of other servers: a malformed history is a 500."""
    called = {
        "role": "assistant",
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    result = {"role": "tool", "tool_call_id": "b", "content": "x"}
    for messages, param in (
        ([*ASKED["messages"], result], "messages[1].role"),
        ([*ASKED["messages"], called, result], "messages[2].tool_call_id"),
        ([*ASKED["messages"], called, *ASKED["messages"]], "messages[1].tool_calls[0].id"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            sdk.chat.completions.create(**{**ASKED, "messages": messages})
        assert caught.value.param == param


def test_parameters_that_can_not_be_compiled_are_named(sdk: openai.OpenAI) -> None:
    bad: Any = {"type": "object", "properties": {"a": {"type": "nothing"}}}
    tools: Any = [SDK_WEATHER, {"type": "function", "function": {"name": "f", "parameters": bad}}]
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(**ASKED, tools=tools)
    assert caught.value.param is not None
    assert caught.value.param.startswith("tools[1].function.parameters/properties/a")
