"""What is wrong with a request is said field by field, all at once, and nothing else is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from llamawire.v1 import chat_pb2, tokenizer_pb2
from llamawire_server.errors import Condition, ServiceError
from llamawire_server.service import validation

USER = chat_pb2.ROLE_USER
ASSISTANT = chat_pb2.ROLE_ASSISTANT
TOOL = chat_pb2.ROLE_TOOL
INT32 = st.integers(-(2**31), 2**31 - 1)
FLOAT32 = st.floats(width=32)


def chat(**fields: Any) -> chat_pb2.ChatCompletionRequest:
    """A good request, but for these fields."""
    values = {"model": "m", "messages": [{"role": USER, "content": "x"}], **fields}
    return chat_pb2.ChatCompletionRequest(**values)


def complaints(request: chat_pb2.ChatCompletionRequest) -> Mapping[str, str]:
    """What is wrong with a request, by field; nothing where it is taken."""
    try:
        validation.check_chat_request(request)
    except ServiceError as error:
        refusal = error
    else:
        return {}
    assert refusal.condition is Condition.INVALID
    return {violation.field: violation.description for violation in refusal.violations}


def refused_fields(**fields: Any) -> set[str]:
    return set(complaints(chat(**fields)))


def message_fields(**fields: Any) -> set[str]:
    """The bad fields of one message."""
    found = refused_fields(messages=[fields])
    assert all(name.startswith("messages[0].") for name in found)
    return {name.removeprefix("messages[0].") for name in found}


def test_a_plain_request_is_taken() -> None:
    assert complaints(chat()) == {}


def test_all_bad_fields_are_named_at_once() -> None:
    request = chat_pb2.ChatCompletionRequest(
        messages=[{"role": 77, "content": "x"}, {"role": USER}],
        temperature=math.nan,
        top_p=-0.5,
        top_k=-1,
        min_p=math.inf,
        frequency_penalty=2.5,
        presence_penalty=-math.inf,
        repeat_penalty=0,
        max_tokens=0,
        n=0,
        top_logprobs=21,
        stop=["", "x" * 1025],
        stop_token_ids=[1, -1],
        logit_bias={-5: 1, 5: 100.5, 6: -100},
        tools=[{"function": {"name": "a b"}}],
        tool_choice={"function_name": "missing"},
        chat_template_kwargs={"x": math.inf},
        reasoning_effort=99,  # type: ignore[arg-type]
        user="é" * 257,
        prediction={"content": "é" * (512 * 1024) + "x"},
        priority=101,
        reasoning_budget=-1,
        metadata={str(number): "" for number in range(17)},
    )
    found = complaints(request)
    assert set(found) == {
        "model",
        "messages[0].role",
        "messages[1].content",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "frequency_penalty",
        "presence_penalty",
        "repeat_penalty",
        "max_tokens",
        "n",
        "top_logprobs",
        "stop[0]",
        "stop[1]",
        "stop_token_ids[1]",
        "logit_bias[-5]",
        "logit_bias[5]",
        "tools[0].function.name",
        "tool_choice.function_name",
        "chat_template_kwargs.x",
        "reasoning_effort",
        "user",
        "prediction.content",
        "priority",
        "reasoning_budget",
        "metadata",
    }
    with pytest.raises(ServiceError) as caught:
        validation.check_chat_request(request)
    assert all(f"{field}: {text}" in str(caught.value) for field, text in found.items())


# The bounds of chat.proto, once more and by hand.
BOUNDS = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_k": (0, math.inf),
    "min_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "max_tokens": (1, math.inf),
    "n": (1, 256),
    "priority": (-100, 100),
    "reasoning_budget": (0, math.inf),
}
WHOLE = {"top_k", "max_tokens", "n", "priority", "reasoning_budget"}


@pytest.mark.parametrize("name", BOUNDS)
@given(data=st.data())
def test_a_number_is_taken_where_it_is_within_its_bounds(name: str, data: st.DataObject) -> None:
    low, high = BOUNDS[name]
    value = data.draw(
        INT32 | st.integers(-200, 300) if name in WHOLE else FLOAT32 | st.sampled_from([low, high])
    )
    assert refused_fields(**{name: value}) == (set() if low <= value <= high else {name})


@given(FLOAT32 | st.sampled_from([0.0, 10.0]))
def test_a_repeat_penalty_divides_so_it_is_not_zero(value: float) -> None:
    assert refused_fields(repeat_penalty=value) == (set() if 0 < value <= 10 else {"repeat_penalty"})


@given(st.dictionaries(INT32, FLOAT32 | st.floats(-100, 100, width=32), max_size=8))
def test_biases_are_judged_one_by_one(biases: dict[int, float]) -> None:
    expected = {
        f"logit_bias[{token}]" for token, bias in biases.items() if token < 0 or not -100 <= bias <= 100
    }
    assert refused_fields(logit_bias=biases) == expected


def test_an_explicit_zero_and_every_default_are_taken() -> None:
    assert refused_fields(temperature=0, top_p=0, top_k=0, min_p=0, seed=0) == set()
    assert refused_fields(frequency_penalty=0, presence_penalty=0, parallel_tool_calls=False) == set()


@given(st.lists(st.text(max_size=12) | st.just("é" * 512) | st.just("é" * 513), max_size=20))
def test_stops_are_counted_and_measured_in_bytes(stops: list[str]) -> None:
    expected = {f"stop[{i}]" for i, stop in enumerate(stops[:16]) if not 1 <= len(stop.encode()) <= 1024}
    assert refused_fields(stop=stops) == expected | ({"stop"} if len(stops) > 16 else set())


@given(st.text(max_size=300))
def test_a_model_s_name_is_there_and_not_too_long(name: str) -> None:
    is_good = name.strip() != "" and len(name.encode()) <= 256
    assert refused_fields(model=name) == (set() if is_good else {"model"})


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({"role": USER, "content": ""}, set()),
        ({"role": chat_pb2.ROLE_DEVELOPER, "content": "x"}, set()),
        ({"role": USER, "content_parts": [{"text": "x"}, {"text": ""}]}, set()),
        ({"content": "x"}, {"role"}),
        ({"role": 6, "content": "x"}, {"role"}),
        ({"role": -1, "content": "x"}, {"role"}),
        ({"role": USER}, {"content"}),
        ({}, {"role", "content"}),
        ({"role": USER, "content": "x", "content_parts": [{"text": "y"}]}, {"content"}),
        ({"role": USER, "content_parts": [{"text": "x"}, {}]}, {"content_parts[1]"}),
        ({"role": USER, "content": "x", "name": "n" * 256}, set()),
        ({"role": USER, "content": "x", "name": "n" * 257}, {"name"}),
        ({"role": ASSISTANT}, {"content"}),
        ({"role": ASSISTANT, "refusal": ""}, set()),
        ({"role": ASSISTANT, "reasoning_content": "x"}, set()),
        ({"role": ASSISTANT, "tool_calls": [{"id": "1", "function": {"name": "f"}}]}, set()),
        ({"role": ASSISTANT, "tool_calls": [{"function": {"name": "f"}}]}, {"tool_calls[0].id"}),
        ({"role": ASSISTANT, "tool_calls": [{}]}, {"tool_calls[0].function.name"}),
        ({"role": USER, "content": "x", "tool_calls": [{"function": {"name": "f"}}]}, {"tool_calls"}),
        ({"role": USER, "reasoning_content": "x"}, {"content"}),
        ({"role": TOOL, "content": "x", "tool_call_id": "1"}, {"role"}),
        ({"role": TOOL, "content": "x"}, {"tool_call_id"}),
        ({"role": ASSISTANT, "content": "x", "tool_call_id": "1"}, {"tool_call_id"}),
    ],
)
def test_messages(fields: dict[str, Any], bad: set[str]) -> None:
    assert message_fields(**fields) == bad


def test_a_conversation_has_messages_and_each_bad_one_is_named() -> None:
    assert refused_fields(messages=[]) == {"messages"}
    messages = [{"role": USER, "content": "x"}, {"role": USER}, {"content": "x"}]
    assert refused_fields(messages=messages) == {"messages[1].content", "messages[2].role"}


def test_tools_have_names_of_their_own() -> None:
    tools = [{"function": {"name": name}} for name in ("ok", "", "a b", "x" * 65, "ok", "x" * 64, "é")]
    assert refused_fields(tools=tools) == {f"tools[{index}].function.name" for index in (1, 2, 3, 4, 6)}


def test_the_chosen_tool_is_one_of_them() -> None:
    tools = [{"function": {"name": "f"}}]
    assert refused_fields(tools=tools, tool_choice={"function_name": "g"}) == {"tool_choice.function_name"}
    assert refused_fields(tools=tools, tool_choice={"mode": 99}) == {"tool_choice.mode"}


def test_template_variables_are_finite_wherever_they_are() -> None:
    variables = struct_pb2.Struct()
    variables.update({"good": 1, "bad": math.nan, "deep": {"list": [0, {"worse": -math.inf}], "none": None}})
    expected = {"chat_template_kwargs.bad", "chat_template_kwargs.deep.list[1].worse"}
    assert refused_fields(chat_template_kwargs=variables) == expected


def test_limits_that_are_met_exactly_are_taken() -> None:
    metadata = {str(number): "" for number in range(16)}
    assert refused_fields(user="é" * 256, metadata=metadata, logprobs=None, stop=["x"] * 16) == set()
    assert refused_fields(top_logprobs=20) == {"top_logprobs"}, "which needs logprobs"


UNSUPPORTED: dict[str, tuple[dict[str, Any], str]] = {
    "a picture": (
        {"messages": [{"role": USER, "content_parts": [{"image_url": {"url": "data:,"}}]}]},
        "messages[0].content_parts[0]",
    ),
    "a sound": (
        {"messages": [{"role": USER, "content_parts": [{"text": "x"}, {"input_audio": {}}]}]},
        "messages[0].content_parts[1]",
    ),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_can_not_be_done_is_refused_after_all_that_is_wrong(case: str) -> None:
    fields, subject = UNSUPPORTED[case]
    with pytest.raises(ServiceError) as caught:
        validation.check_chat_request(chat(**fields))
    assert caught.value.condition is Condition.UNSUPPORTED
    assert [violation.field for violation in caught.value.violations] == [subject]
    assert refused_fields(**fields, temperature=3) == {"temperature"}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"function": {"name": "f"}}], "tool_choice": {"mode": chat_pb2.ToolChoice.MODE_NONE}},
        {"tools": [{"function": {"name": "f"}}]},
        {"logprobs": True, "top_logprobs": 20},
        {"tool_choice": {"mode": chat_pb2.ToolChoice.MODE_AUTO}},
        {"response_format": {"text": {}}},
        {"response_format": {}},
        {"logprobs": False},
        {"prediction": {"content": "é" * (512 * 1024)}},
        {"priority": -100},
        {"reasoning_effort": chat_pb2.REASONING_EFFORT_HIGH},
    ],
    ids=lambda fields: str(fields)[:80],
)
def test_what_can_be_done_is_taken(fields: dict[str, Any]) -> None:
    validation.check_chat_request(chat(**fields))


def model_fields(**fields: Any) -> set[str]:
    """What a model with 100 tokens and 4 sequences at once can't be asked."""
    try:
        validation.check_against_model(chat(**fields), vocabulary_size=100, parallel=4)
    except ServiceError as error:
        return {violation.field for violation in error.violations}
    return set()


