"""What other servers fail their users in, on the real model: the cases that no other file of tests has.

Each such failure has a number in tests/unit/test_peer_failures.py, which a test against it has in its docstring.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from callers import chat_body, events_of, post, wait_until
from servers import NO_END, RunningServer
from streams import Reader, over_http, over_sdk

from llamawire.v1 import tokenizer_pb2

STORY = "Write a story about a fox."
FOXES = "🦊🐺🦊"
CLOCK = {"type": "function", "function": {"name": "clock"}}


def tokens(server: RunningServer, text: str) -> list[int]:
    request = tokenizer_pb2.TokenizeRequest(model="smollm2", text=text, add_special=False)
    return list(server.tokenizer.Tokenize(request).tokens)


def endless(**fields: Any) -> dict[str, Any]:
    """A request whose answer is as long as it may be."""
    return chat_body(STORY, logit_bias={str(token): bias for token, bias in NO_END.items()}, **fields)


def stream_events(server: RunningServer, body: dict[str, Any]) -> list[dict[str, Any]]:
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    return events_of(post(server.http_address, asked))


def test_streams_go_on_beside_a_long_prompt(server: RunningServer) -> None:
    """Failure 5 of other servers: one long prompt stops every running stream."""
    others = Reader(over_http(server, endless(max_tokens=60)))
    wait_until(lambda: others.num_pieces >= 2)
    before = others.num_pieces
    # Hundreds of tokens, of which a step takes as many as leave the others their turns.
    answer = post(server.http_address, chat_body("word " * 500, max_tokens=1)).json()
    assert answer["usage"]["prompt_tokens"] > 500
    assert others.num_pieces >= before + 3, "it had a turn in each of the steps that the prompt took"
    assert others.answer().finish_reasons == {0: "length"}


def test_a_prompt_that_is_too_long_fails_alone(server: RunningServer) -> None:
    """Failure 3 of other servers: one request that overflows its context ends all of them."""
    running = over_http(server, endless(max_tokens=30))
    begun = [next(running)]
    for body in (chat_body("word " * 9000), chat_body("Hello!", max_tokens=8192)):
        refused = post(server.http_address, body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
    last = (begun + list(running))[-1]
    assert last.usage is not None
    assert last.usage[1] == 30


def test_a_second_request_leaves_a_running_stream_alone(server: RunningServer) -> None:
    """Failure 7 of other servers: a second request ends the stream of the first."""
    first = over_sdk(server, endless(max_tokens=30))
    begun = [next(first)]
    for stream in (False, True):
        assert post(server.http_address, chat_body("Hello!", max_tokens=2, stream=stream)).status_code == 200
    pieces = begun + list(first)
    assert pieces[-1].usage is not None
    assert pieces[-1].usage[1] == 30
    assert [piece.finish_reasons for piece in pieces if piece.finish_reasons] == [{0: "length"}]


@pytest.mark.parametrize("length", [3, 9, 20])
def test_what_may_become_a_stop_string_is_not_lost_at_the_limit(server: RunningServer, length: int) -> None:
    """Failure 9 of other servers: at max_tokens, what was held back for a stop string is lost, in streams only."""
    asked = endless(max_tokens=20)
    whole = post(server.http_address, asked).json()["choices"][0]["message"]["content"]
    # The end of the answer is the beginning of a stop string that does not come.
    asked["stop"] = [whole[-length:] + "\x00"]
    again = post(server.http_address, asked).json()["choices"][0]
    assert (again["message"]["content"], again["finish_reason"]) == (whole, "length")
    choices = [choice for event in stream_events(server, asked) for choice in event["choices"]]
    assert "".join(choice["delta"].get("content", "") for choice in choices) == whole
    assert choices[-1]["finish_reason"] == "length"


def test_characters_come_whole_and_usage_comes_last(server: RunningServer) -> None:
    """Failure 10 of other servers: characters split between chunks, and streams without usage."""
    assert len(tokens(server, FOXES)) > len(FOXES), "characters of several tokens"
    form = {"type": "grammar", "syntax": "regex", "grammar": FOXES}
    *events, last = stream_events(server, chat_body("Say it.", max_tokens=40, response_format=form))
    texts = [event["choices"][0]["delta"].get("content", "") for event in events]
    assert "".join(texts) == FOXES
    assert all("\ufffd" not in text for text in texts)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] >= len(tokens(server, FOXES))


def test_calls_of_one_answer_have_their_own_places(server: RunningServer) -> None:
    """Failure 10 of other servers: parallel tool calls that share index 0."""
    # Nothing is as likely to follow a call as what another one begins with.
    more = {tokens(server, text)[0] for text in ("}, {", ", {")}
    body = chat_body(
        "What time is it?",
        max_tokens=60,
        tools=[CLOCK],
        tool_choice="required",
        logit_bias={str(token): 100 for token in more},
    )
    deltas = [
        call
        for event in stream_events(server, body)
        for choice in event["choices"]
        for call in choice["delta"].get("tool_calls", ())
    ]
    opened = [call for call in deltas if "id" in call]
    assert len(opened) > 1
    assert [call["index"] for call in opened] == list(range(len(opened)))
    assert len({call["id"] for call in opened}) == len(opened)
    texts = [
        "".join(c["function"]["arguments"] for c in deltas if c["index"] == i) for i in range(len(opened))
    ]
    assert all(json.loads(text) == {} for text in texts[:-1])
