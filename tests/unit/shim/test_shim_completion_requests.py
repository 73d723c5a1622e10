"""Requests for completions, from OpenAI's form to the contract's, and the names of their fields back again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from llamawire.v1 import chat_pb2, completion_pb2
from llamawire_server.errors import ServiceError
from llamawire_server.shim.completions.field_names import renaming
from llamawire_server.shim.completions.request_schema import CompletionRequest
from llamawire_server.shim.completions.translate import to_completion_request
from llamawire_server.shim.http.body import validate

Prompt = completion_pb2.CompletionPrompt


def translate(**fields: Any) -> completion_pb2.CompletionRequest:
    """What a request with these fields becomes, sent as JSON."""
    body = json.loads(json.dumps({"model": "m", "prompt": "x", **fields}))
    return to_completion_request(validate(body, CompletionRequest, allow_unknown_fields=False))


def complaints(**fields: Any) -> dict[str, str]:
    with pytest.raises(ServiceError) as caught:
        translate(**fields)
    return {violation.field: violation.description for violation in caught.value.violations}


def tokens(*numbers: int) -> completion_pb2.CompletionPrompt:
    return Prompt(tokens=Prompt.Tokens(tokens=numbers))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", [Prompt(text="a")]),
        ("", [Prompt(text="")]),
        (None, [Prompt(text="")]),
        (["a", "b"], [Prompt(text="a"), Prompt(text="b")]),
        ([1, 2], [tokens(1, 2)]),
        ([[1, 2], [], [3]], [tokens(1, 2), tokens(), tokens(3)]),
        ([], []),
    ],
)
def test_all_kinds_of_prompts(prompt: Any, expected: list[completion_pb2.CompletionPrompt]) -> None:
    assert list(translate(prompt=prompt).prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "field"),
    [
        (1, "prompt"),
        ({}, "prompt"),
        (["a", 1], "prompt[1]"),
        ([1, "a"], "prompt[1]"),
        ([1, True], "prompt[1]"),
        ([True], "prompt[0]"),
        ([1.5], "prompt[0]"),
        ([[1], "a"], "prompt[1]"),
        ([[1], [2, "a"]], "prompt[1][1]"),
        ([2**31], "prompt[0]"),
    ],
)
def test_no_other_kinds(prompt: Any, field: str) -> None:
    assert list(complaints(prompt=prompt)) == [field]


INT32 = st.integers(-(2**31), 2**31 - 1)
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
SAME = {
    "suffix": st.text(min_size=1, max_size=5),
    "echo": st.booleans(),
    "add_special": st.booleans(),
    "parse_special": st.booleans(),
    "temperature": FLOAT32,
    "top_p": FLOAT32,
    "top_k": INT32,
    "min_p": FLOAT32,
    "frequency_penalty": FLOAT32,
    "presence_penalty": FLOAT32,
    "repeat_penalty": FLOAT32,
    "seed": st.integers(-(2**63), 2**63 - 1),
    "max_tokens": INT32,
    "n": INT32,
    "best_of": INT32,
    "logprobs": INT32,
    "user": st.text(min_size=1, max_size=5),
    "wait_for_model": st.booleans(),
    "priority": INT32,
    "stop": st.lists(st.text(max_size=3), min_size=1, max_size=3),
    "stop_token_ids": st.lists(INT32, min_size=1, max_size=3),
}


@given(fields=st.fixed_dictionaries({}, optional=SAME))
def test_what_is_asked_arrives(fields: dict[str, Any]) -> None:
    made = translate(**fields)
    found = MessageToDict(made, preserving_proto_field_name=True)
    assert found.pop("model") == "m"
    assert found.pop("prompt") == [{"text": "x"}]
    if "seed" in found:
        found["seed"] = int(found["seed"])
    assert found.keys() == fields.keys()
    for name, value in fields.items():
        got = list(getattr(made, name)) if isinstance(value, list) else getattr(made, name)
        assert got == value


def test_the_rest_of_what_is_asked() -> None:
    made = translate(
        stop="x",
        logit_bias={"7": 1.5},
        response_format={"type": "grammar", "grammar": "a", "syntax": "regex"},
        prediction={"type": "content", "content": "y"},
    )
    assert list(made.stop) == ["x"]
    assert dict(made.logit_bias) == {7: 1.5}
    assert made.response_format.grammar.syntax == chat_pb2.GrammarFormat.SYNTAX_REGEX
    assert made.prediction.content == "y"


def test_null_is_the_same_as_absent() -> None:
    nulls = dict.fromkeys(set(CompletionRequest.model_fields) - {"model", "prompt"})
    assert translate(**nulls) == translate()


def test_fields_that_nobody_knows_are_refused() -> None:
    assert complaints(max_completion_tokens=3) == {"max_completion_tokens": "unknown field"}
    assert complaints(logprobs=True).keys() == {"logprobs"}


def test_every_field_of_openai_s_is_known() -> None:
    from openai.types.completion_create_params import CompletionCreateParamsBase

    known = set(CompletionCreateParamsBase.__annotations__) | {"stream"}
    assert known <= set(CompletionRequest.model_fields)


def test_every_field_is_in_the_docs() -> None:
    docs = Path(__file__).parents[3] / "docs"
    text = (docs / "openai.md").read_text() + (docs / "completions.md").read_text()
    for name in CompletionRequest.model_fields:
        assert re.search(rf"`{name}\b", text), name


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("a", {"prompt[0]": "prompt", "prompt": "prompt"}),
        ([1, 2], {"prompt[0].tokens[1]": "prompt[1]", "prompt[0]": "prompt", "prompt[0].tokens": "prompt"}),
        (["a", "b"], {"prompt[1]": "prompt[1]"}),
        ([[1], [2]], {"prompt[1].tokens[0]": "prompt[1][0]", "prompt[1]": "prompt[1]"}),
        (None, {"prompt[0]": "prompt"}),
        ("a", {"stop[0]": "stop", "response_format.grammar.grammar": "response_format.grammar", "n": "n"}),
    ],
)
def test_bad_fields_have_the_caller_s_names(prompt: Any, names: dict[str, str]) -> None:
    rename = renaming(CompletionRequest(model="m", prompt=prompt, stop="x"))
    assert {name: rename(name) for name in names} == names
