"""Raw prompts to the real model over gRPC: what it says, and how likely it finds what it is given."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from callers import wait_until
from llama_cpp import Llama
from raw_prompts import ONCE, complete, request, tokens_of
from servers import NO_END, RunningServer, ask, failure_of, reason_of

from llamawire.v1 import chat_pb2, completion_pb2

FOX = "The quick brown fox jumps over the lazy dog. The fox and the dog are"
# Scored in several batches.
LONG = "Rain fell on the old town, and nobody was out but the cats. " * 8
# What is computed in other batches has other last bits, which this model makes tenths of.
CLOSE = 0.3


@pytest.fixture(scope="module")
def llama(model_file: Path) -> Iterator[Llama]:
    """llama-cpp-python's own, which keeps the logits of every token."""
    model = Llama(str(model_file), n_ctx=256, n_threads=1, flash_attn=True, logits_all=True, verbose=False)
    yield model
    model.close()


def one_text(said: str) -> chat_pb2.ResponseFormat:
    """Nothing else may be said."""
    return chat_pb2.ResponseFormat(
        grammar=chat_pb2.GrammarFormat(syntax=chat_pb2.GrammarFormat.SYNTAX_LARK, grammar=f'start: "{said}"')
    )


def text(server: RunningServer, *prompts: str | list[int], **fields: Any) -> str:
    (choice,) = complete(server, *prompts, **fields).choices
    return choice.text


def log_softmax(row: np.ndarray) -> np.ndarray:
    row = row.astype(np.float64)
    return row - row.max() - math.log(math.fsum(np.exp(row - row.max())))


def test_it_goes_on_as_llama_cpp_does(server: RunningServer, llama: Llama) -> None:
    tokens = tokens_of(server, ONCE)
    said = []
    for token in llama.generate(tokens, temp=0, repeat_penalty=1.0):
        if len(said) == 8:
            break
        said.append(token)
    answer = complete(server, ONCE)
    (choice,) = answer.choices
    assert choice.text == llama.detokenize(said, prev_tokens=tokens).decode()
    assert choice.finish_reason == chat_pb2.FINISH_REASON_LENGTH
    assert answer.id.startswith("cmpl-")
    assert answer.usage.prompt_tokens == len(tokens)
    assert answer.usage.completion_tokens == 8
    assert not choice.HasField("logprobs")


def test_a_rendered_conversation_is_answered_as_a_chat(server: RunningServer) -> None:
    """Names of control tokens in it are these tokens."""
    chat = server.chat.CreateChatCompletion(ask("Why is the sky blue?", max_tokens=12))
    rendered = (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n"
    )
    answer = complete(server, rendered, max_tokens=12)
    assert answer.choices[0].text == chat.choices[0].message.content
    assert answer.usage.prompt_tokens == chat.usage.prompt_tokens
    plain = complete(server, rendered, max_tokens=1, parse_special=False)
    assert plain.usage.prompt_tokens > answer.usage.prompt_tokens


def test_tokens_are_as_good_as_their_text(server: RunningServer) -> None:
    tokens = tokens_of(server, ONCE)
    assert complete(server, tokens).choices == complete(server, ONCE).choices
    assert text(server, tokens, echo=True) == text(server, ONCE, echo=True)


def test_an_echo(server: RunningServer) -> None:
    said = text(server, ONCE)
    assert text(server, ONCE, echo=True) == ONCE + said
    assert text(server, ONCE, echo=True, max_tokens=0) == ONCE
    nothing = complete(server, ONCE, max_tokens=0)
    assert (nothing.choices[0].text, nothing.usage.completion_tokens) == ("", 0)
    assert nothing.choices[0].finish_reason == chat_pb2.FINISH_REASON_LENGTH


def check_offsets(choice: completion_pb2.CompletionChoice) -> None:
    for token in choice.logprobs.tokens:
        begun = choice.text[token.text_offset :].encode()
        # A character of several tokens begins where all of them do.
        assert token.bytes in begun[: len(token.bytes) + 3]
    assert b"".join(token.bytes for token in choice.logprobs.tokens).decode() == choice.text


