"""Anthropic's requests as chat requests, and bad fields called by what the caller called them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from anthropic.types import MessageCountTokensParams, message_create_params
from anthropic.types.beta import MessageCountTokensParams as BetaMessageCountTokensParams
from anthropic.types.beta import message_create_params as beta_message_create_params

from llamawire.v1 import chat_pb2
from llamawire_server.errors import Condition, ServiceError
from llamawire_server.shim.http.body import validate
from llamawire_server.shim.messages.field_names import renaming
from llamawire_server.shim.messages.request_schema import CountRequest, MessageRequest
from llamawire_server.shim.messages.translate import to_chat_request

USER, ASSISTANT, TOOL, SYSTEM = (
    chat_pb2.ROLE_USER,
    chat_pb2.ROLE_ASSISTANT,
    chat_pb2.ROLE_TOOL,
    chat_pb2.ROLE_SYSTEM,
)
HI = {"role": "user", "content": "Hi"}
TOOL_F = {"name": "f", "input_schema": {"type": "object"}}


def asked(**fields: Any) -> MessageRequest:
    """A request with these fields, sent as JSON."""
    body = json.loads(json.dumps({"model": "m", "max_tokens": 9, "messages": [HI], **fields}))
    return validate(body, MessageRequest, allow_unknown_fields=False)


def translate(**fields: Any) -> chat_pb2.ChatCompletionRequest:
    return to_chat_request(asked(**fields))[0]


def message(role: chat_pb2.Role.ValueType, *texts: str, **fields: Any) -> chat_pb2.Message:
    parts = [chat_pb2.ContentPart(text=text) for text in texts]
    return chat_pb2.Message(role=role, content_parts=parts, **fields)


def call(id: str, arguments: str = "{}") -> chat_pb2.ToolCall:
    function = chat_pb2.FunctionCall(name="f", arguments=arguments)
    return chat_pb2.ToolCall(id=id, type="function", function=function)


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content, "cache_control": {"type": "ephemeral"}, "citations": None}


def use(id: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": "f", "input": arguments}


def result(id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, **fields}


def test_the_smallest_request() -> None:
    assert translate() == chat_pb2.ChatCompletionRequest(
        model="m", max_tokens=9, messages=[message(USER, "Hi")]
    )


def test_all_that_is_said_of_the_answer() -> None:
    request = translate(
        system="Be brief.",
        stop_sequences=["a", "b"],
        temperature=0.5,
        top_p=0.25,
        top_k=3,
        tools=[{**TOOL_F, "type": "custom", "description": "d", "strict": True}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        thinking={"type": "enabled", "budget_tokens": 64},
        output_config={
            "effort": "max",
            "format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}},
        },
        metadata={"user_id": "u"},
        service_tier="auto",
        cache_control={"type": "ephemeral"},
        seed=5,
        min_p=0.5,
        priority=1,
        chat_template_kwargs={"a": "b"},
    )
    expected = chat_pb2.ChatCompletionRequest(
        model="m",
        max_tokens=9,
        messages=[message(SYSTEM, "Be brief."), message(USER, "Hi")],
        stop=["a", "b"],
        temperature=0.5,
        top_p=0.25,
        top_k=3,
        tool_choice=chat_pb2.ToolChoice(mode=chat_pb2.ToolChoice.MODE_REQUIRED),
        parallel_tool_calls=False,
        reasoning_budget=64,
        reasoning_effort=chat_pb2.REASONING_EFFORT_HIGH,
        user="u",
        seed=5,
        min_p=0.5,
        priority=1,
    )
    expected.tools.add(
        function=chat_pb2.FunctionDefinition(
            name="f", description="d", parameters='{"type":"object"}', strict=True
        )
    )
    schema = '{"type":"object","properties":{}}'
    expected.response_format.json_schema.CopyFrom(chat_pb2.JsonSchemaFormat(name="answer", schema=schema))
    expected.chat_template_kwargs.update({"enable_thinking": True, "a": "b"})
    assert request == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, chat_pb2.ToolChoice(mode=chat_pb2.ToolChoice.MODE_AUTO)),
        ({"type": "none"}, chat_pb2.ToolChoice(mode=chat_pb2.ToolChoice.MODE_NONE)),
        ({"type": "tool", "name": "f"}, chat_pb2.ToolChoice(function_name="f")),
    ],
)
def test_choices_of_tools(choice: dict[str, Any], expected: chat_pb2.ToolChoice) -> None:
    request = translate(tools=[TOOL_F], tool_choice=choice)
    assert request.tool_choice == expected
    assert not request.HasField("parallel_tool_calls")


def test_thinking() -> None:
    assert not translate().HasField("chat_template_kwargs")
    off = translate(thinking={"type": "disabled"}, output_config={"effort": "high"})
    assert off.reasoning_effort == chat_pb2.REASONING_EFFORT_NONE
    adaptive = translate(thinking={"type": "adaptive", "display": "omitted"})
    assert adaptive.chat_template_kwargs["enable_thinking"]
    assert not adaptive.HasField("reasoning_budget")
    mine = translate(thinking={"type": "adaptive"}, chat_template_kwargs={"enable_thinking": False})
    assert not mine.chat_template_kwargs["enable_thinking"]


MESSAGES: list[tuple[list[dict[str, Any]], list[chat_pb2.Message]]] = [
    ([{"role": "user", "content": [text("a"), text("b")]}], [message(USER, "a", "b")]),
    # Turns of one speaker are one.
    ([HI, {"role": "user", "content": [text("a")]}], [message(USER, "Hi", "a")]),
    (
        [HI, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}, HI],
        [message(USER, "Hi"), message(ASSISTANT, "a", "b"), message(USER, "Hi")],
    ),
    ([{"role": "system", "content": "s"}, HI], [message(SYSTEM, "s"), message(USER, "Hi")]),
    # A turn with calls, and the one with their results.
    (
        [
            HI,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "x"},
                    text("Let me look."),
                    use("a", city="Rome"),
                    use("b"),
                ],
            },
            {
                "role": "user",
                "content": [
                    result("a", content="sunny"),
                    result("b", content=[text("x"), text("y")], is_error=True),
                    result("c"),
                    text("And?"),
                ],
            },
        ],
        [
            message(USER, "Hi"),
            message(
                ASSISTANT,
                "Let me look.",
                reasoning_content="hm",
                tool_calls=[call("a", '{"city":"Rome"}'), call("b")],
            ),
            chat_pb2.Message(role=TOOL, content="sunny", tool_call_id="a"),
            message(TOOL, "x", "y", tool_call_id="b"),
            chat_pb2.Message(role=TOOL, content="", tool_call_id="c"),
            message(USER, "And?"),
        ],
    ),
    (
        [
            {
                "role": "user",
                "content": [
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "eA=="},
                    },
                    {"type": "image", "source": {"type": "url", "url": "https://a/b"}},
                ],
            }
        ],
        [
            chat_pb2.Message(
                role=USER,
                content_parts=[
                    chat_pb2.ContentPart(image_url=chat_pb2.ImageUrl(url="data:image/png;base64,eA==")),
                    chat_pb2.ContentPart(image_url=chat_pb2.ImageUrl(url="https://a/b")),
                ],
            )
        ],
    ),
    ([{"role": "user", "content": []}], [message(USER)]),
]


@pytest.mark.parametrize(("given", "expected"), MESSAGES)
def test_messages(given: list[dict[str, Any]], expected: list[chat_pb2.Message]) -> None:
    assert list(translate(messages=given).messages) == expected


def test_a_system_message_in_blocks() -> None:
    assert list(translate(system=[text("a"), text("b")]).messages) == [
        message(SYSTEM, "a", "b"),
        message(USER, "Hi"),
    ]
    assert list(translate(system="").messages) == [message(USER, "Hi")]


def test_an_answer_goes_on_from_no_message() -> None:
    with pytest.raises(ServiceError) as caught:
        translate(messages=[HI, {"role": "assistant", "content": "The answer is ("}])
    assert caught.value.condition is Condition.UNSUPPORTED
    assert caught.value.violations[0].field == "messages[1].role"


@pytest.mark.parametrize(
    ("role", "block"),
    [
        ("user", use("a")),
        ("user", {"type": "thinking", "thinking": "hm"}),
        ("assistant", result("a", content="x")),
    ],
)
def test_each_block_has_its_speaker(role: str, block: dict[str, Any]) -> None:
    with pytest.raises(ServiceError) as caught:
        translate(messages=[{"role": role, "content": [text("a"), block]}, HI])
    assert caught.value.violations[0].field == "messages[0].content[1].type"


CONVERSATION = [
    {"role": "user", "content": [text("a")]},
    {"role": "user", "content": [text("b"), text("c")]},
    {"role": "assistant", "content": [text("d"), use("x")]},
    {"role": "user", "content": [result("x", content=[text("e")]), text("f")]},
]


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("messages", "messages"),
        ("messages[0].content_parts[0]", "system"),
        ("messages[1].content_parts[0]", "messages[0].content[0]"),
        ("messages[1].content_parts[2]", "messages[1].content[1]"),
        ("messages[2].tool_calls[0].id", "messages[2].content[1].id"),
        ("messages[2].tool_calls[0].function.name", "messages[2].content[1].name"),
        ("messages[2].tool_calls[0].function.arguments", "messages[2].content[1].input"),
        ("messages[3].tool_call_id", "messages[3].content[0].tool_use_id"),
        ("messages[3].content_parts[0]", "messages[3].content[0].content[0]"),
        ("messages[3].role", "messages[3].content[0]"),
        ("messages[4].content_parts[0]", "messages[3].content[1]"),
        ("messages[4].content", "messages[3].content"),
        ("max_tokens", "max_tokens"),
        ("stop", "stop_sequences"),
        ("stop[1]", "stop_sequences[1]"),
        ("tools[0].function.parameters/a", "tools[0].input_schema/a"),
        ("tools[0].function.name", "tools[0].name"),
        ("tool_choice.function_name", "tool_choice.name"),
        ("response_format.json_schema.schema/a", "output_config.format.schema/a"),
        ("response_format", "output_config.format"),
        ("reasoning_budget", "thinking.budget_tokens"),
        ("user", "metadata.user_id"),
        ("temperature", "temperature"),
    ],
)
def test_a_bad_field_is_called_by_its_own_name(name: str, sent: str) -> None:
    _, places = to_chat_request(asked(system="s", messages=CONVERSATION))
    assert renaming(places)(name) == sent


def test_every_field_that_the_sdk_knows_is_decided_upon() -> None:
    """A new one fails here until somebody honours it, or refuses it."""
    in_header = {"user_profile_id", "workspace_id", "betas"}
    for params in (message_create_params, beta_message_create_params):
        for kind in (params.MessageCreateParamsStreaming, params.MessageCreateParamsNonStreaming):
            assert set(get_type_hints(kind)) - in_header <= set(MessageRequest.model_fields)
    for counted in (MessageCountTokensParams, BetaMessageCountTokensParams):
        assert set(get_type_hints(counted)) - in_header <= set(CountRequest.model_fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"fallbacks": "default"},
        {"billing_policy": {"type": "billing_policy", "bill_to": "self"}},
        {"context_management": {}},
        {"context_management": {"edits": []}},
        {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
        {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": {"type": "all"}}]}},
        dict.fromkeys(
            [
                "thread",
                "compaction",
                "mcp_servers",
                "fallbacks",
                "fallback_credit_token",
                "context_management",
            ]
        ),
    ],
    ids=str,
)
def test_what_changes_nothing_is_taken(fields: dict[str, Any]) -> None:
    assert translate(**fields) == translate()


CLEARING = {"type": "clear_thinking_20251015"}
TURNS = {"type": "thinking_turns", "value": 1}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"thread": {"type": "create"}}, "thread"),
        ({"thread": {"type": "continue", "previous_message_id": "msg_1"}}, "thread"),
        ({"compaction": {"type": "summarize"}}, "compaction"),
        ({"mcp_servers": [{"type": "url", "name": "a", "url": "https://a"}]}, "mcp_servers"),
        ({"fallbacks": [{"model": "b"}]}, "fallbacks"),
        ({"fallbacks": "other"}, "fallbacks"),
        ({"fallback_credit_token": "t"}, "fallback_credit_token"),
        (
            {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
            "context_management.edits[0].type",
        ),
        ({"context_management": {"edits": [CLEARING]}}, "context_management.edits[0].keep"),
        (
            {"context_management": {"edits": [{**CLEARING, "keep": TURNS}]}},
            "context_management.edits[0].keep.type",
        ),
        (
            {"context_management": {"edits": [{**CLEARING, "keep": "some"}]}},
            "context_management.edits[0].keep",
        ),
    ],
    ids=str,
)
def test_what_would_change_the_answer_is_refused(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(ServiceError) as caught:
        asked(**fields)
    assert caught.value.violations[0].field == place


def test_every_field_is_in_the_docs() -> None:
    docs = (Path(__file__).parents[4] / "docs/messages.md").read_text()
    assert not [name for name in MessageRequest.model_fields if not re.search(rf"`{name}\b", docs)]
