"""A chat request as a worker takes it: defaults, roles, what templates are given, and what can cross to a worker."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire.v1 import chat_pb2
from llamawire_server.chat.grammar import Grammar
from llamawire_server.config import SamplingDefaults
from llamawire_server.service.prompt import build_generate, build_prompt
from llamawire_server.worker.messages import ChatPrompt, Generate

OTHER = SamplingDefaults(
    temperature=0.5,
    top_p=0.25,
    top_k=7,
    min_p=0.125,
    frequency_penalty=-1,
    presence_penalty=1.5,
    repeat_penalty=1.25,
    max_tokens=99,
)


def chat(**fields: Any) -> chat_pb2.ChatCompletionRequest:
    values = {"model": "m", "messages": [{"role": chat_pb2.ROLE_USER, "content": "x"}], **fields}
    return chat_pb2.ChatCompletionRequest(**values)


def message(**fields: Any) -> dict[str, Any]:
    """One message, as templates are given it."""
    (built,) = build_prompt(chat(messages=[fields])).messages
    return built


def variables(**fields: Any) -> dict[str, Any]:
    return build_prompt(chat(**fields)).variables


def arguments(text: str) -> Any:
    """A tool call's arguments, as templates are given them, on the other side of the process boundary."""
    call = {"id": "1", "function": {"name": "f", "arguments": text}}
    prompt = build_prompt(chat(messages=[{"role": chat_pb2.ROLE_ASSISTANT, "tool_calls": [call]}]))
    received = msgspec.msgpack.decode(msgspec.msgpack.encode(prompt), type=ChatPrompt)
    return received.messages[0]["tool_calls"][0]["function"]["arguments"]


def test_an_absent_field_takes_the_model_s_default() -> None:
    generate = build_generate(chat(), 3, OTHER)
    sampling = generate.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.5, 0.25, 7, 0.125)
    assert (sampling.frequency_penalty, sampling.presence_penalty, sampling.repeat_penalty) == (-1, 1.5, 1.25)
    assert (generate.max_tokens, generate.is_max_tokens_explicit) == (99, False)
    assert (generate.request_id, generate.num_choices) == (3, 1)


def test_an_explicit_zero_is_honoured() -> None:
    zeros = ("temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "seed")
    generate = build_generate(chat(**dict.fromkeys(zeros, 0), repeat_penalty=1), 1, OTHER)
    assert [getattr(generate.sampling, name) for name in zeros] == [0] * len(zeros)
    assert generate.sampling.repeat_penalty == 1


def test_what_is_given_is_passed_on() -> None:
    request = chat(
        max_tokens=5, n=3, seed=-7, stop=["a", "b"], stop_token_ids=[4, 5], logit_bias={2: -100, 1: 0.5}
    )
    generate = build_generate(request, 1, OTHER)
    assert (generate.max_tokens, generate.is_max_tokens_explicit, generate.num_choices) == (5, True, 3)
    assert (generate.stops, generate.stop_token_ids) == (["a", "b"], [4, 5])
    assert (generate.sampling.seed, generate.sampling.logit_bias) == (-7, {2: -100, 1: 0.5})


def test_what_says_how_it_is_computed_is_passed_on() -> None:
    request = chat(priority=-3, prediction={"content": "so"})
    generate = build_generate(request, 1, OTHER, 12.5)
    assert (generate.priority, generate.prediction, generate.deadline) == (-3, "so", 12.5)
    plain = build_generate(chat(), 1, OTHER)
    assert (plain.priority, plain.prediction, plain.deadline) == (0, "", None)


MODES = chat_pb2.ToolChoice


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "none"),
        ({"tool_choice": {"mode": MODES.MODE_AUTO}}, "none"),
        ({"tools": [{"function": {"name": "f"}}]}, "auto"),
        ({"tools": [{"function": {"name": "f"}}], "tool_choice": {"mode": MODES.MODE_NONE}}, "none"),
        ({"tools": [{"function": {"name": "f"}}], "tool_choice": {"mode": MODES.MODE_REQUIRED}}, "required"),
        ({"tools": [{"function": {"name": "f"}}], "tool_choice": {"function_name": "f"}}, "function:f"),
    ],
)
def test_the_choice_of_tools(fields: dict[str, Any], expected: str) -> None:
    generate = build_generate(chat(**fields), 1, OTHER)
    assert generate.tool_choice == expected
    assert bool(generate.prompt.tools) == (expected != "none"), "the model is told of what it may call"


