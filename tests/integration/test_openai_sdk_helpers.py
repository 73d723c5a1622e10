"""What OpenAI's Python SDK makes of answers by itself: events, parsed types, tool loops, raw responses."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Literal

import openai
import pydantic
import pytest

# The SDK's own, where it sends back what it parsed.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer")

TEXT = "The fox is red."
ASKED: dict[str, Any] = {
    "model": "smollm2",
    "messages": [{"role": "user", "content": "Is it sunny?"}],
    "temperature": 0,
    "max_tokens": 100,
}
# Leaves the model nothing else to say.
SAY_TEXT: Any = {"response_format": {"type": "grammar", "syntax": "regex", "grammar": r"The fox is red\."}}


class Size(Enum):
    small = "small"
    large = "large"


class Animal(pydantic.BaseModel):
    kind: Literal["fox", "wolf"]
    size: Size
    legs: int = pydantic.Field(ge=4, le=4)


class Forest(pydantic.BaseModel):
    animals: list[Animal] = pydantic.Field(min_length=1, max_length=2)
    keeper: Literal["Ann"] | None


class Weather(pydantic.BaseModel):
    """The weather of the next days."""

    city: Literal["Rome", "Oslo"]
    days: int = pydantic.Field(ge=1, le=3)


WEATHER: Any = openai.pydantic_function_tool(Weather, name="weather")
CALL: dict[str, Any] = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False}


def answer_to(call: Any) -> dict[str, Any]:
    """What a caller sends back after it has done what it was asked to."""
    asked_for = Weather.model_validate_json(call.function.arguments)
    return {"role": "tool", "tool_call_id": call.id, "content": f"Sunny in {asked_for.city}."}


def round_of(number: int) -> dict[str, Any]:
    """A call that must come, then the model's own choice, and an end to it."""
    return {"tools": [WEATHER], "tool_choice": ("required", "auto", "none")[min(number, 2)]}


def test_the_events_of_a_stream(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(
        **ASKED, extra_body=SAY_TEXT, logprobs=True, top_logprobs=1, stream_options={"include_usage": True}
    ) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = [event for event in events if event.type == "content.delta"]
    assert "".join(event.delta for event in deltas) == TEXT
    assert len(deltas) > 1, "as it is generated"
    for number, event in enumerate(deltas):
        assert event.snapshot == "".join(delta.delta for delta in deltas[: number + 1])
    (done,) = [event for event in events if event.type == "content.done"]
    assert done.content == final.choices[0].message.content == TEXT
    (tokens,) = [event for event in events if event.type == "logprobs.content.done"]
    assert "".join(token.token for token in tokens.content) == TEXT
    assert all(len(token.top_logprobs) == 1 for token in tokens.content)
    assert final.usage is not None
    assert final.usage.completion_tokens >= len(tokens.content)


def test_an_answer_is_parsed(sdk: openai.OpenAI) -> None:
    """References, enumerations, bounds and what may be null: all that Pydantic makes of types."""
    completion = sdk.chat.completions.parse(**ASKED, response_format=Forest)
    forest = completion.choices[0].message.parsed
    assert isinstance(forest, Forest)
    assert 1 <= len(forest.animals) <= 2
    with sdk.chat.completions.stream(**ASKED, response_format=Forest) as stream:
        (done,) = [event for event in stream if event.type == "content.done"]
        final = stream.get_final_completion()
    assert done.parsed == final.choices[0].message.parsed == forest


def test_an_answer_that_was_cut_is_the_sdk_s_own_error(sdk: openai.OpenAI) -> None:
    asked = {**ASKED, "max_tokens": 3}
    with pytest.raises(openai.LengthFinishReasonError) as caught:
        sdk.chat.completions.parse(**asked, response_format=Forest)
    assert caught.value.completion.choices[0].finish_reason == "length"
    with (
        pytest.raises(openai.LengthFinishReasonError),
        sdk.chat.completions.stream(**asked, response_format=Forest) as stream,
    ):
        stream.until_done()


def test_a_call_is_parsed(sdk: openai.OpenAI) -> None:
    completion = sdk.chat.completions.parse(**ASKED, **CALL)
    (call,) = completion.choices[0].message.tool_calls or ()
    assert isinstance(call.function.parsed_arguments, Weather)
    with sdk.chat.completions.stream(**ASKED, **CALL) as stream:
        events = list(stream)
    deltas = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
    (done,) = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert (done.name, done.index) == ("weather", 0)
    assert done.parsed_arguments == call.function.parsed_arguments
    assert "".join(event.arguments_delta for event in deltas) == done.arguments == call.function.arguments


def test_of_several_tools_those_are_called_that_are_allowed(sdk: openai.OpenAI) -> None:
    clock: Any = {"type": "function", "function": {"name": "clock"}}
    choice: Any = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [clock]}}
    asked = {**ASKED, "tools": [WEATHER, clock], "tool_choice": choice}
    (call,) = (
        sdk.chat.completions.create(**asked, parallel_tool_calls=False).choices[0].message.tool_calls or ()
    )
    assert (call.type, call.function.name) == ("function", "clock")


