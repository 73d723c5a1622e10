"""Completions whose worker dies, and completions that share what was computed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from callers import wait_until
from raw_prompts import ONCE, complete, request, tokens_of
from servers import NO_END, RunningServer, launch, one_thread
from tiny_model import write_tiny_model

INFILL = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
SHARED = "Rain fell on the old town, and nobody was out but the cats. " * 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Iterator[RunningServer]:
    """A server whose worker may be killed, and which keeps what it computed."""
    folder = tmp_path_factory.mktemp("completions")
    environment = {"LLAMAWIRE_WORKER_FIRST_PAUSE_SECONDS": "0.05"}
    write_tiny_model(folder / "infill.gguf", markers=INFILL)
    models = ("--model", f"infill={folder / 'infill.gguf'}", "--preload", "smollm2")
    arguments = (*one_thread(folder, model_file), *models)
    with launch(folder / "server.log", folder, *arguments, environment=environment) as running:
        yield running
        assert running.stop() == 0


def test_a_prompt_takes_what_was_computed_before_but_not_where_it_is_scored(server: RunningServer) -> None:
    first = complete(server, SHARED, max_tokens=2)
    again = complete(server, SHARED, max_tokens=2)
    assert again.usage.prompt_cache_hit_tokens == first.usage.prompt_tokens - 1
    scored = complete(server, SHARED, max_tokens=2, echo=True, logprobs=0)
    assert scored.usage.prompt_cache_hit_tokens == 0
    assert len(scored.choices[0].logprobs.tokens) == first.usage.prompt_tokens + 2
    after = complete(server, SHARED, max_tokens=2)
    assert after.usage.prompt_cache_hit_tokens == first.usage.prompt_tokens - 1
    together = complete(server, *[f"{SHARED} {number}" for number in "abcd"], max_tokens=1)
    usage = together.usage
    assert usage.prompt_cache_hit_tokens >= 4 * (first.usage.prompt_tokens - 1)
    assert usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens == usage.prompt_tokens


def test_a_prompt_that_is_computed_alone_warms_the_cache(server: RunningServer) -> None:
    prompt = f"Snow fell instead. {SHARED}"
    warmed = complete(server, prompt, max_tokens=0)
    assert warmed.usage.completion_tokens == 0
    assert complete(server, prompt).usage.prompt_cache_hit_tokens == warmed.usage.prompt_tokens - 1


def test_streams_lose_nothing_when_the_worker_dies(server: RunningServer) -> None:
    """The tokens are forced, so that no tie decides what comes after."""
    words = {1: " fox", 2: " dog"}
    asked = [
        request(
            f"{ONCE} {number}",
            f"{ONCE} {number} and",
            max_tokens=30,
            echo=True,
            logprobs=1,
            logit_bias={**NO_END, **dict.fromkeys(tokens_of(server, word), 100.0)},
        )
        for number, word in words.items()
    ]
    expected = [server.completions.CreateCompletion(one) for one in asked]
    streams = [server.completions.StreamCompletion(one) for one in asked]
    chunks = [[next(stream), next(stream)] for stream in streams]
    (pid,) = server.worker_pids()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.worker_pids() not in ([], [pid]))
    for whole, stream, so_far in zip(expected, streams, chunks, strict=True):
        so_far += stream
        for choice in whole.choices:
            parts = [part for chunk in so_far for part in chunk.choices if part.index == choice.index]
            assert "".join(part.text for part in parts) == choice.text
            found = [token for part in parts for token in part.logprobs.tokens]
            assert [(token.bytes, token.text_offset) for token in found] == [
                (token.bytes, token.text_offset) for token in choice.logprobs.tokens
            ]
        assert so_far[-1].usage.prompt_tokens == whole.usage.prompt_tokens
        assert so_far[-1].usage.completion_tokens == whole.usage.completion_tokens == 60


def test_a_gap_is_filled_by_a_model_that_has_learned_it(server: RunningServer) -> None:
    """By one whose vocabulary says so: its weights know nothing."""
    before, after = (tokens_of(server, text, model="infill", add_special=False) for text in ("ab", "yz"))
    filled = complete(server, "ab", model="infill", suffix="yz", max_tokens=2)
    assert filled.usage.prompt_tokens == 1 + 3 + len(before) + len(after)
    assert filled.usage.completion_tokens
    bare = complete(server, before, model="infill", suffix="yz", max_tokens=2, add_special=False)
    assert bare.usage.prompt_tokens == 3 + len(before) + len(after)
    several = complete(server, "ab", "abc", model="infill", suffix="yz", max_tokens=1)
    assert len(several.choices) == 2


def test_what_a_vocabulary_adds_to_a_text_begins_where_the_text_does(server: RunningServer) -> None:
    """This one adds a token and a space, and has a token a byte."""
    (choice,) = complete(server, "é b", model="infill", echo=True, logprobs=1, max_tokens=0).choices
    tokens = choice.logprobs.tokens
    assert choice.text == "é b"
    assert tokens[0].token == "<s>"
    # The token, a space of three bytes, two bytes, another space, a byte.
    assert [token.text_offset for token in tokens] == [0, 0, 0, 0, 0, 0, 1, 1, 1, 2]
    (nothing,) = complete(server, "", model="infill", max_tokens=1).choices
    assert nothing.finish_reason
