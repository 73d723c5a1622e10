"""Anthropic's Messages API on the real model, asked by Anthropic's SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pydantic
import pytest
from servers import RunningServer

HI: Any = {"role": "user", "content": "Say something."}
# The SDK has no parameter for the temperature any more.
GREEDY: dict[str, Any] = {"model": "smollm2", "max_tokens": 60, "extra_body": {"temperature": 0}}
SAY: dict[str, Any] = {**GREEDY, "messages": [HI]}
WEATHER: Any = {
    "name": "weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Bern", "Oslo", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
QUESTION: Any = {"role": "user", "content": [{"type": "text", "text": "What is the weather in Rome?"}]}
ASKED: dict[str, Any] = {
    **GREEDY,
    "messages": [QUESTION],
    "system": "You are a weather service.",
    "tools": [WEATHER],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
}


@pytest.fixture
def sdk(server: RunningServer) -> Iterator[anthropic.Anthropic]:
    url = f"http://{server.http_address}"
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_stream_says_what_the_whole_message_says(sdk: anthropic.Anthropic) -> None:
    asked = {**SAY, "max_tokens": 12}
    whole = sdk.messages.create(**asked)
    assert whole.stop_reason == "max_tokens"
    assert whole.usage.output_tokens == 12
    with sdk.messages.stream(**asked) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 5, "as it is generated"
    assert "".join(pieces) == text_of(final) == text_of(whole)
    assert final.usage.output_tokens == 12
    read = final.usage.cache_read_input_tokens or 0
    assert final.usage.input_tokens + read == whole.usage.input_tokens + (
        whole.usage.cache_read_input_tokens or 0
    )


def test_counted_tokens_are_those_of_the_prompt(sdk: anthropic.Anthropic) -> None:
    counted = sdk.messages.count_tokens(
        model="smollm2", messages=[QUESTION], system=ASKED["system"], tools=[WEATHER]
    )
    message = sdk.messages.create(**{**ASKED, "max_tokens": 1, "tool_choice": {"type": "auto"}})
    assert counted.input_tokens == message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)


def test_a_stop_sequence_is_named(sdk: anthropic.Anthropic) -> None:
    free = text_of(sdk.messages.create(**SAY))
    word = next(word for word in free.split()[2:] if word.isalpha())
    message = sdk.messages.create(**SAY, stop_sequences=["\x00", word])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", word)
    assert text_of(message) == free[: free.index(word)]
    with sdk.messages.stream(**SAY, stop_sequences=["\x00", word]) as stream:
        final = stream.get_final_message()
    assert (final.stop_reason, final.stop_sequence) == ("stop_sequence", word)


def test_a_tool_loop(sdk: anthropic.Anthropic) -> None:
    message = sdk.messages.create(**ASKED)
    assert message.stop_reason == "tool_use"
    (use,) = message.content
    assert use.type == "tool_use"
    assert use.input["city"] in ("Bern", "Oslo", "Rome")
    with sdk.messages.stream(**ASKED) as stream:
        kinds = [event.type for event in stream]
        (streamed,) = stream.get_final_message().content
    assert "input_json" in kinds
    assert streamed.type == "tool_use"
    assert streamed.input == use.input
    result: Any = {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "Sunny."}]},
            {"type": "text", "text": "In one word?"},
        ],
    }
    history: Any = [QUESTION, {"role": "assistant", "content": message.content}, result]
    again = sdk.messages.create(**{**GREEDY, "max_tokens": 8, "messages": history}, tools=[WEATHER])
    assert again.content


def test_a_named_tool_is_used(sdk: anthropic.Anthropic) -> None:
    clock: Any = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}
    asked = {**ASKED, "tools": [WEATHER, clock], "tool_choice": {"type": "tool", "name": "clock"}}
    message = sdk.messages.create(**asked)
    assert message.content[0].type == "tool_use"
    assert message.content[0].name == "clock"


def test_parse(sdk: anthropic.Anthropic) -> None:
    class Answer(pydantic.BaseModel):
        is_animal: bool

    question: Any = {"role": "user", "content": "Is a fox an animal?"}
    message = sdk.messages.parse(**{**GREEDY, "messages": [question]}, output_format=Answer)
    assert isinstance(message.parsed_output, Answer)


def test_what_is_wrong_is_named_in_anthropic_s_form(sdk: anthropic.Anthropic) -> None:
    result: Any = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]}
    image: Any = {
        "role": "user",
        "content": [{"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}],
    }
    bad: Any = {"type": "object", "properties": {"a": {"type": "nothing"}}}
    for fields, name in (
        ({"messages": [HI, result]}, "messages[1].content[0]"),
        ({"messages": [image]}, "messages[0].content[0]"),
        ({"messages": []}, "messages"),
        ({"extra_body": {"temperature": 3}}, "temperature"),
        ({"tools": [{**WEATHER, "input_schema": bad}]}, "tools[0].input_schema/properties/a"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
    ):
        with pytest.raises(anthropic.BadRequestError) as caught:
            sdk.messages.create(**{**SAY, **fields})
        body: Any = caught.value.body
        assert body["type"] == "error"
        assert body["error"]["type"] == "invalid_request_error"
        assert name in body["error"]["message"]
        assert caught.value.request_id
    with pytest.raises(anthropic.NotFoundError):
        sdk.messages.create(**{**SAY, "model": "claude"})
