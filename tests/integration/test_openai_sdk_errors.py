"""What OpenAI's Python SDK raises, and what it is told of a request that is wrong."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai_sdk_calls import GREEDY, STORY

WEATHER: Any = {"type": "function", "function": {"name": "weather"}}
OTHER: Any = {"type": "function", "function": {"name": "other"}}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_unknown_model(sdk: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.chat.completions.create(**{**GREEDY, "model": "smollm3"}, stream=stream)
    assert (caught.value.code, caught.value.type) == ("model_not_found", "model_not_found")
    assert "smollm2" in caught.value.message, "near names are suggested"
    assert caught.value.request_id


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 9}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": openai.omit, "max_completion_tokens": 0}, "max_completion_tokens"),
        ({"logit_bias": {"1000000": 1}}, "logit_bias[1000000]"),
        ({"logit_bias": {"fox": 1}}, "logit_bias.fox"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [*STORY, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [*STORY, {"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages[1].role"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": OTHER}, "tool_choice.function.name"),
        (
            {"tools": [WEATHER], "tool_choice": "required", "response_format": {"type": "json_object"}},
            "response_format",
        ),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"extra_body": {"bogus": 1}}, "bogus"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else value,
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_bad_value_is_named(sdk: openai.OpenAI, fields: dict[str, Any], param: str, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(**{**GREEDY, **fields}, stream=stream)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert param in caught.value.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"audio": {"format": "wav", "voice": "alloy"}}, "audio"),
        ({"web_search_options": {}}, "web_search_options"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}
                ]
            },
            "messages[0].content[0]",
        ),
    ],
    ids=str,
)
def test_what_can_not_be_done_is_refused(sdk: openai.OpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(**{**GREEDY, **fields})
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert "support" in caught.value.message or "text only" in caught.value.message


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_prompt_longer_than_the_context(sdk: openai.OpenAI, stream: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": "word " * 9000}]
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model="smollm2", messages=messages, stream=stream)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"
    assert "8192" in caught.value.message


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_more_tokens_than_the_context_has_room_for(sdk: openai.OpenAI, name: str) -> None:
    asked = {**GREEDY, "max_tokens": openai.omit, name: 8192}
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(**asked)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model": "smollm3"}, openai.NotFoundError),
        ({"temperature": 9}, openai.BadRequestError),
        ({"tools": [WEATHER], "tool_choice": OTHER}, openai.BadRequestError),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_errors_of_the_asynchronous_client(
    async_sdk: openai.AsyncOpenAI, fields: dict[str, Any], expected: type[openai.APIStatusError], stream: bool
) -> None:
    with pytest.raises(expected):
        await async_sdk.chat.completions.create(**{**GREEDY, **fields}, stream=stream)