def test_a_request_is_measured_by_its_model() -> None:
    assert model_fields(n=4, stop_token_ids=[0, 99], logit_bias={0: 1, 99: 1}) == set()
    found = model_fields(n=5, stop_token_ids=[99, 100], logit_bias={100: 1, 2**31 - 1: 1})
    assert found == {"n", "stop_token_ids[1]", "logit_bias[100]", "logit_bias[2147483647]"}


def test_counting_tokens_asks_for_no_more_than_a_prompt() -> None:
    validation.check_prompt(chat(temperature=99, logprobs=True))
    with pytest.raises(ServiceError) as caught:
        validation.check_prompt(chat(model="", messages=[], chat_template_kwargs={"x": math.nan}))
    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["model", "messages", "chat_template_kwargs.x"]
    with pytest.raises(ServiceError) as caught:
        validation.check_prompt(chat(**UNSUPPORTED["a picture"][0]))
    assert caught.value.condition is Condition.UNSUPPORTED


def test_tokens_to_turn_into_text_are_in_the_vocabulary() -> None:
    request = tokenizer_pb2.DetokenizeRequest(model="m", tokens=[0, 99, 100, -1])
    for vocabulary_size, bad in ((None, {"tokens[3]"}), (100, {"tokens[2]", "tokens[3]"})):
        with pytest.raises(ServiceError) as caught:
            validation.check_detokenize(request, vocabulary_size)
        assert {violation.field for violation in caught.value.violations} == bad
    validation.check_detokenize(tokenizer_pb2.DetokenizeRequest(model="m"), 100)


