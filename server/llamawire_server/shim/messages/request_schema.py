"""Anthropic's requests, as they are validated and as the OpenAPI description shows them.

As with chat requests, only form is checked here. None always means absent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from llamawire_server.shim.chat.own_fields import OwnFields
from llamawire_server.shim.chat.sampling_fields import BasicSamplingFields
from llamawire_server.shim.http.request_types import (
    Int32,
    List,
    NeverTrue,
    NotSupported,
    RequestModel,
    supported,
    tag_of_json_type,
    tag_of_type_field,
)
from llamawire_server.shim.messages.block_schema import Content, MessageTextBlock

System = Annotated[
    Annotated[str, Tag("|string")] | Annotated[List[MessageTextBlock], Tag("|array")],
    Discriminator(tag_of_json_type),
]


class MessageTurn(RequestModel):
    """One turn of a conversation."""

    role: Literal["user", "assistant", "system"]
    """Who speaks."""
    content: Content
    """The text, or a list of blocks."""


class MessageTool(RequestModel):
    """Something the model may use: a tool of the caller's. Anthropic's own are refused by their types."""

    type: Annotated[Literal["custom"], supported("custom")] | None = None
    name: str
    input_schema: dict[str, Any]
    """The JSON Schema of its arguments."""
    description: str | None = None
    strict: bool | None = None
    """Whether its arguments must follow the schema to the letter. They always do."""
    cache_control: dict[str, Any] | None = None
    """Accepted without effect."""
    eager_input_streaming: bool | None = None
    """Accepted without effect: arguments are streamed as they are generated."""
    allowed_callers: List[Annotated[Literal["direct"], supported("direct")]] | None = None
    """Only the model itself can be one."""
    defer_loading: NeverTrue | None = None
    """Not supported: true is refused."""
    input_examples: NotSupported = None
    """Not supported: anything but null is refused."""


class MessageAutoChoice(RequestModel):
    """The model decides whether to use tools."""

    type: Literal["auto"]
    disable_parallel_tool_use: bool | None = None
    """Whether at most one tool may be used."""


class MessageAnyChoice(RequestModel):
    """At least one tool must be used."""

    type: Literal["any"]
    disable_parallel_tool_use: bool | None = None
    """Whether exactly one tool must be used."""


class MessageToolChoice(RequestModel):
    """The tool that must be used."""

    type: Literal["tool"]
    name: str
    disable_parallel_tool_use: bool | None = None
    """Whether it must be used exactly once."""


class MessageNoneChoice(RequestModel):
    """No tool may be used."""

    type: Literal["none"]


ToolChoice = Annotated[
    Annotated[MessageAutoChoice, Tag("|auto")]
    | Annotated[MessageAnyChoice, Tag("|any")]
    | Annotated[MessageToolChoice, Tag("|tool")]
    | Annotated[MessageNoneChoice, Tag("|none")],
    Discriminator(tag_of_type_field),
]

Display = Literal["summarized", "omitted"]


class MessageThinkingOn(RequestModel):
    """The model reasons, up to a limit."""

    type: Literal["enabled"]
    budget_tokens: Int32
    """The most tokens of reasoning."""
    display: Display | None = None
    """Whether what it reasons is answered; "summarized" means whole."""


class MessageThinkingAdaptive(RequestModel):
    """The model reasons as it sees fit."""

    type: Literal["adaptive"]
    display: Display | None = None
    """Whether what it reasons is answered; "summarized" means whole."""


class MessageThinkingOff(RequestModel):
    """The model does not reason."""

    type: Literal["disabled"]


Thinking = Annotated[
    Annotated[MessageThinkingOn, Tag("|enabled")]
    | Annotated[MessageThinkingAdaptive, Tag("|adaptive")]
    | Annotated[MessageThinkingOff, Tag("|disabled")],
    Discriminator(tag_of_type_field),
]


class MessageJsonFormat(RequestModel):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")
    """The JSON Schema."""


class MessageOutputConfig(RequestModel):
    """What an answer is to be like."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    """How much a reasoning model should reason; "xhigh" and "max" mean "high"."""
    format: MessageJsonFormat | None = None
    """What form its text must have. Default: any."""


class MessageMetadata(RequestModel):
    """What a request says of itself."""

    user_id: str | None = None
    """Names the end user. Accepted; has no effect."""


class MessageKeepAll(RequestModel):
    """All that was reasoned stays in the prompt."""

    type: Annotated[Literal["all"], supported("all")]


KeptThinking = Annotated[
    Annotated[Literal["all"], supported("all"), Tag("|string")] | Annotated[MessageKeepAll, Tag("|object")],
    Discriminator(tag_of_json_type),
]


class MessageClearThinking(RequestModel):
    """What is to be left out of what was reasoned: nothing. It has no effect therefore."""

    type: Annotated[Literal["clear_thinking_20251015"], supported("clear_thinking_20251015")]
    keep: KeptThinking
    """Absent, it would be the last turn alone."""


class MessageContextManagement(RequestModel):
    """What is to be left out of a long conversation. Only what leaves out nothing is taken."""

    edits: List[MessageClearThinking] | None = None


class CountRequest(OwnFields):
    """Asks how long the prompt of a request would be."""

    model: str
    """The model's name, as GET /v1/models lists it."""
    messages: list[MessageTurn]
    """The conversation so far, oldest first. At least one message; the last one is not the assistant's."""
    system: System | None = None
    """A system message before all others."""
    tools: List[MessageTool] | None = None
    """Tools the model may use."""
    tool_choice: ToolChoice | None = None
    """Whether and which tools are to be used."""
    thinking: Thinking | None = None
    """Whether and how long to reason. Absent: as the model does by itself."""
    output_config: MessageOutputConfig | None = None
    cache_control: dict[str, Any] | None = None
    """Accepted without effect: prompts are cached by their tokens."""
    speed: Literal["standard", "fast"] | None = None
    """Accepted without effect: there is one speed."""
    billing_policy: dict[str, Any] | None = None
    """Accepted without effect: nothing is billed."""
    context_management: MessageContextManagement | None = None
    compaction: NotSupported = None
    """Not supported: anything but null is refused."""
    mcp_servers: NotSupported = None
    """Not supported: anything but null is refused."""


class MessageRequest(CountRequest, BasicSamplingFields):
    """Asks for the next message of a conversation. Ranges are those of the gRPC chat request.

    Of what says how tokens are sampled, all but `temperature`, `top_p` and `top_k` is llamawire's own.
    """

    max_tokens: Int32
    """The most tokens of the answer, reasoning included."""
    stream: bool | None = None
    """Whether to send the answer as it is generated, as server-sent events."""
    stop_sequences: List[str] | None = None
    """Texts that end the answer; they are not part of it."""
    metadata: MessageMetadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    """Accepted without effect: there is one tier."""
    container: NotSupported = None
    """Not supported: anything but null is refused."""
    inference_geo: NotSupported = None
    """Not supported: anything but null is refused."""
    diagnostics: NotSupported = None
    """Not supported: anything but null is refused."""
    fallbacks: Annotated[Literal["default"], supported("default")] | None = None
    """Accepted without effect: no model has others to fall back on."""
    fallback_credit_token: NotSupported = None
    """Not supported: anything but null is refused."""
    thread: NotSupported = None
    """Not supported: anything but null is refused, so that Anthropic's clients send whole conversations instead."""