def test_a_tool_loop_comes_to_its_end(sdk: openai.OpenAI) -> None:
    messages, num_calls = list(ASKED["messages"]), 0
    for number in range(3):
        asked = {**ASKED, "messages": messages, "max_tokens": 40}
        choice = sdk.chat.completions.create(**asked, **round_of(number)).choices[0]
        messages.append(choice.message)
        if choice.finish_reason != "tool_calls":
            break
        assert choice.message.tool_calls
        messages += [answer_to(call) for call in choice.message.tool_calls]
        num_calls += len(choice.message.tool_calls)
    assert num_calls >= 1
    assert messages[-1].content
    assert messages[-1].tool_calls is None


async def test_a_streamed_tool_loop_comes_to_its_end(async_sdk: openai.AsyncOpenAI) -> None:
    messages, num_calls = list(ASKED["messages"]), 0
    for number in range(3):
        asked = {**ASKED, "messages": messages, "max_tokens": 40, **round_of(number)}
        calls: dict[int, dict[str, Any]] = {}
        text, reason = "", None
        async for chunk in await async_sdk.chat.completions.create(**asked, stream=True):
            (choice,) = chunk.choices
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or ():
                # As most programs do it: by index, and every text added to what there is.
                known = calls.setdefault(
                    call.index, {"type": "function", "function": {"name": "", "arguments": ""}}
                )
                known["id"] = known.get("id", "") + (call.id or "")
                assert call.function is not None
                known["function"]["name"] += call.function.name or ""
                known["function"]["arguments"] += call.function.arguments or ""
        made = list(calls.values())
        messages.append(
            {"role": "assistant", "content": text or None, **({"tool_calls": made} if made else {})}
        )
        if reason != "tool_calls":
            break
        for call in made:
            Weather.model_validate_json(call["function"]["arguments"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": "Sunny."})
        num_calls += len(made)
    assert num_calls >= 1
    assert messages[-1]["role"] == "assistant"
    assert messages[-1]["content"]


async def test_the_asynchronous_helpers(async_sdk: openai.AsyncOpenAI) -> None:
    parsed = await async_sdk.chat.completions.parse(**ASKED, response_format=Forest)
    async with async_sdk.chat.completions.stream(**ASKED, response_format=Forest) as stream:
        partial = [event.parsed async for event in stream if event.type == "content.delta"]
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == parsed.choices[0].message.parsed
    assert any(found != partial[-1] for found in partial), "parsed as far as it has come"
    async with async_sdk.chat.completions.stream(**ASKED, **CALL) as stream:
        final = await stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or ()
    assert isinstance(call.function.parsed_arguments, Weather)


def test_raw_responses(sdk: openai.OpenAI) -> None:
    raw = sdk.chat.completions.with_raw_response.create(**ASKED, extra_body=SAY_TEXT)
    assert raw.headers["content-type"] == "application/json"
    assert json.loads(raw.text)["choices"][0]["message"]["content"] == TEXT
    assert raw.parse().choices[0].message.content == TEXT
    assert raw.retries_taken == 0
    streamed = sdk.chat.completions.with_raw_response.create(**ASKED, extra_body=SAY_TEXT, stream=True)
    said = [chunk.choices[0].delta.content or "" for chunk in streamed.parse()]
    assert "".join(said) == TEXT


async def test_responses_that_are_read_as_they_come(async_sdk: openai.AsyncOpenAI) -> None:
    create = async_sdk.chat.completions.with_streaming_response.create
    async with create(**ASKED, extra_body=SAY_TEXT) as response:
        assert (await response.json())["choices"][0]["message"]["content"] == TEXT
    async with create(**ASKED, extra_body=SAY_TEXT, stream=True) as response:
        lines = [line async for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == TEXT
