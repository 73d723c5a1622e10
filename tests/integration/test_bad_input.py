"""Requests that are wrong: a clear error for their caller, and nothing lost for anyone else."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from servers import RunningServer, ask

from llamawire.v1 import chat_pb2, chat_pb2_grpc, tokenizer_pb2

INVALID = grpc.StatusCode.INVALID_ARGUMENT
UNSUPPORTED = grpc.StatusCode.FAILED_PRECONDITION


def details_of(error: grpc.RpcError) -> dict[type[Message], Message]:
    """The google.rpc details of a failed call, by type."""
    status = rpc_status.from_call(error)
    assert status is not None, "every error has a google.rpc.Status"
    found: dict[type[Message], Message] = {}
    for packed in status.details:
        for name in (
            "ErrorInfo",
            "BadRequest",
            "PreconditionFailure",
            "ResourceInfo",
            "RetryInfo",
            "RequestInfo",
        ):
            detail = getattr(error_details_pb2, name)()
            if packed.Unpack(detail):
                found[type(detail)] = detail
    info = found[error_details_pb2.ErrorInfo]
    assert info.domain == "llamawire"  # type: ignore[attr-defined]
    return found


def fail(server: RunningServer, request: chat_pb2.ChatCompletionRequest, *, streamed: bool) -> grpc.RpcError:
    def call() -> object:
        if streamed:
            return list(server.chat.StreamChatCompletion(request))
        return server.chat.CreateChatCompletion(request)

    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def message(**fields: object) -> chat_pb2.ChatCompletionRequest:
    """A request whose one message has these fields."""
    return chat_pb2.ChatCompletionRequest(model="smollm2", messages=[chat_pb2.Message(**fields)])  # type: ignore[arg-type]


USER = chat_pb2.ROLE_USER
PICTURE = chat_pb2.ContentPart(image_url=chat_pb2.ImageUrl(url="data:image/png;base64,"))
CASES = {
    "no model": (ask("x", model=" "), {"model"}),
    "no messages": (chat_pb2.ChatCompletionRequest(model="smollm2"), {"messages"}),
    "no role": (message(content="x"), {"messages[0].role"}),
    "an unknown role": (message(role=99, content="x"), {"messages[0].role"}),
    "no content": (message(role=USER), {"messages[0].content"}),
    "content twice": (
        message(role=USER, content="x", content_parts=[{"text": "y"}]),
        {"messages[0].content"},
    ),
    "an empty part": (message(role=USER, content_parts=[{}]), {"messages[0].content_parts[0]"}),
    "a tool result for nothing": (
        message(role=chat_pb2.ROLE_TOOL, content="x"),
        {"messages[0].tool_call_id"},
    ),
    "a user with a tool's id": (
        message(role=USER, content="x", tool_call_id="a"),
        {"messages[0].tool_call_id"},
    ),
    "temperature": (ask("x", temperature=2.01), {"temperature"}),
    "a negative temperature": (ask("x", temperature=-0.1), {"temperature"}),
    "NaN": (ask("x", temperature=math.nan), {"temperature"}),
    "infinity": (ask("x", top_p=math.inf), {"top_p"}),
    "NaN in a penalty": (ask("x", repeat_penalty=math.nan), {"repeat_penalty"}),
    "NaN in a bias": (ask("x", logit_bias={5: math.nan}), {"logit_bias[5]"}),
    "top_p": (ask("x", top_p=1.5), {"top_p"}),
    "top_k": (ask("x", top_k=-1), {"top_k"}),
    "min_p": (ask("x", min_p=-0.5), {"min_p"}),
    "frequency_penalty": (ask("x", frequency_penalty=3), {"frequency_penalty"}),
    "presence_penalty": (ask("x", presence_penalty=-3), {"presence_penalty"}),
    "repeat_penalty": (ask("x", repeat_penalty=0), {"repeat_penalty"}),
    "max_tokens 0": (ask("x", max_tokens=0), {"max_tokens"}),
    "n 0": (ask("x", n=0), {"n"}),
    "n above what the model does": (ask("x", n=9), {"n"}),
    "an empty stop": (ask("x", stop=["a", ""]), {"stop[1]"}),
    "too many stops": (ask("x", stop=["a"] * 17), {"stop"}),
    "a stop token outside the vocabulary": (ask("x", stop_token_ids=[5, 10**6]), {"stop_token_ids[1]"}),
    "a bias outside the vocabulary": (ask("x", logit_bias={10**6: 1}), {"logit_bias[1000000]"}),
    "a bias out of range": (ask("x", logit_bias={5: 101}), {"logit_bias[5]"}),
    "top_logprobs without logprobs": (ask("x", top_logprobs=3), {"top_logprobs"}),
    "a chosen tool that is not there": (
        ask("x", tool_choice={"function_name": "f"}),
        {"tool_choice.function_name"},
    ),
    "a call without tools": (ask("x", tool_choice={"mode": 3}), {"tool_choice"}),
    "a call and a form": (
        ask(
            "x",
            tool_choice={"mode": 3},
            tools=[{"function": {"name": "f"}}],
            response_format={"json_object": {}},
        ),
        {"response_format"},
    ),
    "parameters that are no schema": (
        ask("x", tools=[{"function": {"name": "f", "parameters": "[]"}}]),
        {"tools[0].function.parameters"},
    ),
    "no schema": (
        ask("x", response_format={"json_schema": {"name": "s"}}),
        {"response_format.json_schema.schema"},
    ),
    "an answer to no call": (
        message(role=chat_pb2.ROLE_TOOL, content="x", tool_call_id="1"),
        {"messages[0].role"},
    ),
    "several at once": (
        ask("x", temperature=9, top_p=-1, stop=[""], n=-1),
        {"temperature", "top_p", "stop[0]", "n"},
    ),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", CASES)
def test_every_bad_field_is_named(server: RunningServer, case: str, streamed: bool) -> None:
    request, fields = CASES[case]
    error = fail(server, request, streamed=streamed)
    assert error.code() is INVALID
    bad_request = details_of(error)[error_details_pb2.BadRequest]
    assert isinstance(bad_request, error_details_pb2.BadRequest)
    assert {violation.field for violation in bad_request.field_violations} == fields
    assert all(field in error.details() for field in fields)


@pytest.mark.parametrize(
    ("request_", "subject"),
    [
        (message(role=USER, content_parts=[PICTURE]), "messages[0].content_parts[0]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_can_not_be_done_is_refused_and_not_ignored(
    server: RunningServer, request_: chat_pb2.ChatCompletionRequest, subject: str
) -> None:
    error = fail(server, request_, streamed=False)
    assert error.code() is UNSUPPORTED
    failure = details_of(error)[error_details_pb2.PreconditionFailure]
    assert isinstance(failure, error_details_pb2.PreconditionFailure)
    assert [violation.subject for violation in failure.violations] == [subject]


def test_an_unknown_model_is_named(server: RunningServer) -> None:
    error = fail(server, ask("x", model="smollm3"), streamed=True)
    assert error.code() is grpc.StatusCode.NOT_FOUND
    resource = details_of(error)[error_details_pb2.ResourceInfo]
    assert isinstance(resource, error_details_pb2.ResourceInfo)
    assert resource.resource_name == "model/smollm3"
    assert "smollm2" in error.details(), "near names are suggested"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_prompt_longer_than_the_context_says_both_lengths(server: RunningServer, streamed: bool) -> None:
    error = fail(server, ask("word " * 9000), streamed=streamed)
    assert error.code() is INVALID
    assert "8192" in error.details()
    request = tokenizer_pb2.CountChatTokensRequest(request=ask("word " * 9000))
    count = server.tokenizer.CountChatTokens(request).prompt_tokens
    assert str(count) in error.details()


def test_max_tokens_that_do_not_fit_are_refused(server: RunningServer) -> None:
    error = fail(server, ask("x", max_tokens=8192), streamed=False)
    bad_request = details_of(error)[error_details_pb2.BadRequest]
    assert isinstance(bad_request, error_details_pb2.BadRequest)
    assert [violation.field for violation in bad_request.field_violations] == ["max_tokens"]


def raw_call(server: RunningServer, body: bytes) -> Callable[[], object]:
    method = server.channel.unary_unary(
        "/llamawire.v1.ChatService/CreateChatCompletion",
        request_serializer=None,
        response_deserializer=None,
    )
    return lambda: method(body)


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a\x04\xff\xfe\xfd\xfc",  # field 1, a string that is no UTF-8
        b"\x0a\xff\xff\xff\xff\x0f",  # field 1, longer than the message
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_bytes_that_are_no_message_are_the_callers_mistake(server: RunningServer, body: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        raw_call(server, body)()
    assert caught.value.code() is INVALID
    info = details_of(caught.value)[error_details_pb2.ErrorInfo]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert info.reason == "MALFORMED_REQUEST"


def test_a_request_over_the_limit_is_refused(server: RunningServer) -> None:
    error = fail(server, ask("x" * (17 * 1024 * 1024)), streamed=False)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    info = details_of(error)[error_details_pb2.ErrorInfo]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert info.reason == "MESSAGE_TOO_LARGE"


def test_an_unknown_method_is_unimplemented(server: RunningServer) -> None:
    method = server.channel.unary_unary("/llamawire.v1.ChatService/Nothing", None, None)
    with pytest.raises(grpc.RpcError) as caught:
        method(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_tokens_outside_the_vocabulary_are_named(server: RunningServer) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.tokenizer.Detokenize(tokenizer_pb2.DetokenizeRequest(model="smollm2", tokens=[1, -1, 10**6]))
    bad_request = details_of(caught.value)[error_details_pb2.BadRequest]
    assert isinstance(bad_request, error_details_pb2.BadRequest)
    assert "tokens[1]" in {violation.field for violation in bad_request.field_violations}


def test_hundreds_of_bad_requests_do_not_touch_a_good_one(server: RunningServer) -> None:
    good = ask("Write a story about a fox.", max_tokens=60)
    undisturbed = server.chat.CreateChatCompletion(good).choices[0].message.content
    with ThreadPoolExecutor(8) as pool:
        answer = pool.submit(server.chat.CreateChatCompletion, good)
        requests = [request for request, _ in CASES.values()] * 5
        codes = {error.code() for error in pool.map(lambda r: fail(server, r, streamed=True), requests)}
        assert answer.result().choices[0].message.content == undisturbed
    assert codes == {INVALID}


def test_the_request_id_comes_back_and_a_bad_one_is_replaced(server: RunningServer) -> None:
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        for sent, kept in (("my-id.1", True), ("spaces are bad", False), ("x" * 200, False)):
            headers = (("x-request-id", sent), ("traceparent", "00-" + "a" * 32 + "-" + "b" * 16 + "-01"))
            _, call = stub.CreateChatCompletion.with_call(ask("x", max_tokens=1), metadata=headers)
            received = dict(call.initial_metadata())
            assert (received["x-request-id"] == sent) is kept
            assert received["x-request-id"]
            assert received["traceparent"] == headers[1][1]
