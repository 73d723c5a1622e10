"""A prediction makes answers faster and changes nothing of them, whichever way it comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from callers import events_of, post
from servers import RunningServer, launch

from llamawire.v1 import chat_pb2, tokenizer_pb2

# Said once before and then asked for again: each token is likelier by far than any other one, so that it makes no
# difference how many of them are computed at once.
LINE = "11, 12, 13, 14, 15, 16, 17, 18, 19, 20"
TURNS = [("system", "Repeat."), ("user", LINE), ("assistant", LINE), ("user", LINE)]
MESSAGES = [{"role": role, "content": content} for role, content in TURNS]
BODY = {"model": "plain", "messages": MESSAGES, "temperature": 0, "max_tokens": 60}

WRONG = "Ein Satz, der mit der Antwort nichts zu tun hat."
LEAVING = "11, 12, 13, 14, 99, 98, 97, 15, 16, 17, 18, 19, 20"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Iterator[RunningServer]:
    """A server that guesses nothing by itself, so that what is guessed is the prediction."""
    folder = tmp_path_factory.mktemp("speculation")
    catalog = folder / "models.yaml"
    catalog.write_text(f"plain: {{path: {model_file}, threads: 1, prompt_lookup: false}}\n")
    with launch(folder / "server.log", folder, "--models-yaml", str(catalog)) as running:
        yield running
        assert running.stop() == 0


def count(server: RunningServer, text: str) -> int:
    request = tokenizer_pb2.TokenizeRequest(model="plain", text=text, add_special=False)
    return len(server.tokenizer.Tokenize(request).tokens)


def request(prediction: str = "", **fields: Any) -> chat_pb2.ChatCompletionRequest:
    messages = [
        chat_pb2.Message(role=chat_pb2.Role.Value(f"ROLE_{role.upper()}"), content=content)
        for role, content in TURNS
    ]
    values: dict[str, Any] = {"model": "plain", "temperature": 0, "max_tokens": 60, **fields}
    made = chat_pb2.ChatCompletionRequest(messages=messages, **values)
    if prediction:
        made.prediction.content = prediction
    return made


num_drafted: list[int] = []
"""Tokens that were guessed for each answer. How many pay is told by the time that steps take."""


def ask(server: RunningServer, prediction: str = "", **fields: Any) -> chat_pb2.ChatCompletion:
    answer = server.chat.CreateChatCompletion(request(prediction, **fields))
    usage, details = answer.usage, answer.usage.completion_tokens_details
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    num_predicted = count(server, prediction) * len(answer.choices) if prediction else 0
    assert details.accepted_prediction_tokens + details.rejected_prediction_tokens == num_predicted
    assert details.accepted_draft_tokens < usage.completion_tokens
    num_drafted.append(details.accepted_draft_tokens + details.rejected_draft_tokens)
    assert prediction or not details.accepted_draft_tokens + details.rejected_draft_tokens
    return answer


def texts(answer: chat_pb2.ChatCompletion) -> list[str]:
    return [choice.message.content for choice in answer.choices]


FIELDS = [
    pytest.param({}, id="greedy"),
    pytest.param({"temperature": 0.3, "seed": 11}, id="sampled"),
    pytest.param({"temperature": 0.3, "seed": 12, "n": 2}, id="two choices"),
    pytest.param({"max_tokens": 9}, id="a limit"),
    pytest.param({"stop": ["15,"]}, id="a stop string"),
]


@pytest.mark.parametrize("fields", FIELDS)
def test_no_prediction_changes_an_answer(server: RunningServer, fields: dict[str, Any]) -> None:
    expected = ask(server, **fields)
    assert all(texts(expected))
    for prediction in (LINE, WRONG, LEAVING):
        answer = ask(server, prediction, **fields)
        assert texts(answer) == texts(expected)
        assert [c.finish_reason for c in answer.choices] == [c.finish_reason for c in expected.choices]
        assert answer.usage.completion_tokens == expected.usage.completion_tokens


def test_what_came_true_of_a_prediction_is_told(server: RunningServer) -> None:
    answer = ask(server, LINE)
    assert texts(answer) == [LINE]
    details = answer.usage.completion_tokens_details
    assert details.accepted_prediction_tokens == count(server, LINE)
    assert ask(server, WRONG).usage.completion_tokens_details.accepted_prediction_tokens == 0
    leaving = ask(server, LEAVING).usage.completion_tokens_details
    assert 0 < leaving.accepted_prediction_tokens < count(server, LINE)


def test_a_stop_string_within_what_was_guessed_right_ends_the_answer(server: RunningServer) -> None:
    answer = ask(server, LINE, stop=["15,"])
    assert texts(answer) == ["11, 12, 13, 14, "]
    usage = answer.usage
    assert usage.completion_tokens_details.accepted_prediction_tokens == usage.completion_tokens
    assert usage.completion_tokens == count(server, "11, 12, 13, 14, 15,")


def test_a_stream_has_the_same_text_and_counts(server: RunningServer) -> None:
    whole = ask(server, LINE)
    *chunks, last = server.chat.StreamChatCompletion(request(LINE))
    text = "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)
    assert [text] == texts(whole)
    details = last.usage.completion_tokens_details
    assert details.accepted_prediction_tokens == count(server, LINE)
    assert details.rejected_prediction_tokens == 0


@pytest.mark.parametrize("content", [LINE, [{"type": "text", "text": LINE}]], ids=["text", "parts"])
def test_http_takes_a_prediction(server: RunningServer, content: object) -> None:
    body = {**BODY, "prediction": {"type": "content", "content": content}}
    answer = post(server.http_address, body).json()
    assert answer["choices"][0]["message"]["content"] == LINE
    details = answer["usage"]["completion_tokens_details"]
    assert details["accepted_prediction_tokens"] == count(server, LINE)
    assert details["rejected_prediction_tokens"] == 0
    options = {"stream": True, "stream_options": {"include_usage": True}}
    events = events_of(post(server.http_address, {**body, **options}))
    assert "".join(c["delta"].get("content") or "" for e in events for c in e["choices"]) == LINE
    streamed = events[-1]["usage"]["completion_tokens_details"]
    assert streamed["accepted_prediction_tokens"] == count(server, LINE)


def test_openais_sdk_takes_a_prediction(server: RunningServer) -> None:
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        create: Any = client.chat.completions.create
        plain = create(**BODY)
        predicted = create(**BODY, prediction={"type": "content", "content": LINE})
    assert plain.choices[0].message.content == predicted.choices[0].message.content == LINE
    details = predicted.usage.completion_tokens_details
    assert details.accepted_prediction_tokens == count(server, LINE)
    assert details.rejected_prediction_tokens == 0
    assert plain.usage.completion_tokens_details.accepted_prediction_tokens == 0


def test_predictions_were_tried(server: RunningServer) -> None:
    if not sum(num_drafted):
        ask(server, LINE)
    assert sum(num_drafted) > 0
