"""Messages from builders, pairs and mappings."""

from __future__ import annotations

import pytest

from llamawire import assistant, audio, developer, image, system, text, tool, user
from llamawire.chat import to_message
from llamawire.v1 import chat_pb2


@pytest.mark.parametrize(
    ("build", "role"),
    [
        (system, chat_pb2.ROLE_SYSTEM),
        (developer, chat_pb2.ROLE_DEVELOPER),
        (user, chat_pb2.ROLE_USER),
        (assistant, chat_pb2.ROLE_ASSISTANT),
    ],
)
def test_a_text_becomes_content(build, role):
    assert build("hello") == chat_pb2.Message(role=role, content="hello")


def test_an_empty_text_is_content_too():
    assert user("").HasField("content")


def test_several_parts_keep_their_order():
    message = user("what is this?", image("https://example.com/a.png", detail="low"), text("and this?"))

    assert not message.HasField("content")
    assert [part.WhichOneof("part") for part in message.content_parts] == ["text", "image_url", "text"]
    assert message.content_parts[1].image_url.detail == "low"


def test_a_single_part_that_is_no_text_is_a_part():
    message = user(audio(b"RIFF", audio_format="wav"))

    assert message.content_parts[0].input_audio == chat_pb2.InputAudio(data=b"RIFF", format="wav")


def test_a_tool_result_names_its_call():
    assert tool("22 C", tool_call_id="call_1") == chat_pb2.Message(
        role=chat_pb2.ROLE_TOOL, content="22 C", tool_call_id="call_1"
    )


def test_an_assistant_may_have_called_tools_without_a_word():
    call = chat_pb2.ToolCall(id="call_1", type="function")

    message = assistant(tool_calls=[call], reasoning="hm")

    assert message.tool_calls[0] == call
    assert message.reasoning_content == "hm"
    assert not message.HasField("content")


def test_a_pair_is_a_role_and_a_text():
    assert to_message(("user", "hello")) == user("hello")


def test_a_message_passes_through():
    message = user("hello")
    assert to_message(message) is message


def test_a_mapping_in_openai_s_form():
    message = to_message(
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "name": "bot",
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
            ],
        }
    )

    function = chat_pb2.FunctionCall(name="weather", arguments="{}")
    call = chat_pb2.ToolCall(id="call_1", type="function", function=function)
    assert message == assistant(name="bot", reasoning="hm", tool_calls=[call])


def test_a_mapping_with_parts_in_openai_s_form():
    message = to_message(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look and listen"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "high"}},
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            ],
        }
    )

    assert message == user(
        text("look and listen"),
        image("https://example.com/a.png", detail="high"),
        audio(b"RIFF", audio_format="wav"),
    )


def test_a_refusal_part_of_a_history():
    message = to_message({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]})
    assert message.content_parts[0].refusal == "no"


@pytest.mark.parametrize(
    "value",
    [
        {"content": "who speaks?"},
        {"role": "bot", "content": "hello"},
        ("bot", "hello"),
        {"role": "user", "contnet": "hello"},
        {"role": "user", "content": [{"type": "video", "url": "x"}]},
        {"role": "user", "content": [{"type": "text", "text": "x", "colour": "red"}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "!", "format": "wav"}}]},
    ],
)
def test_what_would_be_lost_is_refused(value):
    with pytest.raises(ValueError):  # noqa: PT011
        to_message(value)


def test_a_bare_text_is_no_message():
    with pytest.raises(TypeError, match="not a message"):
        to_message("hello")
