"""`client.completions`: what is sent, what is given, and what a stream adds up to."""

from __future__ import annotations

import grpc
import pytest

from llamawire import (
    AsyncClient,
    Client,
    RequestCancelledError,
    TextCompletionBuilder,
    UnavailableError,
    UnsupportedError,
    completion_request,
)
from llamawire.v1 import chat_pb2, completion_pb2, usage_pb2

ASKED = {"model": "m", "prompt": "Once"}
Choice = completion_pb2.CompletionChoice
Prompt = completion_pb2.CompletionPrompt
STOP, LENGTH = chat_pb2.FINISH_REASON_STOP, chat_pb2.FINISH_REASON_LENGTH


def completion(*choices: completion_pb2.CompletionChoice) -> completion_pb2.Completion:
    return completion_pb2.Completion(id="cmpl-1", model="m", choices=choices)


def chunk(*choices: completion_pb2.CompletionChoice, **fields) -> completion_pb2.CompletionChunk:
    return completion_pb2.CompletionChunk(id="cmpl-1", created=1, model="m", choices=choices, **fields)


def logprobs(*tokens: str) -> completion_pb2.CompletionLogprobs:
    return completion_pb2.CompletionLogprobs(
        tokens=[completion_pb2.CompletionTokenLogprob(token=token, logprob=-1) for token in tokens]
    )


CHUNKS = [
    chunk(Choice(index=1, text="b")),
    chunk(Choice(index=0, text="a", logprobs=logprobs("a"))),
    chunk(Choice(index=0, text="c", logprobs=logprobs("c"), finish_reason=STOP)),
    chunk(
        Choice(index=1, finish_reason=LENGTH),
        usage=usage_pb2.Usage(prompt_tokens=3, completion_tokens=3, total_tokens=6),
    ),
]


@pytest.fixture
def client(server):
    with Client(server.target) as client:
        yield client


@pytest.fixture
async def aio_client(server):
    async with AsyncClient(server.target) as client:
        yield client


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", [Prompt(text="a")]),
        ([1, 2], [Prompt(tokens=Prompt.Tokens(tokens=[1, 2]))]),
        (range(2), [Prompt(tokens=Prompt.Tokens(tokens=[0, 1]))]),
        (["a", [3]], [Prompt(text="a"), Prompt(tokens=Prompt.Tokens(tokens=[3]))]),
        (Prompt(text="a"), [Prompt(text="a")]),
        ([Prompt(text="a"), "b"], [Prompt(text="a"), Prompt(text="b")]),
        ([], []),
    ],
)
def test_what_stands_for_prompts(prompt, expected):
    assert list(completion_request(model="m", prompt=prompt).prompt) == expected


def test_every_option_is_a_field_and_every_field_an_option():
    from llamawire.completion_request import CompletionOptions

    fields = completion_pb2.CompletionRequest.DESCRIPTOR.fields_by_name
    assert set(CompletionOptions.__annotations__) == set(fields)


def test_options_in_their_natural_forms():
    made = completion_request(
        **ASKED,
        stop="x",
        logit_bias={"7": 1},
        response_format={"type": "grammar", "grammar": "a", "syntax": "regex"},
        prediction="y",
        max_tokens=0,
        n=None,
    )
    assert list(made.stop) == ["x"]
    assert dict(made.logit_bias) == {7: 1}
    assert made.response_format.grammar.syntax == chat_pb2.GrammarFormat.SYNTAX_REGEX
    assert made.prediction.content == "y"
    assert made.HasField("max_tokens")
    assert not made.HasField("n")


def test_a_proto_with_options_in_place_of_its_fields():
    base = completion_request(**ASKED, seed=1, stop=["a", "b"])
    made = completion_request(base, stop="c")
    assert (list(made.stop), made.seed) == (["c"], 1)
    assert list(base.stop) == ["a", "b"]
    with pytest.raises(TypeError, match="has no 'messages'"):
        completion_request(base, messages=[])


