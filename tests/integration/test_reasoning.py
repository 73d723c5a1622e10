"""Reasoning on a model that does not: its template begins it, and a budget ends it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from servers import RunningServer, ask, launch, one_thread

from llamawire import Client, StreamHandler, function, json_schema
from llamawire.v1 import chat_pb2

TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
BEGUN = TURNS + "<|im_start|>assistant\n{% if enable_thinking is not false %}<think>\n{% endif %}"
QUESTION = "Is a fox an animal?"
YES_OR_NO = chat_pb2.ResponseFormat(
    grammar=chat_pb2.GrammarFormat(syntax=chat_pb2.GrammarFormat.SYNTAX_REGEX, grammar="yes|no")
)


@pytest.fixture(scope="module")
def reasoner(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Iterator[RunningServer]:
    """A server whose model is made to reason."""
    folder = tmp_path_factory.mktemp("reasoner")
    template = f"chat_template: {json.dumps(BEGUN)}"
    arguments = one_thread(folder, model_file, "reasoning_format: think", template)
    with launch(folder / "server.log", folder, *arguments, "--preload", "smollm2") as running:
        yield running
        assert running.stop() == 0


def test_a_budget_ends_the_reasoning_and_the_answer_begins(reasoner: RunningServer) -> None:
    asked = ask(QUESTION, max_tokens=60, reasoning_budget=12, response_format=YES_OR_NO)
    answer = reasoner.chat.CreateChatCompletion(asked)
    (choice,) = answer.choices
    assert choice.message.content in ("yes", "no")
    assert choice.message.reasoning_content
    assert "think>" not in choice.message.reasoning_content
    assert choice.finish_reason == chat_pb2.FINISH_REASON_STOP
    num_reasoning = answer.usage.completion_tokens_details.reasoning_tokens
    assert 12 <= num_reasoning < answer.usage.completion_tokens


@pytest.mark.parametrize("budget", [0, 1, 5])
def test_each_budget_is_kept_however_much_is_guessed(reasoner: RunningServer, budget: int) -> None:
    texts = set()
    for prediction in ("", "A fox is an animal. A fox is an animal."):
        asked = ask(QUESTION, max_tokens=30, reasoning_budget=budget, prediction={"content": prediction})
        answer = reasoner.chat.CreateChatCompletion(asked)
        message = answer.choices[0].message
        texts.add((message.reasoning_content, message.content))
    assert len(texts) == 1
    if budget == 0:
        assert texts.pop()[0].strip() == ""


def test_no_effort_is_no_reasoning(reasoner: RunningServer) -> None:
    asked = ask(QUESTION, max_tokens=20, reasoning_effort=chat_pb2.REASONING_EFFORT_NONE)
    answer = reasoner.chat.CreateChatCompletion(asked)
    assert not answer.choices[0].message.reasoning_content
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


def test_without_an_end_all_is_reasoning(reasoner: RunningServer) -> None:
    answer = reasoner.chat.CreateChatCompletion(ask(QUESTION, max_tokens=8))
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("", chat_pb2.FINISH_REASON_LENGTH)
    assert choice.message.reasoning_content
    assert answer.usage.completion_tokens_details.reasoning_tokens == 8


def test_a_stop_string_is_none_in_the_reasoning(reasoner: RunningServer) -> None:
    free = reasoner.chat.CreateChatCompletion(ask(QUESTION, max_tokens=20, reasoning_budget=10))
    word = free.choices[0].message.reasoning_content.split()[1]
    asked = ask(QUESTION, max_tokens=20, reasoning_budget=10, stop=[word])
    assert (
        reasoner.chat.CreateChatCompletion(asked).choices[0].message.reasoning_content
        == free.choices[0].message.reasoning_content
    )


def test_a_stream_says_the_same(reasoner: RunningServer) -> None:
    asked: dict[str, Any] = {
        "model": "smollm2",
        "messages": [("user", QUESTION)],
        "temperature": 0,
        "max_tokens": 40,
        "reasoning_budget": 9,
        "response_format": json_schema(
            {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
        ),
    }

    class Told(StreamHandler):
        def __init__(self) -> None:
            self.reasoning = self.text = ""

        def on_reasoning(self, text: str, choice_index: int) -> None:
            assert not self.text, "it comes before the answer"
            self.reasoning += text

        def on_token(self, text: str, choice_index: int) -> None:
            self.text += text

    with Client(reasoner.grpc_address, retries=0) as client:
        whole = client.chat.create(**asked)
        told = Told()
        client.chat.stream(**asked).run(told)
    assert (told.text, told.reasoning) == (whole.text, whole.reasoning)
    assert set(whole.parse()) == {"a"}


def test_a_call_comes_after_the_reasoning(reasoner: RunningServer) -> None:
    tools = [
        function(
            "weather",
            parameters={"type": "object", "properties": {"city": {"enum": ["Rome"]}}, "required": ["city"]},
        )
    ]
    asked = ask(
        "What is the weather in Rome?",
        max_tokens=80,
        tools=tools,
        tool_choice={"function_name": "weather"},
        parallel_tool_calls=False,
        reasoning_budget=6,
    )
    (choice,) = reasoner.chat.CreateChatCompletion(asked).choices
    assert choice.message.reasoning_content
    (made,) = choice.message.tool_calls
    assert json.loads(made.function.arguments) == {"city": "Rome"}
    assert choice.finish_reason == chat_pb2.FINISH_REASON_TOOL_CALLS


def test_over_http_too(reasoner: RunningServer) -> None:
    asked: dict[str, Any] = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_tokens": 30,
        "extra_body": {"reasoning_budget": 8},
    }
    with openai.OpenAI(base_url=reasoner.base_url, api_key="none", max_retries=0) as sdk:
        whole = sdk.chat.completions.create(**asked)
        chunks = list(sdk.chat.completions.create(**asked, stream=True))
        none = sdk.chat.completions.create(**{**asked, "extra_body": {}}, reasoning_effort="none").choices[0]
    message = whole.choices[0].message
    assert message.model_extra is not None
    reasoning = "".join(
        (choice.delta.model_extra or {}).get("reasoning_content", "")
        for chunk in chunks
        for choice in chunk.choices
    )
    assert reasoning == message.model_extra["reasoning_content"] != ""
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == message.content
    assert whole.usage is not None
    assert whole.usage.completion_tokens_details is not None
    assert whole.usage.completion_tokens_details.reasoning_tokens
    assert none.message.content
    assert "reasoning_content" not in (none.message.model_extra or {})


def test_log_probabilities_are_the_answer_s(reasoner: RunningServer) -> None:
    asked = ask(QUESTION, max_tokens=30, reasoning_budget=6, logprobs=True, response_format=YES_OR_NO)
    (choice,) = reasoner.chat.CreateChatCompletion(asked).choices
    assert b"".join(found.bytes for found in choice.logprobs.content).decode() == choice.message.content


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # the SDK's own, for forms that it does not know
def test_as_a_response(reasoner: RunningServer) -> None:
    form: Any = {"format": {"type": "grammar", "syntax": "regex", "grammar": "yes|no"}}
    asked: dict[str, Any] = {"model": "smollm2", "temperature": 0, "text": form}
    with openai.OpenAI(base_url=reasoner.base_url, api_key="none", max_retries=0) as sdk:
        budget = {"extra_body": {"reasoning_budget": 8}}
        with sdk.responses.stream(**asked, **budget, input=QUESTION) as stream:
            deltas = [event.delta for event in stream if event.type == "response.reasoning_text.delta"]
            response = stream.get_final_response()
        thought, said = response.output
        assert thought.type == "reasoning"
        assert thought.content is not None
        assert thought.content[0].text == "".join(deltas) != ""
        assert said.type == "message"
        assert response.output_text in ("yes", "no")
        assert response.usage is not None
        assert response.usage.output_tokens_details.reasoning_tokens
        history: Any = [
            {"role": "user", "content": QUESTION},
            *response.output,
            {"role": "user", "content": "Why?"},
        ]
        none = sdk.responses.create(**asked, input=history, reasoning={"effort": "none"})
    assert [item.type for item in none.output] == ["message"]


def test_as_a_message(reasoner: RunningServer) -> None:
    asked: dict[str, Any] = {
        "model": "smollm2",
        "max_tokens": 40,
        "extra_body": {"temperature": 0},
        "messages": [{"role": "user", "content": QUESTION}],
        "output_config": {"format": {"type": "json_schema", "schema": {"enum": ["yes", "no"]}}},
    }
    budget: Any = {"type": "enabled", "budget_tokens": 8}
    url = f"http://{reasoner.http_address}"
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as sdk:
        whole = sdk.messages.create(**asked, thinking=budget)
        with sdk.messages.stream(**asked, thinking=budget) as stream:
            streamed = stream.get_final_message()
        off = sdk.messages.create(**asked, thinking={"type": "disabled"})
    assert [block.type for block in whole.content] == ["thinking", "text"]
    thought = whole.content[0]
    assert thought.type == "thinking"
    assert thought.thinking
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in whole.content]
    assert [block.type for block in off.content] == ["text"]