MIB = 2**20


@pytest.mark.parametrize(
    ("parts", "bad"),
    [
        ([{"text": "a"}, {"tokens": {"tokens": [0, 99]}}, {"tokens": {}}, {"text": ""}], []),
        ([{"text": "a"}, {"tokens": {"tokens": [0, 100]}}], ["parts[1].tokens[1]"]),
        ([{}], ["parts[0]"]),
        ([{"text": "é" * (MIB // 2)}], []),
        ([{"text": "x" * MIB}, {"text": "x"}], ["parts"]),
        ([{"tokens": {"tokens": [0] * MIB}}], []),
        ([{"tokens": {"tokens": [0] * MIB}}, {"tokens": {"tokens": [-1]}}], ["parts"]),
        ([{}] * 4097, ["parts"]),
    ],
    ids=["good", "no token", "empty", "long", "too long", "many", "too many", "too many parts"],
)
def test_parts_to_turn_into_tokens(parts: list[dict[str, Any]], bad: list[str]) -> None:
    request = tokenizer_pb2.TokenizeRequest(
        model="m", parts=[tokenizer_pb2.TokenizeRequest.Part(**part) for part in parts]
    )
    found = []
    try:
        validation.check_tokenize(request, 100)
    except ServiceError as error:
        found = [violation.field for violation in error.violations]
    assert found == bad


def test_parts_stand_in_the_place_of_a_text() -> None:
    parts = [tokenizer_pb2.TokenizeRequest.Part(text="a")]
    with pytest.raises(ServiceError, match="in the place of text"):
        validation.check_tokenize(tokenizer_pb2.TokenizeRequest(model="m", text="a", parts=parts))


@pytest.mark.parametrize(
    "check",
    [
        lambda: validation.check_tokenize(tokenizer_pb2.TokenizeRequest(model=" ")),
        lambda: validation.check_detokenize(tokenizer_pb2.DetokenizeRequest(model="")),
    ],
)
def test_the_tokenizer_needs_a_model(check: Any) -> None:
    with pytest.raises(ServiceError) as caught:
        check()
    assert [violation.field for violation in caught.value.violations] == ["model"]


def test_a_request_that_is_all_wrong_is_not_written_out_to_its_end() -> None:
    with pytest.raises(ServiceError) as caught:
        validation.check_chat_request(chat(messages=[{}] * 16_000))
    assert len(caught.value.violations) == validation.MAX_VIOLATIONS


@pytest.mark.parametrize(
    ("field", "entries", "most"),
    [
        ("messages", [{}], 16_384),
        ("stop", [""], 16),
        ("stop_token_ids", [-1], 256),
        ("tools", [{}], 128),
    ],
)
def test_of_too_many_entries_the_number_is_enough(field: str, entries: list[Any], most: int) -> None:
    found = complaints(chat(**{field: entries * (most + 1)}))
    assert found[field] == f"has {most + 1} entries; at most {most} are allowed"
    assert len(found) <= most + 1, "what is beyond the limit is not looked at"


def test_biases_variables_and_texts_have_an_end_too() -> None:
    assert refused_fields(logit_bias=dict.fromkeys(range(1024), 1.0)) == set()
    assert refused_fields(logit_bias=dict.fromkeys(range(1025), 1.0)) == {"logit_bias"}
    variables = struct_pb2.Struct()
    variables["x"] = "x" * 70_000
    assert refused_fields(chat_template_kwargs=variables) == {"chat_template_kwargs"}
    with pytest.raises(ServiceError, match="text"):
        validation.check_tokenize(tokenizer_pb2.TokenizeRequest(model="m", text="x" * (2**20 + 1)))
    with pytest.raises(ServiceError, match="tokens"):
        validation.check_detokenize(tokenizer_pb2.DetokenizeRequest(model="m", tokens=[0] * (2**20 + 1)))
