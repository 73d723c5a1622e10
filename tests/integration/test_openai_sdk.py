"""OpenAI's own Python SDK, sync and async, against the real server: what its calls answer."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai_sdk_calls import GREEDY, STORY, create, stream, text_of
from raw_prompts import tokens_of
from servers import RunningServer

# Ends of itself: the SDK's stream helper makes an error of an answer that was cut off.
SHORT: dict[str, Any] = {**GREEDY, "max_tokens": 64, "stop": [","]}


def test_a_whole_answer(sdk: openai.OpenAI) -> None:
    answer = create(sdk)
    (choice,) = answer.choices
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.created > 1_700_000_000
    assert answer.model == "smollm2"
    assert answer.service_tier == "default"
    assert answer.system_fingerprint
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "length"


def test_usage_and_timings(sdk: openai.OpenAI) -> None:
    answer = create(sdk, max_tokens=4)
    usage = answer.usage
    assert usage is not None
    assert usage.completion_tokens == 4
    assert usage.total_tokens == usage.prompt_tokens + 4
    assert usage.prompt_tokens_details is not None
    extra = usage.model_extra
    assert extra is not None
    assert usage.prompt_tokens_details.cached_tokens == extra["prompt_cache_hit_tokens"]
    assert extra["prompt_cache_hit_tokens"] + extra["prompt_cache_miss_tokens"] == usage.prompt_tokens
    assert answer.model_extra is not None
    timings = answer.model_extra["timings"]
    assert timings["first_token_seconds"] >= timings["prompt_seconds"] > 0
    assert timings["generation_seconds"] > 0


def test_a_stream_says_what_the_whole_answer_says(sdk: openai.OpenAI) -> None:
    whole, chunks = create(sdk), stream(sdk)
    assert text_of(chunks) == whole.choices[0].message.content
    assert len(chunks) > 6, "not all at once"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.created, chunk.model, chunk.system_fingerprint) for chunk in chunks}) == 1
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant", *[None] * (len(chunks) - 1)]
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [*[None] * (len(chunks) - 1), "length"]


def test_usage_comes_last_in_a_stream_where_it_was_asked_for(sdk: openai.OpenAI) -> None:
    *others, last = stream(sdk, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage == create(sdk).usage
    assert last.model_extra is not None
    assert last.model_extra["timings"]["generation_seconds"] > 0
    for chunk in others:
        assert chunk.choices
        assert chunk.usage is None
        assert "usage" in chunk.model_fields_set, "null, and not left out"


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": False}}])
def test_a_stream_has_no_usage_where_it_was_not_asked_for(
    sdk: openai.OpenAI, options: dict[str, Any]
) -> None:
    for chunk in stream(sdk, **options):
        assert chunk.choices
        assert "usage" not in chunk.model_fields_set


def test_two_choices(sdk: openai.OpenAI) -> None:
    asked = {"n": 2, "seed": 11, "temperature": 1.5, "extra_body": {"top_k": 0}}
    whole, chunks = create(sdk, **asked), stream(sdk, **asked)
    assert [choice.index for choice in whole.choices] == [0, 1]
    texts = [choice.message.content for choice in whole.choices]
    assert len(set(texts)) == 2
    assert [text_of(chunks, index) for index in (0, 1)] == texts
    opened = [chunk.choices[0].index for chunk in chunks if chunk.choices[0].delta.role]
    assert opened == [0, 1]
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 20


@pytest.mark.parametrize("as_list", [False, True], ids=["string", "list"])
def test_a_stop_string(sdk: openai.OpenAI, as_list: bool) -> None:
    whole = create(sdk, max_tokens=20).choices[0].message.content
    assert whole is not None
    stop = whole[20:27]
    asked = {"max_tokens": 20, "stop": [stop] if as_list else stop}
    stopped, chunks = create(sdk, **asked), stream(sdk, **asked)
    assert stopped.choices[0].message.content == whole[: whole.index(stop)]
    assert stopped.choices[0].finish_reason == "stop"
    assert text_of(chunks) == whole[: whole.index(stop)]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_seed_reproduces(sdk: openai.OpenAI) -> None:
    def sample(seed: int) -> str | None:
        answer = create(sdk, temperature=1.5, seed=seed, extra_body={"top_k": 0})
        return answer.choices[0].message.content

    assert sample(5) == sample(5)
    assert sample(6) != sample(5)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_most_tokens(sdk: openai.OpenAI, name: str) -> None:
    asked = {**GREEDY, "max_tokens": openai.omit, name: 3}
    answer = sdk.chat.completions.create(**asked)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert answer.choices[0].finish_reason == "length"


def test_a_bias_forces_a_token(sdk: openai.OpenAI, server: RunningServer) -> None:
    (fox,) = tokens_of(server, " fox", add_special=False)
    answer = create(sdk, max_tokens=3, logit_bias={str(fox): 100})
    assert answer.choices[0].message.content == " fox fox fox"


def test_what_clients_send_without_effect_is_taken(sdk: openai.OpenAI) -> None:
    answer = create(
        sdk,
        messages=[
            {"role": "developer", "content": "Answer in one word."},
            {"role": "user", "content": [{"type": "text", "text": "What is the capital of France?"}]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": "Please."},
        ],
        metadata={"for": "tests"},
        user="somebody",
        store=False,
        service_tier="auto",
        safety_identifier="somebody",
        prompt_cache_key="tests",
        verbosity="low",
        parallel_tool_calls=True,
    )
    assert answer.choices[0].message.content


def test_models(sdk: openai.OpenAI) -> None:
    listed = list(sdk.models.list())
    assert "smollm2" in [model.id for model in listed]
    model = sdk.models.retrieve("smollm2")
    assert (model.id, model.object, model.owned_by) == ("smollm2", "model", "llamawire")
    assert model.created > 1_500_000_000, "when its file was last changed"
    assert model in listed
    assert sdk.models.retrieve("SmolLM2:latest").id == "smollm2"
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.models.retrieve("gpt-5")
    assert caught.value.code == "model_not_found"


def test_the_request_id_is_in_the_headers(sdk: openai.OpenAI) -> None:
    raw = sdk.chat.completions.with_raw_response.create(
        **{**GREEDY, "max_tokens": 1}, extra_headers={"x-request-id": "mine-1"}
    )
    assert raw.headers["x-request-id"] == raw.request_id == "mine-1"
    assert raw.parse().choices[0].message.content
    assert create(sdk, max_tokens=1)._request_id
    with sdk.chat.completions.with_streaming_response.create(**GREEDY, stream=True) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.request_id


def test_the_stream_helper(sdk: openai.OpenAI) -> None:
    """It puts the whole answer together, and is the pickiest of all about the order of things."""
    whole = create(sdk, **SHORT, n=2)
    with sdk.chat.completions.stream(**SHORT, n=2, stream_options={"include_usage": True}) as events:
        kinds = [event.type for event in events]
        answer = events.get_final_completion()
    for mine, theirs in zip(answer.choices, whole.choices, strict=True):
        assert mine.message.content == theirs.message.content
        assert (mine.message.role, mine.finish_reason) == ("assistant", "stop")
    assert answer.usage == whole.usage
    assert kinds.count("content.done") == 2


def test_the_helper_s_older_place(sdk: openai.OpenAI) -> None:
    if not hasattr(sdk.beta, "chat"):
        pytest.skip("this version of the SDK has none")
    with sdk.beta.chat.completions.stream(**SHORT) as events:
        answer = events.get_final_completion()
    assert answer.choices[0].message.content == create(sdk, **SHORT).choices[0].message.content


def test_an_answer_can_be_sent_back(sdk: openai.OpenAI) -> None:
    message = create(sdk).choices[0].message
    followed: list[Any] = [*STORY, message, {"role": "user", "content": "Go on."}]
    assert create(sdk, messages=followed).choices[0].message.content


async def test_the_asynchronous_client(async_sdk: openai.AsyncOpenAI) -> None:
    whole = await async_sdk.chat.completions.create(**SHORT)
    chunks = [chunk async for chunk in await async_sdk.chat.completions.create(**SHORT, stream=True)]
    assert text_of(chunks) == whole.choices[0].message.content
    async with async_sdk.chat.completions.stream(**SHORT) as events:
        answer = await events.get_final_completion()
    assert answer.choices[0].message.content == whole.choices[0].message.content
    assert "smollm2" in [model.id async for model in async_sdk.models.list()]
    assert (await async_sdk.models.retrieve("smollm2")).id == "smollm2"


async def test_many_at_once(async_sdk: openai.AsyncOpenAI) -> None:
    answers = await asyncio.gather(
        *(async_sdk.chat.completions.create(**{**GREEDY, "max_tokens": 3 + number}) for number in range(6))
    )
    assert [answer.usage.completion_tokens for answer in answers if answer.usage] == [3, 4, 5, 6, 7, 8]
