"""What was computed once is not computed again, and nobody's answer changes for it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from callers import post, wait_until
from processes import cpu_seconds
from servers import NO_END, RunningServer, launch

from llamawire.v1 import chat_pb2, usage_pb2

# Said once before and then asked for again: each token of the answer is likelier by far than any other one, so that
# how a prompt was computed makes no difference to it.
LINES = [
    "11, 12, 13, 14, 15, 16, 17, 18",
    "red, green, blue, red, green, blue",
]
ROLES = ("user", "assistant")

# What is kept of what was computed, and how much room there is for it. Each has a file of its own: names of one file
# share one loaded model.
MODELS = {
    "keeping": "parallel: 8",
    "forgetful": "parallel: 8, prompt_cache: false",
    "shelf": "parallel: 2, context_length: 320, kv_cache_tokens: 320, prompt_cache_tokens: 2000",
}


def file_of(folder: Path, name: str) -> Path:
    return folder / f"{name}.gguf"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def server(folder: Path, model_file: Path) -> Iterator[RunningServer]:
    entries = []
    for name, fields in MODELS.items():
        os.link(model_file, file_of(folder, name))
        entries.append(f"{name}: {{path: {file_of(folder, name)}, threads: 1, {fields}}}\n")
    catalog = folder / "models.yaml"
    catalog.write_text("".join(entries))
    with launch(folder / "server.log", folder, "--models-yaml", str(catalog)) as running:
        yield running
        assert running.stop() == 0
    errors = [line for line in (folder / "server.log").read_text().splitlines() if " ERROR " in line]
    assert errors == []


def conversation(turns: Sequence[str], system: str = "Repeat.") -> list[dict[str, str]]:
    messages = [{"role": ROLES[number % 2], "content": content} for number, content in enumerate(turns)]
    return [{"role": "system", "content": system}, *messages]


def turns_about(line: str) -> list[str]:
    return [line, line, line]


def request(
    model: str, messages: Sequence[Mapping[str, str]], **fields: object
) -> chat_pb2.ChatCompletionRequest:
    values: dict[str, object] = {"temperature": 0, "max_tokens": 40, **fields}
    return chat_pb2.ChatCompletionRequest(
        model=model,
        messages=[
            chat_pb2.Message(
                role=chat_pb2.Role.Value(f"ROLE_{message['role'].upper()}"), content=message["content"]
            )
            for message in messages
        ],
        **values,  # type: ignore[arg-type]
    )


def ask(
    server: RunningServer, model: str, turns: Sequence[str], system: str = "Repeat.", **fields: object
) -> chat_pb2.ChatCompletion:
    answer = server.chat.CreateChatCompletion(request(model, conversation(turns, system), **fields))
    check(answer.usage)
    return answer


def check(usage: usage_pb2.Usage) -> None:
    assert usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens == usage.prompt_tokens
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_cache_hit_tokens
    assert usage.prompt_cache_miss_tokens >= 1, "the last token says what comes next"


def text(answer: chat_pb2.ChatCompletion) -> str:
    (content,) = {choice.message.content for choice in answer.choices}
    return content


def test_each_turn_computes_what_is_new_and_says_what_it_would_have_said(server: RunningServer) -> None:
    turns = turns_about(LINES[0])
    num_before = 0
    for line in LINES:
        answer = ask(server, "keeping", turns)
        expected = ask(server, "forgetful", turns)
        assert text(answer) == text(expected) == turns[-1]
        assert expected.usage.prompt_cache_hit_tokens == 0
        assert answer.usage.prompt_cache_hit_tokens >= 0.95 * num_before
        num_before = answer.usage.total_tokens
        turns += [text(answer), line, line, line]
    assert num_before > 60


def test_http_counts_as_grpc_does(server: RunningServer) -> None:
    turns = turns_about("7, 8, 9, 10, 11, 12, 13")
    num_before = 0
    for _ in range(2):
        body = {"model": "keeping", "messages": conversation(turns), "temperature": 0, "max_tokens": 40}
        answer = post(server.http_address, body).json()
        usage = answer["usage"]
        hit = usage["prompt_cache_hit_tokens"]
        assert hit + usage["prompt_cache_miss_tokens"] == usage["prompt_tokens"]
        assert usage["prompt_tokens_details"]["cached_tokens"] == hit >= 0.95 * num_before
        num_before = usage["total_tokens"]
        turns += [answer["choices"][0]["message"]["content"], turns[0]]
    again = ask(server, "keeping", turns[:-2])
    assert again.usage.prompt_cache_hit_tokens == again.usage.prompt_tokens - 1


def test_the_same_question_at_once_is_computed_once(server: RunningServer) -> None:
    turns = turns_about("21, 22, 23, 24, 25, 26")
    alone = text(ask(server, "forgetful", turns))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: ask(server, "keeping", turns, n=n), (1, 2, 1, 2)))
    assert [text(answer) for answer in answers] == [alone] * 4 == [turns[0]] * 4
    hits = sorted(answer.usage.prompt_cache_hit_tokens for answer in answers)
    num_tokens = answers[0].usage.prompt_tokens
    assert hits[0] < num_tokens / 2, "nobody had asked it before"
    # Nobody waits for a handful of tokens that are just being computed.
    assert all(num_tokens - 16 < hit < num_tokens for hit in hits[1:])


def test_eight_callers_with_one_system_prompt_compute_it_once(server: RunningServer) -> None:
    """Failure 13 of other servers: a system prompt that all share is computed once for each slot."""
    system = "You know all about numbers, and you say what you are told to say. " * 16

    def say(number: int) -> usage_pb2.Usage:
        return ask(server, "keeping", [f"{number} is my number."], system, max_tokens=2).usage

    with ThreadPoolExecutor(8) as pool:
        usages = list(pool.map(say, range(8)))
    num_system_tokens = 16 * 14
    hits = sorted(usage.prompt_cache_hit_tokens for usage in usages)
    assert hits[0] < 16, "one computes it"
    assert hits[1] > num_system_tokens, "all the others wait for that"
    missed = sum(usage.prompt_cache_miss_tokens for usage in usages)
    assert missed < num_system_tokens + 8 * 30


def test_a_conversation_that_was_pushed_out_comes_back_from_the_shelf(server: RunningServer) -> None:
    turns = turns_about(LINES[0])
    system = "Repeat. " * 30
    first = ask(server, "shelf", turns, system)
    others = [ask(server, "shelf", [f"{number} " * 60], max_tokens=1) for number in range(3)]
    assert sum(other.usage.prompt_cache_miss_tokens for other in others) > 320, "they need all the room"
    turns += [text(first), LINES[0]]
    second = ask(server, "shelf", turns, system)
    assert second.usage.prompt_cache_hit_tokens >= 0.95 * first.usage.total_tokens
    assert text(first) == text(second) == LINES[0]


def test_what_was_computed_before_a_cancel_counts(server: RunningServer, folder: Path) -> None:
    ask(server, "keeping", ["Hello!"], max_tokens=1)
    worker = server.worker_of(file_of(folder, "keeping"))
    turns = ["".join(f"{number} and " for number in range(120))]
    fields = {"logit_bias": NO_END, "max_tokens": 1000}
    before = cpu_seconds(worker)
    stream = server.chat.StreamChatCompletion(request("keeping", conversation(turns), **fields))
    wait_until(lambda: cpu_seconds(worker) > before + 1)
    stream.cancel()
    answer = ask(server, "keeping", turns, max_tokens=1)
    assert answer.usage.prompt_tokens > 360
    assert answer.usage.prompt_cache_hit_tokens > 0
