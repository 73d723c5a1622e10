"""Anthropic's answers, as the OpenAPI description shows them. A test holds what is written against these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from llamawire_server.shim.http.response_types import ResponseModel

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "pause_turn"]


class AnsweredTextBlock(ResponseModel):
    """Text that the model answered."""

    type: Literal["text"]
    text: str
    citations: None


class AnsweredThinkingBlock(ResponseModel):
    """What the model reasoned before it spoke."""

    type: Literal["thinking"]
    thinking: str
    """Empty with the display "omitted"."""
    signature: str
    """Always the same. It says nothing."""


class AnsweredToolUseBlock(ResponseModel):
    """A tool that is to be used."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]
    """The arguments; where a limit cut them, what there is of them."""


AnsweredBlock = Annotated[
    AnsweredTextBlock | AnsweredThinkingBlock | AnsweredToolUseBlock, Field(discriminator="type")
]


class MessageOutputTokensDetails(ResponseModel):
    """The generated tokens by kind."""

    thinking_tokens: int


class MessageDeltaUsage(ResponseModel):
    """What an answer cost in tokens."""

    input_tokens: int
    """Of the prompt, those that were computed."""
    cache_read_input_tokens: int
    """Of the prompt, those that were found in the KV cache."""
    cache_creation_input_tokens: int
    """Always 0: keeping tokens costs nothing."""
    output_tokens: int
    output_tokens_details: MessageOutputTokensDetails


class MessageUsage(MessageDeltaUsage):
    """What an answer cost in tokens; where a stream begins, the prompt as far as it is known."""

    service_tier: Literal["standard"]


class MessageObject(ResponseModel):
    """A whole answer, and how a stream begins."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[AnsweredBlock]
    stop_reason: StopReason | None
    """Why it ended; null until it does."""
    stop_sequence: str | None
    """Which of the `stop_sequences` ended it."""
    usage: MessageUsage


class MessageTokenCount(ResponseModel):
    """How long a prompt is."""

    input_tokens: int


class MessageErrorFacts(ResponseModel):
    """What clients can tell from an error beside its type."""

    error_code: Literal["thread_unsupported_request"]
    unsupported: list[Literal["thread"]]
    """The fields to leave out."""


class MessageErrorDetail(ResponseModel):
    """What went wrong."""

    type: Literal[
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "rate_limit_error",
        "api_error",
        "overloaded_error",
        "timeout_error",
    ]
    message: str
    """For people. Never decide on it."""
    details: MessageErrorFacts | None = None
    """Only where a `thread` was refused."""


class MessageError(ResponseModel):
    """The body of every answer that is not a success, and the last event of a stream that failed."""

    type: Literal["error"]
    error: MessageErrorDetail
    request_id: str


class MessageStartEvent(ResponseModel):
    """A message that begins."""

    type: Literal["message_start"]
    message: MessageObject


class BlockStartEvent(ResponseModel):
    """A block that begins."""

    type: Literal["content_block_start"]
    index: int
    content_block: AnsweredBlock


class TextDelta(ResponseModel):
    """More of a text."""

    type: Literal["text_delta"]
    text: str


class InputJsonDelta(ResponseModel):
    """More of a tool's arguments, as JSON."""

    type: Literal["input_json_delta"]
    partial_json: str


class ThinkingDelta(ResponseModel):
    """More of what was reasoned."""

    type: Literal["thinking_delta"]
    thinking: str


class SignatureDelta(ResponseModel):
    """The signature of what was reasoned, at its end."""

    type: Literal["signature_delta"]
    signature: str


class BlockDeltaEvent(ResponseModel):
    """More of a block."""

    type: Literal["content_block_delta"]
    index: int
    delta: Annotated[TextDelta | InputJsonDelta | ThinkingDelta | SignatureDelta, Field(discriminator="type")]


class BlockStopEvent(ResponseModel):
    """A block that is whole."""

    type: Literal["content_block_stop"]
    index: int


class MessageDelta(ResponseModel):
    """How a message ended."""

    stop_reason: StopReason
    stop_sequence: str | None
    """Which of the `stop_sequences` ended it."""


class MessageDeltaEvent(ResponseModel):
    """The end of a message, and what it cost."""

    type: Literal["message_delta"]
    delta: MessageDelta
    usage: MessageDeltaUsage


class MessageStopEvent(ResponseModel):
    """A message that is whole."""

    type: Literal["message_stop"]


class PingEvent(ResponseModel):
    """Nothing; it keeps the connection alive."""

    type: Literal["ping"]


EVENTS = (
    MessageStartEvent,
    BlockStartEvent,
    BlockDeltaEvent,
    BlockStopEvent,
    MessageDeltaEvent,
    MessageStopEvent,
    PingEvent,
    MessageError,
)
