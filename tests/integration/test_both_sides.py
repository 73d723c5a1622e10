"""gRPC and HTTP are two ways to the same answers and the same errors."""

from __future__ import annotations

import copy
import json
from typing import Any

import grpc
import httpx
import pytest
from callers import chat_body, events_of, post
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from servers import RunningServer, ask

from llamawire.v1 import chat_pb2
from llamawire_server.errors import Condition

STORY = "Write a story about a fox."
USER = chat_pb2.ROLE_USER
PICTURE = chat_pb2.ContentPart(image_url=chat_pb2.ImageUrl(url="data:image/png;base64,"))
NO_SCHEMA = '{"type": "object", "properties": {"a": {"type": "nothing"}}}'

ASKED: dict[str, dict[str, Any]] = {
    "greedy": {},
    "until the model stops": {"max_tokens": 40, "stop": [","]},
    "sampled": {"temperature": 1.3, "top_p": 0.9, "top_k": 50, "min_p": 0.02, "seed": 7},
    "penalties": {"frequency_penalty": 1.0, "presence_penalty": 0.5, "repeat_penalty": 1.2},
    "two choices": {"n": 2, "temperature": 1.2, "seed": -(2**40)},
    "one token": {"max_tokens": 1},
    "characters of several tokens": {"content": "Say: 🦊🦊🦊", "max_tokens": 16},
    "the model's defaults": {"temperature": None, "seed": 1},
}


