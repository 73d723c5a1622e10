"""Answers that must have a form: a small model keeps to it as well as a large one, over gRPC and over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import Any

import grpc
import openai
import pydantic
import pytest
from servers import RunningServer, StartServer, ask, failure_of, reason_of

from llamawire import Client, call, function, grammar, json_schema, user
from llamawire.v1 import chat_pb2

QUESTION = "Describe a person as JSON."
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "pets": {"type": "array", "items": {"enum": ["cat", "dog"]}, "maxItems": 3},
    },
    "required": ["name", "age", "pets"],
    "additionalProperties": False,
}
BAD = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "nothing"}}}


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=20)
    age: int


def schema_format(schema: dict[str, Any], *, strict: bool | None = None) -> chat_pb2.ResponseFormat:
    return json_schema(schema, "person", strict=strict)


def is_person(text: str) -> bool:
    found = json.loads(text)
    return (
        list(found) == ["name", "age", "pets"]
        and isinstance(found["name"], str)
        and 0 <= found["age"] <= 120
        and set(found["pets"]) <= {"cat", "dog"}
    )


@pytest.mark.parametrize("strict", [None, False, True])
def test_an_answer_follows_its_schema(server: RunningServer, strict: bool | None) -> None:
    asked = ask(QUESTION, max_tokens=200, response_format=schema_format(PERSON, strict=strict))
    (choice,) = server.chat.CreateChatCompletion(asked).choices
    assert is_person(choice.message.content)
    assert choice.finish_reason == chat_pb2.FINISH_REASON_STOP
    chunks = list(server.chat.StreamChatCompletion(asked))
    assert "".join(c.delta.content for chunk in chunks for c in chunk.choices) == choice.message.content
    assert len(chunks) > 5, "as it is generated"


def test_every_choice_follows_it_however_it_is_sampled(server: RunningServer) -> None:
    sampling = {"temperature": 1.5, "top_k": 0, "top_p": 1, "seed": 5, "n": 4}
    asked = ask(QUESTION, max_tokens=200, response_format=schema_format(PERSON), **sampling)
    texts = [choice.message.content for choice in server.chat.CreateChatCompletion(asked).choices]
    assert all(map(is_person, texts))
    assert len(set(texts)) > 1


def test_any_object(server: RunningServer) -> None:
    form = chat_pb2.ResponseFormat(json_object=chat_pb2.JsonObjectFormat())
    (choice,) = server.chat.CreateChatCompletion(ask(QUESTION, max_tokens=300, response_format=form)).choices
    if choice.finish_reason == chat_pb2.FINISH_REASON_STOP:
        assert isinstance(json.loads(choice.message.content), dict)
    assert choice.message.content.startswith("{")


@pytest.mark.parametrize(
    ("text", "syntax", "expected"),
    [
        ('root ::= ("ab" | "cd") [0-9]+ "!"', "gbnf", r"(ab|cd)[0-9]+!"),
        ('start: WORD " " WORD\nWORD: /[a-z]{3,5}/', "lark", r"[a-z]{3,5} [a-z]{3,5}"),
        (r"\d{4}-(0[1-9]|1[0-2])", "regex", r"[0-9]{4}-(0[1-9]|1[0-2])"),
        ('start: "Nothing but this."', "lark", r"Nothing but this\."),
    ],
)
def test_a_grammar(client: Client, text: str, syntax: Any, expected: str) -> None:
    answer = client.chat.create(
        model="smollm2",
        messages=[user("Say something.")],
        temperature=0,
        max_tokens=60,
        response_format=grammar(text, syntax),
    )
    if answer.finish_reason == "stop":
        assert re.fullmatch(expected, answer.text)
    else:
        assert (answer.finish_reason, syntax) == ("length", "gbnf"), "only this one may go on"


def test_a_limit_cuts_and_says_so(server: RunningServer) -> None:
    asked = ask(QUESTION, max_tokens=4, response_format=schema_format(PERSON))
    (choice,) = server.chat.CreateChatCompletion(asked).choices
    assert choice.finish_reason == chat_pb2.FINISH_REASON_LENGTH
    with pytest.raises(ValueError):  # noqa: PT011
        json.loads(choice.message.content)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_schema_that_can_not_be_compiled_names_the_place(server: RunningServer, streamed: bool) -> None:
    """Failure 11 of other servers: a schema that can't be compiled is ignored, and free text comes back."""
    method = server.chat.StreamChatCompletion if streamed else server.chat.CreateChatCompletion
    error = failure_of(lambda: list(method(ask(QUESTION, response_format=schema_format(BAD)))))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error) == "GRAMMAR_INVALID"
    assert "/properties/age" in error.details()


def test_over_http_too(sdk: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_tokens": 200,
    }

    def form(schema: dict[str, Any]) -> Any:
        return {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}

    answer = sdk.chat.completions.create(**asked, response_format=form(PERSON))
    assert is_person(answer.choices[0].message.content or "")
    parsed = sdk.chat.completions.parse(**asked, response_format=Person).choices[0].message.parsed
    assert isinstance(parsed, Person)
    regex: Any = {"type": "grammar", "syntax": "regex", "grammar": "yes|no"}
    answer = sdk.chat.completions.create(**asked, response_format=regex)
    assert answer.choices[0].message.content in ("yes", "no")
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(**asked, response_format=form(BAD))
    assert caught.value.param is not None
    assert caught.value.param.startswith("response_format.json_schema.schema/properties/age")
    assert "/properties/age" in caught.value.message


def test_an_answer_keeps_to_its_form_in_another_worker(start_server: StartServer) -> None:
    """Each number has a digit more than can be told from the last few tokens: where it stands has to be known."""
    sevens = {"type": "array", "items": {"enum": [7, 77]}, "minItems": 40, "maxItems": 40}
    schema = {"type": "object", "properties": {"sevens": sevens}, "required": ["sevens"]}
    server = start_server("--preload", "smollm2")
    tool = function("count", parameters={**schema, "additionalProperties": False})
    for form in (
        {"response_format": schema_format({**schema, "additionalProperties": False})},
        {"tools": [tool], "tool_choice": call("count"), "parallel_tool_calls": False},
    ):
        said, calls, is_killed = "", set(), False
        for chunk in server.chat.StreamChatCompletion(ask("Count.", max_tokens=400, **form)):
            for choice in chunk.choices:
                said += choice.delta.content
                said += "".join(made.function.arguments for made in choice.delta.tool_calls)
                calls |= {made.id for made in choice.delta.tool_calls if made.id}
            if len(said) > 30 and not is_killed:
                is_killed = True
                for pid in server.worker_pids():
                    os.kill(pid, signal.SIGKILL)
        assert is_killed
        found = json.loads(said)["sevens"]
        assert (len(found), set(found) <= {7, 77}) == (40, True)
        assert len(calls) == ("tools" in form)


def test_others_go_on_beside_a_grammar_that_can_not_be_compiled(server: RunningServer) -> None:
    chunks = server.chat.StreamChatCompletion(ask("Write a story about a fox.", max_tokens=40))
    next(chunks)
    for _ in range(3):
        failure_of(
            lambda: server.chat.CreateChatCompletion(ask(QUESTION, response_format=schema_format(BAD)))
        )
    *_, last = chunks
    assert last.usage.completion_tokens == 40