def test_create_sends_the_request_and_gives_the_answer(server, client):
    server.answers(completion(Choice(text="upon", finish_reason=STOP, logprobs=logprobs("upon"))))

    answer = client.completions.create(**ASKED, temperature=0, request_id="mine")

    assert server.received[0].request == completion_request(**ASKED, temperature=0)
    assert (answer.text, answer.finish_reason, answer.id, answer.model) == ("upon", "stop", "cmpl-1", "m")
    assert [token.token for token in answer.logprobs] == ["upon"]
    assert answer.request_id == "mine"


def test_answers_are_parsed_where_they_follow_a_schema(server, client):
    server.answers(completion(Choice(text='{"a": 1}', finish_reason=STOP)))

    assert client.completions.create(**ASKED).parse() == {"a": 1}


def test_a_call_that_failed_before_any_work_is_tried_again(server, client, error_info, retry_info):
    server.fails(grpc.StatusCode.UNAVAILABLE, error_info("MODEL_LOADING"), retry_info(0.01))
    server.answers(completion(Choice(text="a")))

    assert client.completions.create(**ASKED).text == "a"


def test_who_does_not_wait_for_the_model_is_told_at_once(server, client, error_info, retry_info):
    server.fails(grpc.StatusCode.UNAVAILABLE, error_info("MODEL_LOADING"), retry_info(0.01))

    with pytest.raises(UnavailableError):
        client.completions.create(**ASKED, wait_for_model=False)


def test_what_the_model_can_not_do(server, client, error_info):
    server.fails(grpc.StatusCode.FAILED_PRECONDITION, error_info("NO_INFILL"))

    with pytest.raises(UnsupportedError) as caught:
        client.completions.create(**ASKED, suffix="x")

    assert caught.value.reason == "NO_INFILL"


def check(whole) -> None:
    assert [(choice.index, choice.text, choice.finish_reason) for choice in whole.choices] == [
        (0, "ac", "stop"),
        (1, "b", "length"),
    ]
    assert [token.token for token in whole.logprobs] == ["a", "c"]
    assert not whole.choices[1].logprobs
    assert (whole.id, whole.usage.total_tokens) == ("cmpl-1", 6)


def test_a_stream_adds_up(server, client):
    server.answers(*CHUNKS)

    with client.completions.stream(**ASKED) as stream:
        texts = [chunk.text for chunk in stream]

    assert texts == ["", "a", "c", ""]
    check(stream.completion)


def test_the_text_of_a_stream(server, client):
    server.answers(*CHUNKS)
    assert list(client.completions.stream(**ASKED).text_stream) == ["a", "c"]
    server.answers(*CHUNKS)
    check(client.completions.stream(**ASKED).result())


def test_a_stream_that_is_closed_early_is_not_whole(server, client):
    is_over = server.hangs(CHUNKS[1])

    stream = client.completions.stream(**ASKED)
    assert next(stream).text == "a"
    stream.close()

    assert is_over.wait(5)
    assert stream.completion.text == "a"
    with pytest.raises(RequestCancelledError):
        next(stream)


async def test_all_of_it_awaited(server, aio_client):
    server.answers(completion(Choice(text="upon", finish_reason=LENGTH)))
    answer = await aio_client.completions.create(**ASKED)
    assert (answer.text, answer.finish_reason) == ("upon", "length")

    server.answers(*CHUNKS)
    async with aio_client.completions.stream(**ASKED) as stream:
        texts = [chunk.text async for chunk in stream]
    assert texts == ["", "a", "c", ""]
    check(stream.completion)

    server.answers(*CHUNKS)
    assert [text async for text in aio_client.completions.stream(**ASKED).text_stream] == ["a", "c"]
    server.answers(*CHUNKS)
    check(await aio_client.completions.stream(**ASKED).result())


def test_what_was_built_does_not_change():
    builder = TextCompletionBuilder()
    builder.add(CHUNKS[1])
    before = builder.build()
    builder.add(CHUNKS[2])
    assert before.choices[0].text == "a"
    assert builder.build().choices[0].text == "ac"
