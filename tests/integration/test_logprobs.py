"""Log probabilities of the real model's answers: what belongs to which token, and that they are probabilities."""

from __future__ import annotations

import math
from typing import Any

import openai
import pytest
from servers import RunningServer, ask

from llamawire.v1 import chat_pb2

STORY = "Write a story about a fox."
EMOJI = chat_pb2.ResponseFormat(
    grammar=chat_pb2.GrammarFormat(syntax=chat_pb2.GrammarFormat.SYNTAX_LARK, grammar='start: "A 🦊 é"')
)


def tokens_of(server: RunningServer, **fields: Any) -> tuple[str, list[chat_pb2.TokenLogprob]]:
    (choice,) = server.chat.CreateChatCompletion(ask(STORY, logprobs=True, **fields)).choices
    return choice.message.content, list(choice.logprobs.content)


def test_each_token_of_the_text_has_one(server: RunningServer) -> None:
    text, tokens = tokens_of(server, max_tokens=10, top_logprobs=5)
    assert b"".join(token.bytes for token in tokens).decode() == text
    assert len(tokens) == 10
    for token in tokens:
        top = token.top_logprobs
        assert len(top) == 5
        assert [one.logprob for one in top] == sorted((one.logprob for one in top), reverse=True)
        assert sum(math.exp(one.logprob) for one in top) <= 1 + 1e-4
        # Greedy: the likeliest came.
        assert (top[0].bytes, top[0].logprob) == (token.bytes, token.logprob)
        assert token.token == token.bytes.decode("utf-8", "replace")


def test_they_change_nothing(server: RunningServer) -> None:
    plain = server.chat.CreateChatCompletion(ask(STORY, max_tokens=10)).choices[0]
    assert plain.message.content == tokens_of(server, max_tokens=10)[0]
    assert not plain.HasField("logprobs")


@pytest.mark.parametrize("number", [0, 1, 20])
def test_as_many_are_listed_as_were_asked_for(server: RunningServer, number: int) -> None:
    _, tokens = tokens_of(server, max_tokens=3, top_logprobs=number)
    assert [len(token.top_logprobs) for token in tokens] == [number] * 3


def test_they_are_the_model_s_own_whatever_is_made_of_them(server: RunningServer) -> None:
    """Before temperature, bias and a grammar, which chooses what is hardly likely."""
    _, plain = tokens_of(server, max_tokens=1, top_logprobs=20)
    hot = {"temperature": 1.9, "seed": 1, "logit_bias": {28: 5}}
    _, sampled = tokens_of(server, max_tokens=1, top_logprobs=20, **hot)
    assert list(sampled[0].top_logprobs) == list(plain[0].top_logprobs)
    text, forced = tokens_of(server, max_tokens=20, top_logprobs=20, response_format=EMOJI)
    assert list(forced[0].top_logprobs) == list(plain[0].top_logprobs)
    assert text == "A 🦊 é"


def test_a_character_of_several_tokens_has_their_bytes(server: RunningServer) -> None:
    text, tokens = tokens_of(server, max_tokens=20, response_format=EMOJI)
    assert b"".join(token.bytes for token in tokens).decode() == text
    assert any(token.token == "\ufffd" for token in tokens), "a part of a character is none"


def test_in_a_stream_they_come_with_their_text(server: RunningServer) -> None:
    asked = ask(STORY, max_tokens=20, logprobs=True, response_format=EMOJI)
    whole = server.chat.CreateChatCompletion(asked).choices[0]
    found: list[chat_pb2.TokenLogprob] = []
    for chunk in server.chat.StreamChatCompletion(asked):
        for choice in chunk.choices:
            found += choice.logprobs.content
            if choice.logprobs.content:
                text = b"".join(token.bytes for token in choice.logprobs.content).decode()
                assert text == choice.delta.content
    assert found == list(whole.logprobs.content)


def test_a_stop_string_has_none(server: RunningServer) -> None:
    text, tokens = tokens_of(server, max_tokens=20)
    stop = b"".join(token.bytes for token in tokens[6:8]).decode()
    cut, before = tokens_of(server, max_tokens=20, stop=[stop])
    assert cut == text[: text.index(stop)]
    assert b"".join(token.bytes for token in before).decode() == cut


def test_over_http(sdk: openai.OpenAI, server: RunningServer) -> None:
    asked: dict[str, Any] = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": STORY}],
        "temperature": 0,
        "max_tokens": 6,
        "logprobs": True,
        "top_logprobs": 2,
    }
    (choice,) = sdk.chat.completions.create(**asked).choices
    assert choice.logprobs is not None
    assert choice.logprobs.refusal is None
    assert choice.logprobs.content
    assert bytes(byte for token in choice.logprobs.content for byte in token.bytes or []).decode() == (
        choice.message.content
    )
    _, tokens = tokens_of(server, max_tokens=6, top_logprobs=2)
    assert [round(token.logprob, 4) for token in choice.logprobs.content] == [
        round(token.logprob, 4) for token in tokens
    ]
    streamed = [
        token
        for chunk in sdk.chat.completions.create(**asked, stream=True)
        for one in chunk.choices
        if one.logprobs
        for token in one.logprobs.content or []
    ]
    assert streamed == choice.logprobs.content
    plain = sdk.chat.completions.create(**{**asked, "logprobs": False, "top_logprobs": openai.omit})
    assert plain.choices[0].logprobs is None