def test_tools_are_in_openai_s_form() -> None:
    schema = '{"type": "object", "properties": {"z": {"type": "integer"}, "a": {}}}'
    tools = [
        {"function": {"name": "f", "description": "d", "parameters": schema}},
        {"function": {"name": "g"}},
    ]
    first, second = build_prompt(chat(tools=tools)).tools
    assert first["type"] == "function"
    assert (first["function"]["name"], first["function"]["description"]) == ("f", "d")
    assert list(first["function"]["parameters"]["properties"]) == ["z", "a"]
    assert second == {
        "type": "function",
        "function": {
            "name": "g",
            "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
        },
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"text": {}}, None),
        ({"json_object": {}}, Grammar("json_object")),
        ({"json_schema": {"name": "s", "schema": "{}"}}, Grammar("json_schema", "{}")),
        ({"grammar": {"grammar": "x"}}, Grammar("gbnf", "x")),
        ({"grammar": {"grammar": "x", "syntax": chat_pb2.GrammarFormat.SYNTAX_LARK}}, Grammar("lark", "x")),
        ({"grammar": {"grammar": "x", "syntax": chat_pb2.GrammarFormat.SYNTAX_REGEX}}, Grammar("regex", "x")),
    ],
)
def test_the_form_of_the_text(fields: dict[str, Any], expected: Grammar | None) -> None:
    assert build_generate(chat(response_format=fields), 1, OTHER).grammar == expected


def test_what_else_is_said_of_the_answer_is_passed_on() -> None:
    plain = build_generate(chat(), 1, OTHER)
    assert (plain.num_top_logprobs, plain.reasoning_budget, plain.parallel_tool_calls) == (None, None, True)
    request = chat(logprobs=True, top_logprobs=3, reasoning_budget=7, parallel_tool_calls=False)
    generate = build_generate(request, 1, OTHER)
    assert (generate.num_top_logprobs, generate.reasoning_budget, generate.parallel_tool_calls) == (
        3,
        7,
        False,
    )
    assert build_generate(chat(logprobs=True), 1, OTHER).num_top_logprobs == 0
    assert build_generate(chat(reasoning_budget=0), 1, OTHER).reasoning_budget == 0


def test_no_effort_is_no_reasoning() -> None:
    none = chat_pb2.REASONING_EFFORT_NONE
    assert build_generate(chat(reasoning_effort=none), 1, OTHER).reasoning_budget == 0
    assert build_generate(chat(reasoning_effort=none, reasoning_budget=9), 1, OTHER).reasoning_budget == 9
    assert variables(reasoning_effort=none) == {"reasoning_effort": "none", "enable_thinking": False}
    found = variables(reasoning_effort=none, chat_template_kwargs={"enable_thinking": True})
    assert found["enable_thinking"] is True


def test_without_a_seed_every_request_has_another() -> None:
    seeds = {build_generate(chat(), 1, OTHER).sampling.seed for _ in range(8)}
    assert len(seeds) > 1


@pytest.mark.parametrize("seed", [-(2**63), 2**63 - 1])
def test_every_request_can_cross_to_a_worker(seed: int) -> None:
    request = chat(seed=seed, logit_bias={2**31 - 1: 1}, chat_template_kwargs={"x": 1e300, "y": [2**60]})
    generate = build_generate(request, 1, OTHER)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(generate), type=Generate) == generate