def lasting(answer: chat_pb2.ChatCompletion) -> chat_pb2.ChatCompletion:
    """What two answers to one request have in common. What passes must be there all the same."""
    assert answer.id.startswith("chatcmpl-")
    assert answer.created > 1_700_000_000
    assert answer.timings.first_token.ToNanoseconds() > 0
    common = chat_pb2.ChatCompletion()
    common.CopyFrom(answer)
    for name in ("id", "created", "timings"):
        common.ClearField(name)  # type: ignore[arg-type]
    # What the first one computes, the others find.
    usage = common.usage
    assert usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens == usage.prompt_tokens
    assert usage.prompt_cache_hit_tokens == usage.prompt_tokens_details.cached_tokens
    for name in ("prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "prompt_tokens_details"):
        usage.ClearField(name)  # type: ignore[arg-type]
    # What is worth guessing depends on how long steps take just now.
    for name in ("accepted_draft_tokens", "rejected_draft_tokens"):
        usage.completion_tokens_details.ClearField(name)  # type: ignore[arg-type]
    return common


def to_proto(answer: dict[str, Any]) -> chat_pb2.ChatCompletion:
    """An answer over HTTP as gRPC has it, translated without the help of the code under test."""
    answer = copy.deepcopy(answer)
    assert answer.pop("object") == "chat.completion"
    answer["timings"] = {
        name.removesuffix("_seconds"): f"{seconds:.9f}s" for name, seconds in answer["timings"].items()
    }
    for choice in answer["choices"]:
        choice["finish_reason"] = f"FINISH_REASON_{choice['finish_reason'].upper()}"
        choice["message"]["role"] = f"ROLE_{choice['message']['role'].upper()}"
    return json_format.ParseDict(answer, chat_pb2.ChatCompletion())


def both(asked: dict[str, Any]) -> tuple[chat_pb2.ChatCompletionRequest, dict[str, Any]]:
    """The request for either side."""
    fields = {"content": STORY, "temperature": 0, "max_tokens": 8, **asked}
    given = {name: value for name, value in fields.items() if value is not None}
    request = ask(**given)
    if fields["temperature"] is None:
        request.ClearField("temperature")
    body = chat_body(**given)
    return request, {name: value for name, value in body.items() if fields.get(name, value) is not None}


def completion_of(chunks: list[chat_pb2.ChatCompletionChunk]) -> chat_pb2.ChatCompletion:
    """The whole answer that a stream adds up to."""
    whole = chat_pb2.ChatCompletion(
        id=chunks[0].id,
        created=chunks[0].created,
        model=chunks[0].model,
        system_fingerprint=chunks[0].system_fingerprint,
        service_tier=chunks[0].service_tier,
        usage=chunks[-1].usage,
        timings=chunks[-1].timings,
    )
    for chunk in chunks:
        for new in chunk.choices:
            if new.index == len(whole.choices):
                whole.choices.add(index=new.index)
            choice = whole.choices[new.index]
            choice.message.role = new.delta.role or choice.message.role
            choice.message.content += new.delta.content
            choice.finish_reason = new.finish_reason or choice.finish_reason
            choice.matched_stop = new.matched_stop or choice.matched_stop
    return whole


def merge(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole answer that a stream of events adds up to."""
    last = events[-1]
    whole = {**last, "object": "chat.completion", "choices": []}
    for event in events[:-1]:
        for new in event["choices"]:
            if new["index"] == len(whole["choices"]):
                message = {"role": new["delta"]["role"], "content": "", "refusal": None}
                whole["choices"].append({**new, "message": message})
            choice = whole["choices"][new["index"]]
            choice["message"]["content"] += new["delta"].get("content", "")
            choice["finish_reason"] = new["finish_reason"]
            choice.update({"matched_stop": new["matched_stop"]} if "matched_stop" in new else {})
            choice.pop("delta", None)
    return whole


@pytest.mark.parametrize("name", ASKED)
def test_the_same_answer_four_ways(server: RunningServer, name: str) -> None:
    request, body = both(ASKED[name])
    expected = lasting(server.chat.CreateChatCompletion(request))
    assert expected.choices[0].message.content, "there is something to compare"
    assert lasting(completion_of(list(server.chat.StreamChatCompletion(request)))) == expected
    assert lasting(to_proto(post(server.http_address, body).json())) == expected
    streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
    assert lasting(to_proto(merge(events_of(post(server.http_address, streamed))))) == expected


def test_the_same_model(server: RunningServer) -> None:
    model = server.model()
    over_http = httpx.get(f"{server.base_url}/models/smollm2", trust_env=False).json()
    assert over_http["id"] == model.name == "smollm2"
    assert over_http["created"] == model.created.seconds > 0
    listed = httpx.get(f"{server.base_url}/models", trust_env=False).json()["data"]
    assert over_http in listed


def one_message(**fields: Any) -> chat_pb2.ChatCompletionRequest:
    """A request whose one message has these fields."""
    return chat_pb2.ChatCompletionRequest(model="smollm2", messages=[chat_pb2.Message(**fields)])


def messages_body(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "smollm2", "messages": list(messages), **fields}


def field_case(**fields: Any) -> tuple[chat_pb2.ChatCompletionRequest, dict[str, Any], str, str]:
    """One field with a bad value, by the same name on both sides."""
    (name,) = fields
    return ask("x", **fields), chat_body("x", **fields), "INVALID_FIELD", name


TOOL = {"type": "function", "function": {"name": "f"}}
# By case: the request, the body that says the same, the reason, and the field that HTTP names.
BAD: dict[str, tuple[chat_pb2.ChatCompletionRequest, dict[str, Any], str, str | None]] = {
    "temperature": field_case(temperature=3),
    "top_p": field_case(top_p=-0.5),
    "top_k": field_case(top_k=-1),
    "min_p": field_case(min_p=2),
    "frequency_penalty": field_case(frequency_penalty=3),
    "presence_penalty": field_case(presence_penalty=-3),
    "repeat_penalty": field_case(repeat_penalty=0),
    "max_tokens": field_case(max_tokens=0),
    "n": field_case(n=9),
    "top_logprobs": field_case(top_logprobs=3),
    "a model without a name": field_case(model=" "),
    "an empty stop": (
        ask("x", stop=["a", ""]),
        chat_body("x", stop=["a", ""]),
        "INVALID_FIELD",
        "stop[1]",
    ),
    "a stop that is no list": (ask("x", stop=[""]), chat_body("x", stop=""), "INVALID_FIELD", "stop"),
    "a stop token": (
        ask("x", stop_token_ids=[10**6]),
        chat_body("x", stop_token_ids=[10**6]),
        "INVALID_FIELD",
        "stop_token_ids[0]",
    ),
    "a bias": (
        ask("x", logit_bias={5: 101}),
        chat_body("x", logit_bias={"5": 101}),
        "INVALID_FIELD",
        "logit_bias[5]",
    ),
    "max_completion_tokens": (
        ask("x", max_tokens=0),
        messages_body({"role": "user", "content": "x"}, max_completion_tokens=0),
        "INVALID_FIELD",
        "max_completion_tokens",
    ),
    "no messages": (
        chat_pb2.ChatCompletionRequest(model="smollm2"),
        messages_body(),
        "INVALID_FIELD",
        "messages",
    ),
    "no content": (
        one_message(role=USER),
        messages_body({"role": "user"}),
        "INVALID_FIELD",
        "messages[0].content",
    ),
    "a tool's message without its call": (
        one_message(role=chat_pb2.ROLE_TOOL, content="x"),
        messages_body({"role": "tool", "content": "x"}),
        "INVALID_FIELD",
        "messages[0].tool_call_id",
    ),
    "a chosen tool that is not there": (
        ask("x", tool_choice={"function_name": "f"}),
        chat_body("x", tool_choice=TOOL),
        "INVALID_FIELD",
        "tool_choice.function.name",
    ),
    "a call without tools": (
        ask("x", tool_choice={"mode": chat_pb2.ToolChoice.MODE_REQUIRED}),
        chat_body("x", tool_choice="required"),
        "INVALID_FIELD",
        "tool_choice",
    ),
    "functions of one name": (
        ask("x", tools=[{"function": {"name": "f"}}] * 2),
        chat_body("x", functions=[{"name": "f"}] * 2),
        "INVALID_FIELD",
        "functions[1].name",
    ),
    "a function's parameters": (
        ask("x", tools=[{"function": {"name": "f", "parameters": NO_SCHEMA}}]),
        chat_body("x", functions=[{"name": "f", "parameters": json.loads(NO_SCHEMA)}]),
        "GRAMMAR_INVALID",
        "functions[0].parameters/properties/a/type",
    ),
    "a picture": (
        one_message(role=USER, content_parts=[PICTURE]),
        messages_body(
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}],
            }
        ),
        "UNSUPPORTED",
        "messages[0].content[0]",
    ),
    "a schema": (
        ask("x", response_format={"json_schema": {"name": "s", "schema": NO_SCHEMA}}),
        chat_body(
            "x",
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "s", "schema": json.loads(NO_SCHEMA)},
            },
        ),
        "GRAMMAR_INVALID",
        "response_format.json_schema.schema/properties/a/type",
    ),
    "a grammar": (
        ask("x", response_format={"grammar": {"grammar": "root ::= ("}}),
        chat_body("x", response_format={"type": "grammar", "grammar": "root ::= ("}),
        "GRAMMAR_INVALID",
        "response_format.grammar",
    ),
    "an unknown model": (
        ask("x", model="smollm3"),
        chat_body("x", model="smollm3"),
        "MODEL_NOT_FOUND",
        None,
    ),
    "a prompt that is too long": (
        ask("word " * 9000),
        chat_body("word " * 9000),
        "CONTEXT_LENGTH_EXCEEDED",
        "messages",
    ),
    "an answer that is too long": (
        ask("x", max_tokens=8192),
        chat_body("x", max_tokens=8192),
        "CONTEXT_LENGTH_EXCEEDED",
        "max_tokens",
    ),
    "a request that is too large": (
        ask("x" * (17 * 1024 * 1024)),
        chat_body("x" * (17 * 1024 * 1024)),
        "MESSAGE_TOO_LARGE",
        None,
    ),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", BAD)
def test_the_same_error(server: RunningServer, case: str, streamed: bool) -> None:
    request, body, reason, param = BAD[case]
    method = server.chat.StreamChatCompletion if streamed else server.chat.CreateChatCompletion
    with pytest.raises(grpc.RpcError) as caught:
        list(method(request))
    info, field = details_of(caught.value)
    assert info.reason == reason
    (condition,) = [
        condition
        for condition in Condition
        if condition.value.grpc_code is caught.value.code()
        and (condition is Condition.TOO_LARGE) == (reason == "MESSAGE_TOO_LARGE")
    ]

    response = post(server.http_address, {**body, "stream": streamed})
    row = condition.value
    assert response.status_code == row.http_status
    error = response.json()["error"]
    assert error["type"] == row.openai_type
    expected_code = "context_length_exceeded" if reason == "CONTEXT_LENGTH_EXCEEDED" else row.openai_code
    assert error["code"] == expected_code
    assert error["param"] == param
    if field == (param or ""):
        # Where HTTP has another name for the field, its message has it too.
        assert reason == "MESSAGE_TOO_LARGE" or error["message"] == caught.value.details()
    else:
        assert param is not None
        assert error["message"] == caught.value.details().replace(field, param)


def details_of(error: grpc.RpcError) -> tuple[error_details_pb2.ErrorInfo, str]:
    """What an error says for programs, and the first field that it names."""
    status = rpc_status.from_call(error)
    assert status is not None
    info, field = error_details_pb2.ErrorInfo(), ""
    bad_request, failure = error_details_pb2.BadRequest(), error_details_pb2.PreconditionFailure()
    for packed in status.details:
        packed.Unpack(info)
        if packed.Unpack(bad_request):
            field = bad_request.field_violations[0].field if bad_request.field_violations else ""
        elif packed.Unpack(failure):
            field = failure.violations[0].subject
    return info, field
