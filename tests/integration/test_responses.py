"""OpenAI's Responses API on the real model, asked by OpenAI's SDK."""

from __future__ import annotations

import json
from typing import Any

import openai
import pydantic
import pytest

GREEDY: dict[str, Any] = {"model": "smollm2", "temperature": 0, "max_output_tokens": 60}
SAY: dict[str, Any] = {**GREEDY, "input": "Say something."}
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Bern", "Oslo", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
ASKED: dict[str, Any] = {
    **GREEDY,
    "input": "What is the weather in Rome?",
    "tools": [WEATHER],
    "tool_choice": "required",
    "parallel_tool_calls": False,
}


def only(text: str) -> Any:
    """A form that lets the model say nothing but this."""
    return {"format": {"type": "grammar", "syntax": "lark", "grammar": f"start: {json.dumps(text)}"}}


def test_a_stream_says_what_the_whole_response_says(sdk: openai.OpenAI) -> None:
    whole = sdk.responses.create(**{**SAY, "max_output_tokens": 12})
    assert whole.status == "incomplete"
    assert whole.incomplete_details is not None
    assert whole.incomplete_details.reason == "max_output_tokens"
    assert whole.usage is not None
    assert whole.usage.output_tokens == 12
    events = list(sdk.responses.create(**{**SAY, "max_output_tokens": 12}, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 5, "as it is generated"
    last = events[-1]
    assert last.type == "response.incomplete"
    assert "".join(deltas) == last.response.output_text == whole.output_text
    assert last.response.usage is not None
    assert last.response.usage.total_tokens == whole.usage.total_tokens


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # the SDK's own, for forms that it does not know
def test_the_stream_helper(sdk: openai.OpenAI) -> None:
    with sdk.responses.stream(**SAY, text=only("Nothing but this.")) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        response = stream.get_final_response()
    assert response.status == "completed"
    assert response.output_text == snapshots[-1] == "Nothing but this."


def test_parse(sdk: openai.OpenAI) -> None:
    class Person(pydantic.BaseModel):
        name: str = pydantic.Field(max_length=20)
        age: int = pydantic.Field(ge=0, le=120)

    asked = {**GREEDY, "input": "Describe a person as JSON."}
    response = sdk.responses.parse(**asked, text_format=Person)
    assert isinstance(response.output_parsed, Person)


def test_a_tool_loop_with_the_history_sent(sdk: openai.OpenAI) -> None:
    response = sdk.responses.create(**ASKED)
    (call,) = [item for item in response.output if item.type == "function_call"]
    assert json.loads(call.arguments)["city"] in ("Bern", "Oslo", "Rome")
    history: Any = [
        {"role": "user", "content": ASKED["input"]},
        *response.output,
        {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny, 25 degrees."},
    ]
    again = sdk.responses.create(**{**GREEDY, "input": history}, tools=[WEATHER], text=only("It is sunny."))
    assert again.output_text == "It is sunny." or again.output[0].type == "function_call"


def test_a_tool_loop_over_kept_responses(sdk: openai.OpenAI) -> None:
    with sdk.responses.stream(**ASKED) as stream:
        deltas = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        first = stream.get_final_response()
    (call,) = first.output
    assert call.type == "function_call"
    assert "".join(deltas) == call.arguments
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}
    second = sdk.responses.create(
        **{**GREEDY, "input": [result]}, previous_response_id=first.id, text=only("It is sunny.")
    )
    assert second.output_text == "It is sunny."
    assert [item.type for item in sdk.responses.input_items.list(second.id, order="asc")] == [
        "message",
        "function_call",
        "function_call_output",
    ]
    sdk.responses.delete(first.id)
    third = sdk.responses.create(
        **{**GREEDY, "input": "Thanks."}, previous_response_id=second.id, text=only("You're welcome.")
    )
    assert third.output_text == "You're welcome.", "what it went on from is there as long as it"
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.responses.create(**SAY, previous_response_id=first.id)
    assert caught.value.code == "previous_response_not_found"


def test_what_goes_on_from_a_response_is_what_it_would_be_with_all_of_it_sent(sdk: openai.OpenAI) -> None:
    first = sdk.responses.create(**SAY, text=only("A fox."))
    kept = sdk.responses.create(**{**GREEDY, "input": "And then?"}, previous_response_id=first.id)
    history: Any = [
        {"role": "user", "content": SAY["input"]},
        {"role": "assistant", "content": "A fox."},
        {"role": "user", "content": "And then?"},
    ]
    sent = sdk.responses.create(**{**GREEDY, "input": history})
    history[1] = {"type": "item_reference", "id": first.output[0].id}
    referred = sdk.responses.create(**{**GREEDY, "input": history})
    assert kept.output_text == sent.output_text == referred.output_text
    assert kept.usage is not None
    assert sent.usage is not None
    assert referred.usage is not None
    assert kept.usage.input_tokens == sent.usage.input_tokens == referred.usage.input_tokens


def test_a_response_whose_call_was_cut_can_be_gone_on_from(sdk: openai.OpenAI) -> None:
    cut = sdk.responses.create(**{**ASKED, "max_output_tokens": 16})
    (call,) = cut.output
    assert call.type == "function_call"
    assert (cut.status, call.status) == ("incomplete", "incomplete")
    with pytest.raises(json.JSONDecodeError):
        json.loads(call.arguments)
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "It was cut off."}
    wish: Any = {"role": "user", "content": "Well?"}
    for given in ([result], [wish], [wish, result]):
        again = sdk.responses.create(
            **{**GREEDY, "input": given}, previous_response_id=cut.id, text=only("I will try again.")
        )
        assert again.output_text == "I will try again."


def test_log_probabilities(sdk: openai.OpenAI) -> None:
    response = sdk.responses.create(
        **SAY, text=only("Yes."), include=["message.output_text.logprobs"], top_logprobs=2
    )
    (message,) = response.output
    assert message.type == "message"
    (part,) = message.content
    assert part.type == "output_text"
    assert part.logprobs
    assert "".join(token.token for token in part.logprobs) == "Yes."
    assert all(len(token.top_logprobs) == 2 for token in part.logprobs)


def test_what_can_not_be_compiled_is_named(sdk: openai.OpenAI) -> None:
    bad: Any = {"type": "object", "properties": {"a": {"type": "nothing"}}}
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.responses.create(**SAY, text={"format": {"type": "json_schema", "name": "n", "schema": bad}})
    assert caught.value.param is not None
    assert caught.value.param.startswith("text.format.schema/properties/a")
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.responses.create(**{**SAY, "tools": [{**WEATHER, "parameters": bad}]})
    assert caught.value.param is not None
    assert caught.value.param.startswith("tools[0].parameters/properties/a")


def test_what_makes_no_sense_is_named(sdk: openai.OpenAI) -> None:
    result: Any = {"type": "function_call_output", "call_id": "a", "output": "x"}
    image: Any = {
        "role": "user",
        "content": [{"type": "input_image", "image_url": "data:,x", "detail": "low"}],
    }
    for given, param in (
        ([result], "input[0]"),
        ([], "input"),
        ([image], "input[0].content[0]"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            sdk.responses.create(**{**GREEDY, "input": given})
        assert caught.value.param == param
    with pytest.raises(openai.NotFoundError):
        sdk.responses.create(**{**SAY, "model": "gpt-5"})