def test_how_likely_a_prompt_is_by_a_full_softmax(server: RunningServer, llama: Llama) -> None:
    tokens = tokens_of(server, FOX)
    (choice,) = complete(server, FOX, echo=True, logprobs=20, max_tokens=0).choices
    llama.reset()
    llama.eval(tokens)
    first, *others = choice.logprobs.tokens
    assert len(others) == len(tokens) - 1
    assert not first.HasField("logprob")
    assert not first.top_logprobs
    for place, found in enumerate(others):
        row = log_softmax(llama.scores[place])
        assert found.logprob == pytest.approx(row[tokens[place + 1]], abs=CLOSE)
        best = int(row.argmax())
        assert found.top_logprobs[0].logprob == pytest.approx(row[best], abs=CLOSE)
        total = math.fsum(math.exp(one.logprob) for one in found.top_logprobs)
        assert total == pytest.approx(math.fsum(np.sort(np.exp(row))[-20:]), abs=0.1)
        assert total <= 1 + 1e-4
    check_offsets(choice)


def test_what_was_generated_is_as_likely_when_it_is_scored(server: RunningServer) -> None:
    """In however many batches the prompt is computed."""
    (generated,) = complete(server, LONG, logprobs=2, max_tokens=12).choices
    whole = LONG + generated.text
    (scored,) = complete(server, whole, echo=True, logprobs=2, max_tokens=0).choices
    num_tokens = len(generated.logprobs.tokens)
    assert num_tokens == 12
    assert len(scored.logprobs.tokens) == len(tokens_of(server, whole)) > 100
    for one, other in zip(generated.logprobs.tokens, scored.logprobs.tokens[-num_tokens:], strict=True):
        assert one.bytes == other.bytes
        assert one.logprob == pytest.approx(other.logprob, abs=CLOSE)
        assert other.top_logprobs[0].bytes == other.bytes, "greedy"
    check_offsets(scored)


def test_a_scored_prompt_goes_on_as_any_other(server: RunningServer) -> None:
    plain = complete(server, FOX, n=2, logprobs=3).choices
    scored = complete(server, FOX, n=2, logprobs=3, echo=True).choices
    for one, other in zip(plain, scored, strict=True):
        assert other.text == FOX + one.text
        generated = other.logprobs.tokens[-len(one.logprobs.tokens) :]
        assert [token.bytes for token in generated] == [token.bytes for token in one.logprobs.tokens]
        assert [token.text_offset - len(FOX) for token in generated] == [
            token.text_offset for token in one.logprobs.tokens
        ]
        check_offsets(other)
    assert scored[0].logprobs.tokens[:5] == scored[1].logprobs.tokens[:5]


def test_characters_of_several_tokens_and_a_form(server: RunningServer) -> None:
    (choice,) = complete(
        server, "Say: é🦊", echo=True, logprobs=1, max_tokens=30, response_format=one_text("A 🦊 é")
    ).choices
    assert choice.text == "Say: é🦊A 🦊 é"
    assert choice.finish_reason == chat_pb2.FINISH_REASON_STOP
    check_offsets(choice)


def test_several_prompts_are_answered_as_each_alone(server: RunningServer) -> None:
    tokens = tokens_of(server, "One, two, three,")
    prompts: list[str | list[int]] = [ONCE, tokens, FOX, LONG]
    together = complete(server, *prompts, n=2)
    alone = [complete(server, prompt, n=2) for prompt in prompts]
    assert [choice.index for choice in together.choices] == list(range(8))
    assert [choice.text for choice in together.choices] == [
        choice.text for answer in alone for choice in answer.choices
    ]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert getattr(together.usage, name) == sum(getattr(answer.usage, name) for answer in alone)


def test_seeds_are_a_prompt_s_own(server: RunningServer) -> None:
    hot = {"temperature": 2.0, "top_k": 0, "top_p": 1.0, "max_tokens": 6, "logprobs": 0}

    def beginnings(*prompts: str, **fields: Any) -> list[list[bytes]]:
        """Without the ends: who ends a step later than others is computed where their cells were."""
        choices = complete(server, *prompts, **hot, **fields).choices
        return [[token.bytes for token in choice.logprobs.tokens[:3]] for choice in choices]

    seeded = beginnings(ONCE, ONCE, n=2, seed=3)
    assert seeded[:2] == seeded[2:]
    assert seeded[0] != seeded[1]
    assert seeded[:1] == beginnings(ONCE, seed=3)
    assert seeded[1:2] != beginnings(ONCE, seed=4), "a choice is no neighbouring seed's"
    unseeded = beginnings(*[ONCE] * 4)
    assert any(one != unseeded[0] for one in unseeded)