def test_templates_know_the_older_names_of_roles() -> None:
    roles = [message(role=role, content="x")["role"] for role in range(1, 6)]
    assert roles == ["system", "system", "user", "assistant", "tool"]


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({"content": "hi"}, "hi"),
        ({"content": ""}, ""),
        ({"content_parts": [{"text": "a"}, {"text": "b"}, {"refusal": "c"}]}, "a\nb\nc"),
        ({"refusal": "no"}, "no"),
        ({"content": "yes", "refusal": "no"}, "yes"),
        ({"reasoning_content": "hm"}, ""),
    ],
)
def test_content_is_one_text(fields: dict[str, Any], content: str) -> None:
    assert message(role=chat_pb2.ROLE_ASSISTANT, **fields)["content"] == content


def test_a_message_has_only_what_was_said() -> None:
    assert message(role=chat_pb2.ROLE_USER, content="x") == {"role": "user", "content": "x"}
    full = message(role=chat_pb2.ROLE_TOOL, content="x", name="f", tool_call_id="1", reasoning_content="")
    assert full == {
        "role": "tool",
        "content": "x",
        "name": "f",
        "tool_call_id": "1",
        "reasoning_content": "",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": [1, 2.5, null, "é"]}', {"a": [1, 2.5, None, "é"]}),
        ("{}", {}),
        ("", ""),
        ("{not json", "{not json"),
        (f'{{"n": {2**64 - 1}}}', {"n": 2**64 - 1}),
        (f'{{"n": {2**64}}}', f'{{"n": {2**64}}}'),
        (f'{{"n": {-(2**63) - 1}}}', f'{{"n": {-(2**63) - 1}}}'),
        ('{"half": "\\ud800"}', '{"half": "\\ud800"}'),
        ('{"\\udfff": 1}', '{"\\udfff": 1}'),
        ("9" * 5000, "9" * 5000),
        ("[" * 64 + "]" * 64, "parsed"),
        ("[" * 65 + "]" * 65, "[" * 65 + "]" * 65),
        ('{"a":' * 100_000, '{"a":' * 100_000),
        ("[" * 100_000 + "]" * 100_000, "[" * 100_000 + "]" * 100_000),
    ],
    ids=lambda text: str(text)[:12],
)
def test_arguments_are_parsed_where_they_can_be(text: str, expected: object) -> None:
    found = arguments(text)
    if expected == "parsed":
        assert isinstance(found, list)
    else:
        assert found == expected


@given(st.text() | st.from_regex(r'[\[\]{}":,0-9eE+.\-\\ud8\s]{0,40}', fullmatch=True))
def test_any_arguments_can_cross_to_a_worker(text: str) -> None:
    arguments(text)


def test_whole_numbers_are_integers_in_templates() -> None:
    given_variables = {
        "on": True,
        "count": 3,
        "share": 0.5,
        "list": [1, {"deep": -2}],
        "text": "x",
        "none": None,
    }
    found = variables(chat_template_kwargs=given_variables)
    assert found == given_variables
    assert [type(found["on"]), type(found["count"]), type(found["list"][0])] == [bool, int, int]
    assert type(found["list"][1]["deep"]) is int


def test_a_large_number_stays_what_it_was() -> None:
    found = variables(chat_template_kwargs={"exact": 2**53, "large": 1e300})
    assert found == {"exact": 2**53, "large": 1e300}
    assert (type(found["exact"]), type(found["large"])) == (int, float)


def test_the_reasoning_effort_is_a_variable_and_comes_before_one_of_the_same_name() -> None:
    assert variables() == {}
    effort = chat_pb2.REASONING_EFFORT_LOW
    assert variables(reasoning_effort=effort) == {"reasoning_effort": "low"}
    found = variables(reasoning_effort=effort, chat_template_kwargs={"reasoning_effort": "high", "x": 1})
    assert found == {"reasoning_effort": "low", "x": 1}


def test_templates_get_the_budget_too() -> None:
    assert variables(reasoning_budget=7) == {"thinking_budget": 7}
    given = {"thinking_budget": 5}
    assert variables(reasoning_budget=7, chat_template_kwargs=given) == given
    assert variables() == {}
