"""A worker that dies, or is killed because it hangs, costs nobody an answer, nor a word of one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from callers import chat_body, post, wait_until
from grpc_health.v1 import health_pb2
from servers import RunningServer, ask, endless, launch, reason_of
from streams import Answer, Log, Reader, over_grpc, over_http, over_sdk

from llamawire.v1 import chat_pb2, model_pb2, tokenizer_pb2

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LOADING = model_pb2.MODEL_STATE_LOADING
READY = model_pb2.MODEL_STATE_READY

# Said once before and then asked for again: each token of the answer is likelier by far than any other one, so that
# company, and a prompt that is computed at once instead of token by token, make no difference to it.
LINES = [
    "11, 12, 13, 14, 15, 16, 17, 18, 19, 20",
    "111, 112, 113, 114, 115, 116, 117, 118, 119, 120",
]

# Said over and over, so often and no more: a token that is lost or comes twice is told by their number.
WORDS = [" fox", " dog", " cat", " bird", " tree", " house"]
NUM_WORDS = 50

ROLES = {
    "system": chat_pb2.ROLE_SYSTEM,
    "user": chat_pb2.ROLE_USER,
    "assistant": chat_pb2.ROLE_ASSISTANT,
}


def line_body(line: str) -> dict[str, Any]:
    turns = [("system", "Repeat."), ("user", line), ("assistant", line), ("user", line)]
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"model": "smollm2", "messages": messages, "temperature": 0, "max_tokens": 60}


def as_request(body: dict[str, Any], **fields: object) -> chat_pb2.ChatCompletionRequest:
    messages = [
        chat_pb2.Message(role=ROLES[message["role"]], content=message["content"])
        for message in body["messages"]
    ]
    bias = {int(token): value for token, value in body.get("logit_bias", {}).items()}
    others = {name: value for name, value in body.items() if name not in ("messages", "logit_bias")}
    return chat_pb2.ChatCompletionRequest(messages=messages, logit_bias=bias, **others, **fields)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, model_file: Path, other_model_file: Path
) -> Iterator[RunningServer]:
    """A server with two models, whose workers may be killed as often as anybody likes."""
    folder = tmp_path_factory.mktemp("resumption")
    catalog = folder / "models.yaml"
    catalog.write_text(
        f"smollm2: {{path: {model_file}, threads: 1}}\nother: {{path: {other_model_file}, threads: 1}}\n"
    )
    environment = {"LLAMAWIRE_WORKER_HANG_SECONDS": "2", "LLAMAWIRE_WORKER_FIRST_PAUSE_SECONDS": "0.05"}
    arguments = ("--models-yaml", str(catalog), "--preload", "smollm2", "--preload", "other")
    with launch(folder / "server.log", folder, *arguments, environment=environment) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture(scope="module")
def bodies(server: RunningServer) -> list[dict[str, Any]]:
    """Eight requests whose answers are known."""
    return [line_body(line) for line in LINES] + [word_body(server, word) for word in WORDS]


def word_body(server: RunningServer, word: str) -> dict[str, Any]:
    (token,) = server.tokenizer.Tokenize(tokenizer_pb2.TokenizeRequest(model="smollm2", text=word)).tokens
    messages = [{"role": "system", "content": "Repeat."}, {"role": "user", "content": word.strip()}]
    return chat_body("", messages=messages, max_tokens=NUM_WORDS, logit_bias={str(token): 100})


@pytest.fixture(scope="module")
def undisturbed(server: RunningServer, bodies: list[dict[str, Any]]) -> list[Answer]:
    """What the eight are answered while nothing happens."""
    readers = [Reader(over_grpc(server, as_request(body))) for body in bodies]
    answers = [reader.answer() for reader in readers]
    assert [answer.texts[0] for answer in answers] == LINES + [word * NUM_WORDS for word in WORDS]
    reasons = ["stop"] * len(LINES) + ["length"] * len(WORDS)
    assert [answer.finish_reasons[0] for answer in answers] == reasons
    return answers


def wait_for_more(readers: Sequence[Reader]) -> None:
    """Until each stream that is not over has said something more."""
    wanted = {reader: reader.num_pieces + 3 for reader in readers}
    wait_until(lambda: all(reader.is_over or reader.num_pieces >= wanted[reader] for reader in readers))
    assert not all(reader.is_over for reader in readers), "there is nothing left to disturb"


def send_signal(server: RunningServer, model_file: Path, number: signal.Signals) -> None:
    os.kill(server.worker_of(model_file), number)


def test_streams_over_grpc_lose_nothing(
    server: RunningServer, model_file: Path, bodies: list[dict[str, Any]], undisturbed: list[Answer]
) -> None:
    health = server.health.Watch(health_pb2.HealthCheckRequest(service="model/smollm2"))
    models = server.models.WatchModels(model_pb2.WatchModelsRequest(names=["smollm2"]))
    with (
        Log(health, lambda response: response.status) as statuses,
        Log(models, lambda response: response.models[0]) as news,
    ):
        readers = [Reader(over_grpc(server, as_request(body))) for body in bodies]
        for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP):
            wait_for_more(readers)
            send_signal(server, model_file, number)
            wait_until(lambda: statuses.entries[-1] == NOT_SERVING)
            assert server.is_serving(), "a dead worker is not a dead service"
            wait_until(lambda: statuses.entries[-1] == SERVING)
        assert [reader.answer() for reader in readers] == undisturbed
        assert statuses.entries == [SERVING, *[NOT_SERVING, SERVING] * 3]
        wait_until(lambda: news.entries[-1].state == READY)
    (killed, stopped) = dict.fromkeys(model.failure for model in news.entries if model.state == LOADING)
    assert killed == "its worker was ended by SIGKILL"
    assert stopped == "its worker was stopped by a signal, and killed"
    details = [model.detail for model in news.entries if model.failure]
    assert f"{killed}; it is started again" in details
    assert any(detail.startswith(f"{stopped}; it is started again") for detail in details)
    assert (news.entries[-1].failure, news.entries[-1].detail) == ("", "")


def test_streams_over_http_lose_nothing(
    server: RunningServer, model_file: Path, bodies: list[dict[str, Any]], undisturbed: list[Answer]
) -> None:
    readers = [
        Reader((over_sdk if number % 2 else over_http)(server, body)) for number, body in enumerate(bodies)
    ]
    for _ in range(2):
        wait_for_more(readers)
        send_signal(server, model_file, signal.SIGKILL)
        wait_until(lambda: not server.is_serving("model/smollm2"))
    assert [reader.answer() for reader in readers] == undisturbed


def test_what_is_not_streamed_loses_nothing(
    server: RunningServer, model_file: Path, bodies: list[dict[str, Any]], undisturbed: list[Answer]
) -> None:
    """Whole answers, a stop text of which a part was said before, and several choices."""
    line, word = bodies[0], word_body(server, WORDS[0])
    stop = WORDS[0] * 40
    with ThreadPoolExecutor(1) as pool:
        # It tells how far the others are: a step is for all of them.
        beside = Reader(over_grpc(server, as_request(bodies[-1])))
        whole = server.chat.CreateChatCompletion.future(as_request(line))
        twice = server.chat.CreateChatCompletion.future(as_request(word, n=2))
        over_http = pool.submit(post, server.http_address, word)
        stopped = server.chat.CreateChatCompletion.future(as_request(word, stop=[stop]))
        for _ in range(2):
            wait_for_more([beside])
            send_signal(server, model_file, signal.SIGKILL)
            wait_until(lambda: not server.is_serving("model/smollm2"))
        counted = server.tokenizer.Tokenize(tokenizer_pb2.TokenizeRequest(model="smollm2", text="a b c"))
        assert beside.answer() == undisturbed[-1]
        for answer, expected in ((whole.result(), [LINES[0]]), (twice.result(), [WORDS[0] * NUM_WORDS] * 2)):
            assert [choice.message.content for choice in answer.choices] == expected
        assert {choice.finish_reason for choice in whole.result().choices} == {chat_pb2.FINISH_REASON_STOP}
        usage = whole.result().usage
        assert (usage.prompt_tokens, usage.completion_tokens) == undisturbed[0].usage
        assert twice.result().usage.completion_tokens == 2 * NUM_WORDS
        response = over_http.result()
        assert response.status_code == 200
        assert response.json()["choices"][0]["message"]["content"] == WORDS[0] * NUM_WORDS
        (choice,) = stopped.result().choices
        assert (choice.message.content, choice.finish_reason) == ("", chat_pb2.FINISH_REASON_STOP)
        assert stopped.result().usage.completion_tokens == 40
    assert len(counted.tokens) > 0


def test_log_probabilities_of_text_that_was_held_back_are_not_lost(
    server: RunningServer, model_file: Path, bodies: list[dict[str, Any]]
) -> None:
    """All of the answer might still become the stop text."""
    request = as_request(
        word_body(server, WORDS[0]), stop=[WORDS[0] * (NUM_WORDS + 10)], logprobs=True, top_logprobs=1
    )
    beside = Reader(over_grpc(server, as_request(bodies[-1])))
    answer = server.chat.CreateChatCompletion.future(request)
    wait_for_more([beside])
    send_signal(server, model_file, signal.SIGKILL)
    (choice,) = answer.result().choices
    assert choice.message.content == WORDS[0] * NUM_WORDS
    assert [token.token for token in choice.logprobs.content] == [WORDS[0]] * NUM_WORDS
    assert all(len(token.top_logprobs) == 1 for token in choice.logprobs.content)
    beside.answer()


def test_random_numbers_go_on_where_they_were(server: RunningServer, model_file: Path) -> None:
    """Few draws are so close that the last bits of the logits decide them."""
    digits = server.tokenizer.Tokenize(tokenizer_pb2.TokenizeRequest(model="smollm2", text="0123456789"))
    bias = dict.fromkeys(digits.tokens, 100.0)
    request = ask("Go on.", temperature=2.0, top_k=0, seed=7, n=2, max_tokens=80, logit_bias=bias)
    undisturbed = Reader(over_grpc(server, request)).answer()
    reader = Reader(over_grpc(server, request))
    wait_for_more([reader])
    send_signal(server, model_file, signal.SIGKILL)
    answer = reader.answer()
    assert answer.finish_reasons == undisturbed.finish_reasons == {0: "length", 1: "length"}
    assert answer.usage == undisturbed.usage
    assert same(undisturbed.texts[0], undisturbed.texts[1]) < 0.4, "seeds make a difference"
    for index in (0, 1):
        assert same(answer.texts[index], undisturbed.texts[index]) > 0.8


def same(text: str, other: str) -> float:
    """The share of places where both texts have the same digit."""
    assert len(text) == len(other)
    return sum(map(str.__eq__, text, other)) / len(text)


def test_another_model_s_streams_notice_nothing(
    server: RunningServer, model_file: Path, other_model_file: Path
) -> None:
    other_worker = server.worker_of(other_model_file)
    first, other = (
        Reader(over_grpc(server, endless(model=model, max_tokens=200))) for model in ("smollm2", "other")
    )
    wait_for_more([first, other])
    known = server.worker_pids()
    send_signal(server, model_file, signal.SIGKILL)
    wait_until(lambda: set(server.worker_pids()) - set(known))
    (started,) = set(server.worker_pids()) - set(known)
    os.kill(started, signal.SIGSTOP)  # so that it takes its time
    wait_for_more([other])
    assert server.state("smollm2") == LOADING
    assert server.state("other") == READY
    with pytest.raises(grpc.RpcError) as caught:
        server.chat.CreateChatCompletion(ask("Hello!", wait_for_model=False))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(caught.value) == "MODEL_LOADING"
    assert "its worker was ended by SIGKILL" in caught.value.details()
    os.kill(started, signal.SIGCONT)
    assert server.chat.CreateChatCompletion(ask("Hello!")).usage.completion_tokens > 0
    for reader in (first, other):
        assert (reader.answer().finish_reasons, reader.answer().usage[1]) == ({0: "length"}, 200)
    assert server.worker_of(other_model_file) == other_worker


def test_usage_on_the_way_goes_on_where_it_was(
    server: RunningServer, model_file: Path, bodies: list[dict[str, Any]], undisturbed: list[Answer]
) -> None:
    """Another worker finds nothing of the prompt in its cache, and computes what was said before as part of it."""
    server.chat.CreateChatCompletion(as_request({**bodies[0], "max_tokens": 1}))
    chunks = []
    for chunk in server.chat.StreamChatCompletion(as_request(bodies[0], continuous_usage=True)):
        chunks.append(chunk)
        if len(chunks) in (5, 15):
            send_signal(server, model_file, signal.SIGKILL)
            wait_until(lambda: not server.is_serving("model/smollm2"))
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == LINES[0]
    told = [chunk.usage.completion_tokens for chunk in chunks]
    assert told == sorted(told)
    ((num_prompt_tokens, num_found),) = {
        (chunk.usage.prompt_tokens, chunk.usage.prompt_cache_hit_tokens) for chunk in chunks
    }
    assert num_found > 0, "in the first one there was something"
    assert (num_prompt_tokens, told[-1]) == undisturbed[0].usage