@pytest.mark.parametrize("fields", [{}, {"echo": True, "logprobs": 2}, {"n": 2, "stop": ["girl"]}])
def test_a_stream_says_what_the_whole_says(server: RunningServer, fields: dict[str, Any]) -> None:
    said = " girl who sang"
    asked = request(ONCE, "One, two,", response_format=one_text(said), **fields)
    whole = server.completions.CreateCompletion(asked)
    chunks = list(server.completions.StreamCompletion(asked))
    assert len({(chunk.id, chunk.created, chunk.model, chunk.system_fingerprint) for chunk in chunks}) == 1
    for choice in whole.choices:
        assert choice.text.endswith(said if "stop" not in fields else " ")
        parts = [part for chunk in chunks for part in chunk.choices if part.index == choice.index]
        assert "".join(part.text for part in parts) == choice.text
        assert [part.finish_reason for part in parts if part.finish_reason] == [choice.finish_reason]
        assert parts[-1].finish_reason
        streamed = [token for part in parts for token in part.logprobs.tokens]
        for one, other in zip(streamed, choice.logprobs.tokens, strict=True):
            assert (one.bytes, one.text_offset) == (other.bytes, other.text_offset)
            assert one.HasField("logprob") == other.HasField("logprob")
            assert one.logprob == pytest.approx(other.logprob, abs=CLOSE)
            assert len(one.top_logprobs) == len(other.top_logprobs)
    assert [chunk.HasField("usage") for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert chunks[-1].timings.first_token.ToNanoseconds() > 0


def test_stops_and_bias(server: RunningServer) -> None:
    said = text(server, ONCE)
    stop = said[3:6]
    assert text(server, ONCE, stop=[stop]) == said[: said.index(stop)]
    (token,) = tokens_of(server, " fox")
    assert text(server, ONCE, logit_bias={token: 100}, max_tokens=3) == " fox" * 3
    assert text(server, ONCE, logit_bias={token: 100}, stop_token_ids=[token]) == ""
    assert text(server, f"{ONCE} fox", stop=["fox"]), "the prompt's own text is not searched"


def test_the_best_of_several_are_the_likeliest(server: RunningServer) -> None:
    fields: dict[str, Any] = {"temperature": 1.5, "seed": 11, "logprobs": 0, "max_tokens": 6}
    all_of_them = complete(server, ONCE, n=4, **fields)
    best = complete(server, ONCE, n=2, best_of=4, **fields)

    def mean(choice: completion_pb2.CompletionChoice) -> float:
        values = [token.logprob for token in choice.logprobs.tokens]
        return sum(values) / len(values)

    expected = sorted(all_of_them.choices, key=mean, reverse=True)[:2]
    assert [choice.text for choice in best.choices] == [choice.text for choice in expected]
    assert [choice.index for choice in best.choices] == [0, 1]
    assert best.usage.completion_tokens == all_of_them.usage.completion_tokens


def test_a_gap_that_the_model_can_not_fill(server: RunningServer) -> None:
    for method in (server.completions.CreateCompletion, server.completions.StreamCompletion):
        error = failure_of(lambda method=method: list(method(request("def f(", suffix="return x"))))
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert reason_of(error) == "NO_INFILL"
        assert "suffix" in str(error.trailing_metadata()) or "gap" in error.details()


@pytest.mark.parametrize(
    ("prompts", "fields", "field"),
    [
        ([ONCE, "word " * 9000], {}, "prompt[1]"),
        ([ONCE, [1, 49152]], {}, "prompt[1].tokens[1]"),
        ([""], {"add_special": False}, "prompt[0]"),
        ([ONCE], {"max_tokens": 100_000}, "max_tokens"),
        ([ONCE], {"n": 1000}, "n"),
    ],
)
def test_what_is_wrong_is_named(
    server: RunningServer, prompts: list[Any], fields: dict[str, Any], field: str
) -> None:
    error = failure_of(lambda: complete(server, *prompts, **fields))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field.encode() in dict(error.trailing_metadata())["grpc-status-details-bin"]


def test_who_leaves_ends_all_prompts(server: RunningServer) -> None:
    prompts = [f"{ONCE} {number}" for number in range(12)]
    stream = server.completions.StreamCompletion(request(*prompts, max_tokens=4000, logit_bias=NO_END))
    next(stream)
    assert server.model().active_requests == 1
    stream.cancel()
    wait_until(lambda: server.model().active_requests == 0)
    assert text(server, ONCE), "the slots are free again"
