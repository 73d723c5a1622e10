"""OpenAI's Responses request, as it is validated and as the OpenAPI description shows it.

As with chat requests, only form is checked here. None always means absent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from llamawire_server.shim.chat.own_fields import OwnFields
from llamawire_server.shim.chat.request_schema import GrammarFormat, JsonObjectFormat, TextFormat
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
from llamawire_server.shim.responses.item_schema import ASYNC, InputItem

LOGPROBS = "message.output_text.logprobs"


class ResponseTool(RequestModel):
    """Something the model may use. Only functions exist: built-in tools are refused by their types."""

    type: Annotated[Literal["function"], supported("function")]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """The JSON Schema of its parameters. Absent: it takes none."""
    strict: bool | None = None
    """Whether its arguments must follow the schema to the letter. They always do."""
    defer_loading: NeverTrue | None = None
    """Not supported: true is refused."""
    allowed_callers: NotSupported = None
    """Not supported: anything but null is refused."""
    output_schema: NotSupported = None
    """Not supported: anything but null is refused."""
    is_async: NotSupported = Field(default=None, validation_alias=ASYNC, serialization_alias="async")
    """Not supported: anything but null is refused."""


class ResponseFunctionChoice(RequestModel):
    """A function that must, or may, be called."""

    type: Annotated[Literal["function"], supported("function")]
    name: str


class ResponseAllowedTools(RequestModel):
    """A choice among some of the tools. The model is told of these alone."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    """Whether one of them must be called."""
    tools: List[ResponseFunctionChoice]


ToolChoiceObject = Annotated[
    Annotated[ResponseFunctionChoice, Tag("|function")]
    | Annotated[ResponseAllowedTools, Tag("|allowed_tools")],
    Discriminator(tag_of_type_field),
]
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("|string")]
    | Annotated[ToolChoiceObject, Tag("|object")],
    Discriminator(tag_of_json_type),
]


class ResponseJsonSchemaFormat(RequestModel):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    name: str
    schema_: dict[str, Any] = Field(alias="schema")
    """The JSON Schema itself."""
    description: str | None = None
    """What the answer is for."""
    strict: bool | None = None
    """Whether the schema must be followed to the letter. It always is."""


Format = Annotated[
    Annotated[TextFormat, Tag("|text")]
    | Annotated[JsonObjectFormat, Tag("|json_object")]
    | Annotated[ResponseJsonSchemaFormat, Tag("|json_schema")]
    | Annotated[GrammarFormat, Tag("|grammar")],
    Discriminator(tag_of_type_field),
]


class ResponseText(RequestModel):
    """What the text of an answer is to be like."""

    format: Format | None = None
    """What form it must have. Default: text."""
    verbosity: Literal["low", "medium", "high"] | None = None
    """Accepted without effect."""


class ResponseReasoningOptions(RequestModel):
    """How a reasoning model is to reason."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    """How much; "xhigh" and "max" mean "high"."""
    summary: Literal["auto", "concise", "detailed"] | None = None
    """Accepted without effect: what is reasoned is answered whole."""
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    """Deprecated: the older name of `summary`."""
    context: Literal["auto"] | None = None
    """Which reasoning of earlier turns the model sees: its chat template decides."""
    mode: Literal["standard"] | None = None
    """Only the standard one exists."""


class ResponseStreamOptions(RequestModel):
    """How a stream is to be sent."""

    include_obfuscation: bool | None = None
    """Accepted without effect: events are never padded."""


Input = Annotated[
    Annotated[str, Tag("|string")] | Annotated[List[InputItem], Tag("|array")],
    Discriminator(tag_of_json_type),
]


class ResponseRequest(OwnFields, BasicSamplingFields):
    """Asks for a response. Defaults and ranges are those of the gRPC chat request.

    Of what says how tokens are sampled, all but `temperature` and `top_p` is llamawire's own.
    """

    model: str
    """The model's name, as GET /v1/models lists it."""
    input: Input | None = None
    """What to answer: a user's text, or items and references to kept ones, oldest first."""
    instructions: str | None = None
    """A system message before all else. That of an earlier response is not carried over."""
    previous_response_id: str | None = None
    """The response that this one goes on from: its input and its output come before this `input`."""
    store: bool | None = None
    """Whether to keep the response, so that others can go on from it. Default true."""
    stream: bool | None = None
    """Whether to send the response as it is generated, as server-sent events."""
    stream_options: ResponseStreamOptions | None = None
    include: List[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None = None
    """What else to answer: log probabilities of the text. "reasoning.encrypted_content" has no effect: reasoning
    is never encrypted, and can be sent back as it is."""

    max_output_tokens: Int32 | None = None
    """The most tokens of the response, reasoning included."""
    top_logprobs: Int32 | None = None
    """How many of the likeliest tokens to list at each place; needs `include`. [0, 20]"""
    text: ResponseText | None = None
    reasoning: ResponseReasoningOptions | None = None
    reasoning_budget: Int32 | None = None
    """The most tokens of reasoning; 0: none at all. Default: no limit, but with the effort "none" 0.
    llamawire's own."""
    tools: List[ResponseTool] | None = None
    """Functions the model may call."""
    tool_choice: ToolChoice | None = None
    """Whether and which functions are to be called."""
    parallel_tool_calls: bool | None = None
    """Whether one response may hold several calls."""
    metadata: dict[str, str] | None = None
    """The caller's own notes, without effect on the answer; they come back."""
    user: str | None = None
    """Names the end user. Accepted; has no effect."""

    truncation: Literal["disabled"] | None = None
    """What is too long for the model's context is an error: nothing is left out."""
    max_tool_calls: Int32 | None = None
    """Accepted without effect: it counts calls of built-in tools."""
    prompt_cache_key: str | None = None
    """Accepted without effect: prompts are cached by their tokens."""
    prompt_cache_retention: str | None = None
    """Accepted without effect."""
    prompt_cache_options: dict[str, Any] | None = None
    """Accepted without effect."""
    safety_identifier: str | None = None
    """Accepted without effect."""
    service_tier: str | None = None
    """Accepted without effect: there is one tier."""

    background: NeverTrue | None = None
    """Not supported: true is refused."""
    background_options: NotSupported = None
    """Not supported: anything but null is refused."""
    conversation: NotSupported = None
    """Not supported: anything but null is refused. Use `previous_response_id`."""
    prompt: NotSupported = None
    """Not supported: anything but null is refused."""
    context_management: NotSupported = None
    """Not supported: anything but null is refused."""
    moderation: NotSupported = None
    """Not supported: anything but null is refused."""
    image: NotSupported = None
    """Not supported: anything but null is refused."""
    access_programs: NotSupported = None
    """Not supported: anything but null is refused."""
