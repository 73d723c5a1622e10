"""Completions with OpenAI's own Python SDK, sync and async, against the real server."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types import Completion
from raw_prompts import ONCE, tokens_of
from servers import RunningServer

from llamawire import Client
from llamawire.v1 import completion_pb2

GREEDY: dict[str, Any] = {"model": "smollm2", "prompt": ONCE, "temperature": 0, "max_tokens": 8}


def create(sdk: openai.OpenAI, **fields: Any) -> Completion:
    return sdk.completions.create(**{**GREEDY, **fields})


def stream(sdk: openai.OpenAI, **fields: Any) -> list[Completion]:
    return list(sdk.completions.create(**{**GREEDY, **fields, "stream": True}))


def expected(server: RunningServer, **fields: Any) -> completion_pb2.Completion:
    """The same over gRPC."""
    with Client(server.grpc_address) as client:
        return client.completions.create(**{**GREEDY, **fields}).proto


def test_a_whole_answer(sdk: openai.OpenAI, server: RunningServer) -> None:
    answer = create(sdk)
    (choice,) = answer.choices
    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    assert (answer.model, choice.index, choice.finish_reason, choice.logprobs) == (
        "smollm2",
        0,
        "length",
        None,
    )
    assert choice.text == expected(server).choices[0].text
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8
    assert answer.model_extra is not None
    assert answer.model_extra["timings"]["generation_seconds"] > 0


def test_all_kinds_of_prompts(sdk: openai.OpenAI, server: RunningServer) -> None:
    other = "One, two, three,"
    texts = [create(sdk, prompt=prompt).choices[0].text for prompt in (ONCE, other)]
    ids = [tokens_of(server, prompt) for prompt in (ONCE, other)]
    assert create(sdk, prompt=ids[0]).choices[0].text == texts[0]
    for prompt in ([ONCE, other], ids):
        assert [choice.text for choice in create(sdk, prompt=prompt).choices] == texts
        twice = create(sdk, prompt=prompt, n=2).choices
        assert [(choice.index, choice.text) for choice in twice] == list(
            enumerate([texts[0], texts[0], texts[1], texts[1]])
        )


def test_a_stream(sdk: openai.OpenAI) -> None:
    whole = create(sdk, prompt=[ONCE, "One, two,"])
    chunks = stream(sdk, prompt=[ONCE, "One, two,"])
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    for choice in whole.choices:
        parts = [one.choices[0] for one in chunks if one.choices[0].index == choice.index]
        assert "".join(part.text for part in parts) == choice.text
        assert [part.finish_reason for part in parts] == [*[None] * (len(parts) - 1), choice.finish_reason]
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_last_where_it_was_asked_for(sdk: openai.OpenAI) -> None:
    *others, last = stream(sdk, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 8
    assert all(chunk.choices and chunk.usage is None for chunk in others)


def test_scoring_as_evaluation_harnesses_do_it(sdk: openai.OpenAI, server: RunningServer) -> None:
    ids = tokens_of(server, ONCE)
    (choice,) = create(sdk, prompt=[ids], echo=True, logprobs=1, max_tokens=0).choices
    found = choice.logprobs
    assert found is not None
    assert (choice.text, "".join(found.tokens or [])) == (ONCE, ONCE)
    assert found.token_logprobs is not None
    assert found.top_logprobs is not None
    assert len(found.token_logprobs) == len(found.top_logprobs) == len(found.text_offset or []) == len(ids)
    assert found.token_logprobs[0] is None
    assert found.top_logprobs[0] is None
    for text, logprob, top in zip(
        (found.tokens or [])[1:], found.token_logprobs[1:], found.top_logprobs[1:], strict=True
    ):
        assert top[text] == logprob <= max(top.values()), "the token is among them"
    reached = 0
    for text, offset in zip(found.tokens or [], found.text_offset or [], strict=True):
        assert offset == reached
        reached += len(text)


def test_log_probabilities_in_a_stream(sdk: openai.OpenAI) -> None:
    whole = create(sdk, logprobs=2, echo=True).choices[0].logprobs
    assert whole is not None
    parts = [chunk.choices[0].logprobs for chunk in stream(sdk, logprobs=2, echo=True)]
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        assert [one for part in parts if part for one in getattr(part, name)] == getattr(whole, name)
    none_listed = create(sdk, logprobs=0).choices[0].logprobs
    assert none_listed is not None
    assert none_listed.top_logprobs is None
    assert none_listed.token_logprobs is not None
    assert len(none_listed.token_logprobs) == 8


def test_what_is_llamawire_s_own(sdk: openai.OpenAI) -> None:
    extra = {"response_format": {"type": "grammar", "grammar": "(yes|no)", "syntax": "regex"}, "top_k": 1}
    assert create(sdk, prompt="Is it? ", extra_body=extra).choices[0].text in ("yes", "no")
    best = create(sdk, best_of=2, n=1, temperature=1, seed=1)
    assert best.usage is not None
    assert best.usage.completion_tokens == 16


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"suffix": "the end"}, "suffix"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "word " * 9000}, "prompt"),
        ({"prompt": [ONCE, "word " * 9000]}, "prompt[1]"),
        ({"prompt": [1, 49152]}, "prompt[1]"),
        ({"prompt": [[1], [2, -1]]}, "prompt[1][1]"),
        ({"prompt": {}}, "prompt"),
        ({"logprobs": 21}, "logprobs"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"extra_body": {"nothing": 1}}, "nothing"),
        ({"extra_body": {"messages": []}}, "messages"),
    ],
)
def test_what_is_refused_by_name(sdk: openai.OpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        create(sdk, **fields)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


async def test_all_of_it_awaited(async_sdk: openai.AsyncOpenAI) -> None:
    whole = await async_sdk.completions.create(**GREEDY)
    chunks = [chunk async for chunk in await async_sdk.completions.create(**GREEDY, stream=True)]
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    raw = await async_sdk.completions.with_raw_response.create(**GREEDY)
    assert raw.headers["x-request-id"]
    assert raw.parse().choices == whole.choices
