"""LangChain's model for OpenAI, as its users write it, against the real server."""

from __future__ import annotations

from typing import Any, Literal

import pydantic
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from servers import RunningServer

TEXT = "The fox is red."
QUESTION = "What is the weather like where the fox lives?"
# Leaves the model nothing else to say.
SAY_TEXT = {"type": "grammar", "syntax": "regex", "grammar": r"The fox is red\."}


class Animal(pydantic.BaseModel):
    """An animal."""

    kind: Literal["fox", "wolf"]
    legs: int = pydantic.Field(ge=4, le=4)


@tool
def weather(city: Literal["Rome", "Oslo"]) -> str:
    """The weather in a city."""
    return f"Sunny in {city}."


@pytest.fixture(autouse=True)
def nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's user has set: what tests ask is nobody else's business."""
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "false")


@pytest.fixture
def model(server: RunningServer) -> ChatOpenAI:
    return make_model(server)


@pytest.fixture
def teller(server: RunningServer) -> ChatOpenAI:
    """A model that can say one thing only."""
    return make_model(server, extra_body={"response_format": SAY_TEXT})


def make_model(server: RunningServer, **fields: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model="smollm2",
        base_url=server.base_url,
        api_key="none",  # type: ignore[arg-type]
        temperature=0,
        max_tokens=80,
        max_retries=0,
        stream_usage=True,
        **fields,
    )


def test_a_conversation(teller: ChatOpenAI) -> None:
    answer = teller.invoke(
        [
            SystemMessage("Answer in one sentence."),
            HumanMessage([{"type": "text", "text": "Hello!"}]),
            AIMessage("Hello."),
            HumanMessage("What colour is the fox?"),
        ]
    )
    assert answer.content == TEXT
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == "smollm2"


def test_a_stream(teller: ChatOpenAI) -> None:
    chunks = list(teller.stream(QUESTION))
    assert "".join(str(chunk.content) for chunk in chunks) == TEXT
    assert len([chunk for chunk in chunks if chunk.content]) > 1, "as it is generated"
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    assert whole.usage_metadata == teller.invoke(QUESTION).usage_metadata
    assert whole.response_metadata["finish_reason"] == "stop"


async def test_asynchronously(teller: ChatOpenAI) -> None:
    assert (await teller.ainvoke(QUESTION)).content == TEXT
    assert "".join([str(chunk.content) async for chunk in teller.astream(QUESTION)]) == TEXT
    answers = await teller.abatch([QUESTION, "Hello!", "Say something."])
    assert [answer.content for answer in answers] == [TEXT] * 3


def test_a_tool_is_called_and_its_answer_goes_back(model: ChatOpenAI) -> None:
    bound = model.bind_tools([weather], tool_choice="weather", parallel_tool_calls=False)
    asked = bound.invoke(QUESTION)
    (call,) = asked.tool_calls
    assert call["name"] == "weather"
    result = weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert str(result.content).startswith("Sunny in ")
    answer = model.invoke([HumanMessage(QUESTION), asked, result])
    assert answer.content
    streamed = None
    for chunk in bound.stream(QUESTION):
        streamed = chunk if streamed is None else streamed + chunk
    assert streamed is not None
    assert [(made["name"], made["args"]) for made in streamed.tool_calls] == [("weather", call["args"])]


def test_any_tool_must_be_called(model: ChatOpenAI) -> None:
    asked = model.bind_tools([weather], tool_choice="any").invoke(QUESTION)
    assert {call["name"] for call in asked.tool_calls} == {"weather"}
    assert asked.invalid_tool_calls == []


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(model: ChatOpenAI, method: Literal["json_schema", "function_calling"]) -> None:
    found = model.with_structured_output(Animal, method=method).invoke("Tell me of an animal.")
    assert isinstance(found, Animal)
    assert found.legs == 4


def test_log_probabilities(server: RunningServer) -> None:
    teller = make_model(server, extra_body={"response_format": SAY_TEXT}, logprobs=True, top_logprobs=1)
    tokens = teller.invoke(QUESTION).response_metadata["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == TEXT
