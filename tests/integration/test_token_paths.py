"""Text, tokens and prompts of the real model, over gRPC and by llama-server's paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from callers import http_client
from servers import RunningServer, ask, failure_of, reason_of

from llamawire import Client, system, user
from llamawire.v1 import chat_pb2, tokenizer_pb2

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüße 🦊"}]
PROMPT = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nGrüße 🦊<|im_end|>\n<|im_start|>assistant\n"
)


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with http_client(server.http_address) as client:
        yield client


def post(http: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    response = http.post(path, json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_a_prompt_as_text_and_as_tokens(server: RunningServer) -> None:
    with Client(server.grpc_address, retries=0) as client:
        conversation: dict[str, Any] = {
            "model": "smollm2",
            "messages": [system("Be brief."), user("Grüße 🦊")],
        }
        shown = client.tokenizer.apply_chat_template(**conversation)
        counted = client.tokenizer.count_chat_tokens(**conversation)
        text = client.tokenizer.detokenize("smollm2", shown.tokens, unparse_special=True)
        usage = client.chat.create(**conversation, max_tokens=1).usage
    assert shown.prompt == text == PROMPT
    assert len(shown.tokens) == counted.prompt_tokens == usage.prompt_tokens


def test_a_conversation_that_makes_no_sense(server: RunningServer) -> None:
    tool = chat_pb2.Message(role=chat_pb2.ROLE_TOOL, content="7", tool_call_id="nobody's")
    request = ask("Hi")
    request.messages.append(tool)
    wrong = tokenizer_pb2.ApplyChatTemplateRequest(request=request)
    assert reason_of(failure_of(lambda: server.tokenizer.ApplyChatTemplate(wrong))) == "INVALID_FIELD"


def test_there_and_back_over_http(http: httpx.Client) -> None:
    prompt = post(http, "/apply-template", model="smollm2", messages=MESSAGES)["prompt"]
    assert prompt == PROMPT
    closed = post(http, "/apply-template", model="smollm2", messages=MESSAGES, add_generation_prompt=False)[
        "prompt"
    ]
    assert closed + "<|im_start|>assistant\n" == prompt
    tokens = post(http, "/tokenize", model="smollm2", content=prompt)["tokens"]
    assert post(http, "/detokenize", model="smollm2", tokens=tokens) == {"content": prompt}
    pieces = post(http, "/tokenize", model="smollm2", content=prompt, with_pieces=True)["tokens"]
    assert [token["id"] for token in pieces] == tokens
    octets = [
        piece.encode() if isinstance(piece, str) else bytes(piece)
        for piece in (token["piece"] for token in pieces)
    ]
    assert b"".join(octets).decode() == prompt
    assert any(isinstance(token["piece"], list) for token in pieces), "the fox is several tokens"


def test_texts_and_tokens_that_follow_each_other(server: RunningServer, http: httpx.Client) -> None:
    """Each text by itself, and each token with the bytes that it stands for."""
    grey, fox = ("Gr", " 🦊<|im_end|>")
    first, last = (post(http, "/tokenize", model="smollm2", content=text)["tokens"] for text in (grey, fox))
    mixed = {"model": "smollm2", "content": [grey, *first[-1:], last[0], fox]}
    expected = [*first, *first[-1:], last[0], *last]
    assert post(http, "/tokenize", **mixed)["tokens"] == expected
    pieces = post(http, "/tokenize", **mixed, with_pieces=True)["tokens"]
    assert [token["id"] for token in pieces] == expected
    named = {}
    for text in (grey, fox):
        whole = post(http, "/tokenize", model="smollm2", content=text, with_pieces=True)["tokens"]
        named |= {token["id"]: token["piece"] for token in whole}
    assert [token["piece"] for token in pieces] == [named[token] for token in expected]
    with Client(server.grpc_address, retries=0) as client:
        parts = [grey, [*first[-1:], last[0]], fox]
        assert client.tokenizer.tokenize("smollm2", parts, parse_special=True).tokens == expected
    refused = http.post("/tokenize", json={"model": "smollm2", "content": ["a", 1, 10**9]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "content[2]")


def test_names_of_control_tokens_may_be_text(http: httpx.Client) -> None:
    as_tokens = post(http, "/tokenize", model="smollm2", content="<|im_end|>")["tokens"]
    as_text = post(http, "/tokenize", model="smollm2", content="<|im_end|>", parse_special=False)["tokens"]
    assert len(as_tokens) == 1
    assert len(as_text) > 1


def test_the_one_model_that_is_loaded_needs_no_name(http: httpx.Client) -> None:
    named = post(http, "/tokenize", model="smollm2", content="Hello")
    loaded = [model for model in http.get("/v1/models").json()["data"] if model["id"] == "smollm2"]
    assert loaded
    assert post(http, "/tokenize", content="Hello") == named


def test_an_unknown_token(http: httpx.Client) -> None:
    response = http.post("/detokenize", json={"model": "smollm2", "tokens": [1, 10**9]})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "tokens[1]"
