"""Usage while a stream runs, on the real model: over gRPC, and as OpenAI's and Anthropic's SDKs read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anthropic
import httpx
import openai
import pytest
from callers import chat_body, post
from raw_prompts import ONCE, request
from servers import RunningServer, ask

from llamawire import AsyncClient, Client
from llamawire.v1 import usage_pb2

QUESTION = "Name an animal."
CONTINUOUS: Any = {"include_usage": True, "continuous_usage_stats": True}


def sizes(usage: Any) -> tuple[int, int]:
    """Tokens of the prompt and of the answer."""
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    return usage.prompt_tokens, usage.completion_tokens


def check(chunks: Sequence[Any], plain: Sequence[Any]) -> list[int]:
    """That every chunk of a stream tells what another one to the same request tells at its end; gives how many tokens
    there were at each chunk."""
    assert all(chunk.HasField("usage") for chunk in chunks)
    assert [chunk.HasField("usage") for chunk in plain] == [False] * (len(plain) - 1) + [True]
    assert [chunk.HasField("timings") for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert without_guesses(chunks[-1].usage) == without_guesses(plain[-1].usage)
    told = [sizes(chunk.usage) for chunk in chunks]
    assert told == sorted(told), "it grows"
    return [num_tokens for _, num_tokens in told]


def without_guesses(usage: usage_pb2.Usage) -> usage_pb2.Usage:
    """The usage without what depends on how long steps took."""
    usage = usage_pb2.Usage.FromString(usage.SerializeToString())
    for name in ("accepted_draft_tokens", "rejected_draft_tokens"):
        usage.completion_tokens_details.ClearField(name)
    return usage


@pytest.mark.parametrize("n", [1, 2])
def test_every_chunk_of_a_chat_has_it(server: RunningServer, n: int) -> None:
    asked = {"n": n, "max_tokens": 8, "seed": 3, "temperature": 1.0}
    chunks = list(server.chat.StreamChatCompletion(ask(QUESTION, continuous_usage=True, **asked)))
    told = check(chunks, list(server.chat.StreamChatCompletion(ask(QUESTION, **asked))))
    assert told[0] == 0, "the choices open before anything is said"
    assert len(set(told)) > 4, "on the way"
    assert {chunk.usage.prompt_tokens for chunk in chunks} == {chunks[0].usage.prompt_tokens}
    whole = server.chat.CreateChatCompletion(ask(QUESTION, continuous_usage=True, **asked))
    assert without_guesses(whole.usage) == without_guesses(chunks[-1].usage)


def test_every_chunk_of_a_completion_has_it(server: RunningServer) -> None:
    asked = {"max_tokens": 6, "echo": True}
    prompts = (ONCE, "One, two,")
    stream = server.completions.StreamCompletion(request(*prompts, continuous_usage=True, **asked))
    chunks = list(stream)
    told = check(chunks, list(server.completions.StreamCompletion(request(*prompts, **asked))))
    assert (told[0] > 0, told[-1]) == (True, 12)


async def test_the_python_client_asks_for_it(server: RunningServer) -> None:
    asked: Any = {"model": "smollm2", "messages": [("user", QUESTION)], "max_tokens": 4, "temperature": 0}
    with Client(server.grpc_address) as client:
        stream = client.chat.stream(**asked, continuous_usage=True)
        usages = [chunk.usage for chunk in stream]
        assert stream.completion.usage == usages[-1]
    async with AsyncClient(server.grpc_address) as aio:
        completion = aio.completions.stream(
            model="smollm2", prompt=ONCE, max_tokens=4, temperature=0, continuous_usage=True
        )
        usages += [chunk.usage async for chunk in completion]
    assert all(usage.prompt_tokens for usage in usages)


def test_openai_s_sdk_reads_it_in_every_chunk(server: RunningServer) -> None:
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as sdk:
        asked: dict[str, Any] = {"model": "smollm2", "max_tokens": 6, "temperature": 0, "stream": True}
        streams: list[Callable[..., Any]] = [
            lambda **more: sdk.chat.completions.create(
                messages=[{"role": "user", "content": QUESTION}], **asked, **more
            ),
            lambda **more: sdk.completions.create(prompt=ONCE, **asked, **more),
        ]
        for create in streams:
            *others, last = create(stream_options=CONTINUOUS)
            assert (last.choices, sizes(last.usage)[1]) == ([], 6)
            told = [sizes(chunk.usage) for chunk in others]
            assert told == sorted(told)
            assert len(set(told)) > 3
            assert {prompt for prompt, _ in told} == {last.usage.prompt_tokens}
            *_, plain = create(stream_options={"include_usage": True})
            assert sizes(plain.usage) == sizes(last.usage)
            with pytest.raises(openai.BadRequestError) as caught:
                create(stream_options={"continuous_usage_stats": True})
            assert caught.value.param == "stream_options.continuous_usage_stats"


def test_it_changes_no_text(server: RunningServer) -> None:
    body = chat_body(QUESTION, stream=True, max_tokens=6)
    texts = []
    for options in ({"include_usage": True}, CONTINUOUS):
        response: httpx.Response = post(server.http_address, {**body, "stream_options": options})
        events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
        texts.append([event.partition('"choices":')[2].partition(',"usage":')[0] for event in events])
    assert texts[0] == texts[1]


def test_anthropic_s_message_begins_with_what_its_prompt_costs(server: RunningServer) -> None:
    asked: dict[str, Any] = {
        "model": "smollm2",
        "max_tokens": 6,
        "messages": [{"role": "user", "content": QUESTION}],
        "extra_body": {"temperature": 0},
    }
    with anthropic.Anthropic(base_url=f"http://{server.http_address}", api_key="none") as sdk:
        counted = sdk.messages.count_tokens(model="smollm2", messages=asked["messages"])
        events = list(sdk.messages.create(**asked, stream=True))
        with sdk.messages.stream(**asked) as stream:
            begun = next(event.message.usage for event in stream if event.type == "message_start")
            final = stream.get_final_message().usage
    (start,) = (event.message.usage for event in events if event.type == "message_start")
    (end,) = (event.usage for event in events if event.type == "message_delta")
    assert (start.input_tokens, start.cache_read_input_tokens) == (
        end.input_tokens,
        end.cache_read_input_tokens,
    )
    assert start.input_tokens + (start.cache_read_input_tokens or 0) == counted.input_tokens
    assert (start.output_tokens, end.output_tokens, final.output_tokens) == (0, 6, 6)
    assert begun.input_tokens == final.input_tokens > 0
