"""Callers over HTTP that hang up: their sequences are freed, and nobody else notices."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from callers import RawCaller, chat_body, post, wait_until
from servers import RunningServer

from llamawire.v1 import tokenizer_pb2

LONG = chat_body("Write a very long story about a fox.", max_tokens=4000, stop=["\x00"])
LONG_PROMPT = chat_body("word " * 7000)


@pytest.fixture
def idle(server: RunningServer) -> Iterator[RunningServer]:
    """The server, without a request before the test and again after it."""
    wait_until(lambda: server.model().active_requests == 0)
    yield server
    wait_until(lambda: server.model().active_requests == 0)


@pytest.mark.parametrize("way", ["close", "reset"])
def test_in_the_middle_of_a_stream(idle: RunningServer, way: str) -> None:
    with RawCaller(idle.http_address, {**LONG, "stream": True}) as caller:
        caller.read_until(b'"content":" ')
        assert idle.model().active_requests == 1
        getattr(caller, way)()
        wait_until(lambda: idle.model().active_requests == 0)


@pytest.mark.parametrize("way", ["close", "reset"])
def test_while_a_whole_answer_is_generated(idle: RunningServer, way: str) -> None:
    with RawCaller(idle.http_address, LONG) as caller:
        wait_until(lambda: idle.model().active_requests == 1)
        # Company that came later and got a token: so the first prompt is done, and its answer under way.
        company = post(idle.http_address, chat_body("Say hi.", max_tokens=2))
        assert company.json()["usage"]["completion_tokens"] == 2
        assert idle.model().active_requests == 1
        getattr(caller, way)()
        wait_until(lambda: idle.model().active_requests == 0)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_before_the_prompt_is_done(idle: RunningServer, stream: bool) -> None:
    """Failure 4 of other servers: a caller hangs up, and the server goes on with its prompt."""
    with RawCaller(idle.http_address, {**LONG_PROMPT, "stream": stream}) as caller:
        wait_until(lambda: idle.model().active_requests == 1)
        caller.close()
        wait_until(lambda: idle.model().active_requests == 0)


def test_with_several_choices_under_way(idle: RunningServer) -> None:
    with RawCaller(idle.http_address, {**LONG, "n": 3, "stream": True}) as caller:
        caller.read_until(b'"index":2,"delta":{"content":" ')
    wait_until(lambda: idle.model().active_requests == 0)


def test_in_line_behind_others(idle: RunningServer) -> None:
    running = [RawCaller(idle.http_address, {**LONG, "stream": True}) for _ in range(8)]
    for caller in running:
        caller.read_until(b'"content":" ')
    with RawCaller(idle.http_address, LONG):
        wait_until(lambda: idle.model().active_requests == 9)
    wait_until(lambda: idle.model().active_requests == 8)
    for caller in running:
        caller.close()


def test_others_get_their_whole_answers(idle: RunningServer) -> None:
    text = tokenizer_pb2.TokenizeRequest(model="smollm2", text=" fox", add_special=False)
    (fox,) = idle.tokenizer.Tokenize(text).tokens
    # Nothing else can be said, so that who is in the same batch can't tip the scales between near equals.
    asked = chat_body("Say a word.", logit_bias={fox: 100})

    def call(number: int) -> Any:
        if number % 2:
            return post(idle.http_address, asked).json()["choices"][0]["message"]["content"]
        with RawCaller(idle.http_address, {**LONG, "stream": number % 4 == 0}) as caller:
            wait_until(lambda: idle.model().active_requests > 0)
            if number % 4 == 0:
                caller.read_until(b"assistant")
        return None

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(call, range(8)))
    assert [answer for answer in answers if answer is not None] == [" fox" * 16] * 4
