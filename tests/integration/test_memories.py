"""However a model remembers, it answers as it does alone, whatever is shared and kept of its sequences."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from callers import wait_until
from servers import NO_END, RunningServer, frozen, launch
from tiny_memories import write_hybrid, write_recurrent, write_windowed

from llamawire.v1 import chat_pb2, tokenizer_pb2

QUESTIONS = [
    "Write a story about a fox.",
    "What is the capital of France? " * 12,
    "Explain how a bicycle stays upright.",
    "List five fruits and their colours. " * 3,
    "Why is the sky blue?",
]
NUM_TOKENS = 24
ROLES = (chat_pb2.ROLE_USER, chat_pb2.ROLE_ASSISTANT)


@pytest.fixture(scope="module", params=[write_recurrent, write_hybrid, write_windowed])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model_file: Path
) -> Iterator[RunningServer]:
    """A server with such a model, once with what it computed kept and once without."""
    folder = tmp_path_factory.mktemp("memory")
    request.param(folder / "keeping.gguf", model_file)
    os.link(folder / "keeping.gguf", folder / "forgetful.gguf")
    catalog = folder / "models.yaml"
    catalog.write_text(
        f"keeping: {{path: {folder}/keeping.gguf, threads: 1, parallel: 4}}\n"
        f"forgetful: {{path: {folder}/forgetful.gguf, threads: 1, parallel: 4, prompt_cache: false}}\n"
    )
    arguments = ("--models-yaml", str(catalog), "--preload", "keeping", "--preload", "forgetful")
    with launch(folder / "server.log", folder, *arguments) as running:
        yield running
        assert running.stop() == 0
    errors = [line for line in (folder / "server.log").read_text().splitlines() if " ERROR " in line]
    assert errors == []


def request(turns: Sequence[str], model: str, **fields: object) -> chat_pb2.ChatCompletionRequest:
    messages = [
        chat_pb2.Message(role=ROLES[number % 2], content=content) for number, content in enumerate(turns)
    ]
    values: dict[str, object] = {
        "temperature": 0,
        "max_tokens": NUM_TOKENS,
        "logit_bias": NO_END,
        **fields,
    }
    return chat_pb2.ChatCompletionRequest(model=model, messages=messages, **values)  # type: ignore[arg-type]


def ask(
    server: RunningServer, *turns: str, model: str = "keeping", **fields: object
) -> chat_pb2.ChatCompletion:
    return server.chat.CreateChatCompletion(request(turns, model, **fields))


def ask_at_once(
    server: RunningServer, questions: Sequence[str], model: str, **fields: object
) -> list[chat_pb2.ChatCompletion]:
    """All questions are there before the first is looked at: what is asked later may find that one computed, which a
    memory that can't be cut does not share."""
    with ThreadPoolExecutor(len(questions)) as pool, contextlib.ExitStack() as standstill:
        for pid in server.worker_pids():
            standstill.enter_context(frozen(pid))
        calls = [pool.submit(ask, server, question, model=model, **fields) for question in questions]
        wait_until(lambda: server.model(model).active_requests == len(questions))
        standstill.close()
        return [call.result() for call in calls]


def tokenize(server: RunningServer, text: str) -> list[int]:
    request = tokenizer_pb2.TokenizeRequest(model="keeping", text=text, add_special=False)
    return list(server.tokenizer.Tokenize(request).tokens)


def texts(answer: chat_pb2.ChatCompletion) -> list[str]:
    return [choice.message.content for choice in answer.choices]


@pytest.fixture(scope="module")
def answers(server: RunningServer) -> list[str]:
    """What each question is answered alone, with nothing kept of any other."""
    alone = [texts(ask(server, question, model="forgetful"))[0] for question in QUESTIONS]
    assert all(alone)
    assert len(set(alone)) == len(alone), "the answer depends on the question"
    return alone


def test_company_and_what_is_kept_change_nothing(server: RunningServer, answers: list[str]) -> None:
    """Failure 2 of other servers: a request gets another's text after a cache or a slot was used again."""
    for model in ("keeping", "forgetful"):
        together = ask_at_once(server, QUESTIONS * 2, model)
        assert [texts(answer)[0] for answer in together] == answers * 2
        hits = sum(answer.usage.prompt_cache_hit_tokens for answer in together)
        assert (hits > 0) == (model == "keeping"), "the same questions at once are computed once"
    again = [ask(server, question) for question in QUESTIONS]
    assert [texts(answer)[0] for answer in again] == answers


def test_a_second_turn_goes_on_from_the_first(server: RunningServer) -> None:
    turns = ["Tell me something that nobody asked before."]
    # Words, as models of random numbers say much that is not read as the tokens that it was said in.
    words = [tokenize(server, word) for word in (" fox", " dog", " bird", " sky")]
    likely = NO_END | {token: 100.0 for (token,) in words}
    for number in range(3):
        answer = ask(server, *turns, logit_bias=likely)
        expected = ask(server, *turns, model="forgetful", logit_bias=likely)
        assert texts(answer) == texts(expected)
        assert expected.usage.prompt_cache_hit_tokens == 0
        if number:
            assert answer.usage.prompt_cache_hit_tokens > 0
        turns += [texts(answer)[0], f"And what else, for the {number}th time?"]


def test_choices_share_their_prompt(server: RunningServer, answers: list[str]) -> None:
    question = QUESTIONS[1]
    assert texts(ask(server, question, n=3)) == [answers[1]] * 3
    drawn = [
        ask(server, question, model=model, n=3, temperature=1.0, seed=5) for model in ("keeping", "forgetful")
    ]
    assert texts(drawn[0]) == texts(drawn[1])
    assert len(set(texts(drawn[0]))) == 3


def test_a_cancel_leaves_nothing_behind(server: RunningServer, answers: list[str]) -> None:
    for place in (0, 3):
        for question in (QUESTIONS[1], QUESTIONS[1] + "Well?"):
            stream = server.chat.StreamChatCompletion(request([question], "keeping", max_tokens=1000))
            for _ in range(place):
                next(stream)
            stream.cancel()
        assert texts(ask(server, QUESTIONS[1])) == [answers[1]]
    assert [texts(ask(server, question))[0] for question in QUESTIONS] == answers


def test_a_prompt_of_several_batches_is_shared_where_others_part_from_it(server: RunningServer) -> None:
    beginning = "Here is a long text that all of them have in common. " * 60
    questions = [beginning + question for question in QUESTIONS[:4]]
    together = ask_at_once(server, questions, "keeping", max_tokens=8)
    alone = [ask(server, question, model="forgetful", max_tokens=8) for question in questions]
    assert [texts(answer) for answer in together] == [texts(answer) for answer in alone]
    assert all(answer.usage.prompt_tokens > 512 for answer in together)
    missed = sum(answer.usage.prompt_cache_miss_tokens for answer in together)
    assert missed < 2 * together[0].usage.prompt_tokens
