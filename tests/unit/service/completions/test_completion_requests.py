"""Requests for completions: what is refused by name, and what a worker gets of the others."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest

from llamawire.v1 import chat_pb2, completion_pb2
from llamawire_server.chat.grammar import Grammar
from llamawire_server.config import SamplingDefaults
from llamawire_server.errors import Condition, ServiceError
from llamawire_server.service import validation
from llamawire_server.service.completions.prompt import build_generates
from llamawire_server.service.completions.validation import (
    COMPLETION_RANGES,
    check_completion_against_model,
    check_completion_request,
)
from llamawire_server.worker.messages import Generate, RawPrompt

Prompt = completion_pb2.CompletionPrompt


def of_tokens(*tokens: int) -> completion_pb2.CompletionPrompt:
    return Prompt(tokens=Prompt.Tokens(tokens=tokens))


def request(*prompts: Any, **fields: Any) -> completion_pb2.CompletionRequest:
    made = [Prompt(text=prompt) if isinstance(prompt, str) else prompt for prompt in prompts or ("x",)]
    return completion_pb2.CompletionRequest(**{"model": "m", "prompt": made, **fields})


def complaints(made: completion_pb2.CompletionRequest, *, is_streamed: bool = False) -> dict[str, str]:
    try:
        check_completion_request(made, is_streamed=is_streamed)
    except ServiceError as error:
        refusal = error
    else:
        return {}
    assert refusal.condition is Condition.INVALID
    return {violation.field: violation.description for violation in refusal.violations}


def model_complaints(made: completion_pb2.CompletionRequest) -> dict[str, str]:
    try:
        check_completion_against_model(made, vocabulary_size=100, parallel=4)
    except ServiceError as error:
        return {violation.field: violation.description for violation in error.violations}
    return {}


def build(made: completion_pb2.CompletionRequest, **fields: Any) -> list[Generate]:
    numbers = itertools.count(7)
    return build_generates(made, lambda: next(numbers), SamplingDefaults(), **fields)


TAKEN = [
    request(),
    request("", "x", of_tokens(0, 99)),
    request(max_tokens=0, echo=True, logprobs=0),
    request(n=4, best_of=4, temperature=0, top_p=1, top_k=0, min_p=0, logprobs=20, priority=-100),
    request(suffix="y", add_special=False, parse_special=True),
    request(of_tokens(), suffix="y"),
    request(response_format={"json_object": {}}, prediction={"content": "x"}, user="me", stop=["a"]),
]


@pytest.mark.parametrize("made", TAKEN)
def test_what_is_taken(made: completion_pb2.CompletionRequest) -> None:
    assert complaints(made) == {}
    assert model_complaints(made) == {}


@pytest.mark.parametrize(
    ("made", "field", "complaint"),
    [
        (request(model=" "), "model", "is required"),
        (completion_pb2.CompletionRequest(model="m"), "prompt", "is required"),
        (request(*["x"] * 129), "prompt", "has 129 entries; at most 128 are allowed"),
        (request("x", Prompt()), "prompt[1]", "is empty"),
        (request("x", of_tokens()), "prompt[1].tokens", "must have at least one token"),
        (request("x", of_tokens(1, -1)), "prompt[1].tokens[1]", "-1 is not in"),
        (request(of_tokens(*[1] * 2**20), of_tokens(1)), "prompt", "has 1048577 tokens together"),
        (request(suffix="x" * (2**20 + 1)), "suffix", "is longer than"),
        (request(suffix="x", echo=True), "echo", "can't be combined with suffix"),
        (request(max_tokens=-1), "max_tokens", "must be at least 0"),
        (request(logprobs=21), "logprobs", "must be in [0, 20]"),
        (request(n=0), "n", "must be in [1, 256]"),
        (request(best_of=0), "best_of", "it must be"),
        (request(n=3, best_of=2), "best_of", "must be at least n, which is 3"),
        (request(temperature=math.nan), "temperature", "must be a finite number"),
        (request(repeat_penalty=0), "repeat_penalty", "must be in (0, 10]"),
        (request(stop=[""]), "stop[0]", "is empty"),
        (request(stop_token_ids=[-1]), "stop_token_ids[0]", "-1 is not in"),
        (request(logit_bias={1: 101}), "logit_bias[1]", "must be in [-100, 100]"),
        (request(user="x" * 513), "user", "is longer than"),
        (request(prediction={"content": "x" * (2**20 + 1)}), "prediction.content", "is longer than"),
        (
            request(response_format={"json_schema": {"name": "s", "schema": "[]"}}),
            "response_format.json_schema.schema",
            "must be a JSON object",
        ),
    ],
)
def test_what_is_refused_by_name(made: completion_pb2.CompletionRequest, field: str, complaint: str) -> None:
    found = complaints(made)
    assert list(found) == [field]
    assert complaint in found[field]


def test_a_stream_can_not_choose_the_best() -> None:
    assert list(complaints(request(n=1, best_of=2), is_streamed=True)) == ["best_of"]
    assert complaints(request(n=2, best_of=2), is_streamed=True) == {}
    assert complaints(request(best_of=1), is_streamed=True) == {}


@pytest.mark.parametrize(
    ("made", "field"),
    [
        (request(n=5), "n"),
        (request(best_of=5), "best_of"),
        (request("x", of_tokens(99, 100)), "prompt[1].tokens[1]"),
        (request(stop_token_ids=[100]), "stop_token_ids[0]"),
        (request(logit_bias={100: 1}), "logit_bias[100]"),
    ],
)
def test_what_a_model_can_not_be_asked(made: completion_pb2.CompletionRequest, field: str) -> None:
    assert complaints(made) == {}
    assert list(model_complaints(made)) == [field]


def test_every_number_has_bounds() -> None:
    kinds = completion_pb2.CompletionRequest.DESCRIPTOR.fields
    numbers = {
        kind.name
        for kind in kinds
        if kind.cpp_type in (kind.CPPTYPE_INT32, kind.CPPTYPE_FLOAT) and kind.has_presence
    }
    assert numbers == {*COMPLETION_RANGES, "repeat_penalty"}


def test_the_chat_s_bounds_are_those_of_fields_that_it_has() -> None:
    assert set(validation.RANGES) <= set(chat_pb2.ChatCompletionRequest.DESCRIPTOR.fields_by_name)


def test_every_prompt_is_a_generation_of_its_own() -> None:
    made = request(
        "a", of_tokens(1, 2), n=2, max_tokens=0, seed=5, stop=["x"], stop_token_ids=[3], priority=2
    )
    first, second = build(made, deadline=12.5)
    assert first.prompt == RawPrompt("prompt[0]", "a")
    assert second.prompt == RawPrompt("prompt[1]", tokens=[1, 2])
    assert (first.request_id, second.request_id) == (7, 8)
    assert first.arrived == second.arrived
    for one in (first, second):
        assert (one.num_choices, one.max_tokens, one.is_max_tokens_explicit) == (2, 0, True)
        assert (one.stops, one.stop_token_ids, one.priority, one.deadline) == (["x"], [3], 2, 12.5)
        assert one.sampling.seed == 5
        assert (one.tool_choice, one.grammar, one.num_top_logprobs) == ("none", None, None)


def test_absent_fields_have_the_model_s_defaults() -> None:
    (made,) = build(request())
    defaults = SamplingDefaults()
    assert (made.max_tokens, made.is_max_tokens_explicit) == (defaults.max_tokens, False)
    assert (made.sampling.temperature, made.sampling.top_p, made.sampling.top_k) == (
        defaults.temperature,
        defaults.top_p,
        defaults.top_k,
    )
    assert (made.num_choices, made.echo, made.scores_prompt) == (1, False, False)


def test_without_a_seed_each_prompt_has_its_own() -> None:
    seeds = {made.sampling.seed for made in build(request(*["x"] * 8))}
    assert len(seeds) > 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (True, True)),
        ({"suffix": "y"}, (True, False)),
        ({"suffix": "y", "parse_special": True}, (True, True)),
        ({"add_special": False, "parse_special": False}, (False, False)),
    ],
)
def test_control_tokens_by_name(fields: dict[str, Any], expected: tuple[bool, bool]) -> None:
    (made,) = build(request("a", **fields))
    assert isinstance(made.prompt, RawPrompt)
    assert (made.prompt.add_special, made.prompt.parse_special) == expected
    assert made.prompt.suffix == fields.get("suffix", "")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"echo": True}, (True, None, False)),
        ({"logprobs": 3}, (False, 3, False)),
        ({"echo": True, "logprobs": 0}, (True, 0, True)),
        ({"best_of": 2}, (False, 0, False)),
        ({"best_of": 2, "echo": True}, (True, 0, False)),
        ({"best_of": 2, "n": 2}, (False, None, False)),
        ({"best_of": 2, "logprobs": 4}, (False, 4, False)),
    ],
)
def test_what_is_to_be_said_of_how_likely_tokens_are(
    fields: dict[str, Any], expected: tuple[bool, int | None, bool]
) -> None:
    (made,) = build(request("a", **fields))
    assert (made.echo, made.num_top_logprobs, made.scores_prompt) == expected


def test_the_form_of_what_comes() -> None:
    schema = json.dumps({"type": "object"})
    (made,) = build(
        request(response_format={"json_schema": {"name": "s", "schema": schema}}, prediction={"content": "{"})
    )
    assert made.grammar == Grammar("json_schema", schema)
    assert made.prediction == "{"
