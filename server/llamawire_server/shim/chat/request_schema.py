"""OpenAI's chat request, as it is validated and as the OpenAPI description shows it.

Only form is checked here: names, types, and what the gRPC request can't carry. Ranges are the service's to
check, so that both sides of the wire refuse the same values in the same words. None always means absent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from llamawire_server.shim.chat.own_fields import OwnFields
from llamawire_server.shim.chat.sampling_fields import SamplingFields
from llamawire_server.shim.http.request_types import (
    Int32,
    List,
    NotSupported,
    RequestModel,
    tag_of_json_type,
    tag_of_type_field,
)


class TextPart(RequestModel):
    """Plain text."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = None
    """Accepted without effect."""


class RefusalPart(RequestModel):
    """An assistant's refusal, in a history."""

    type: Literal["refusal"]
    refusal: str


class ImageUrl(RequestModel):
    """A picture by address."""

    url: str
    detail: str | None = None
    """How closely to look: "auto", "low" or "high"."""


class ImagePart(RequestModel):
    """A picture; needs a model that sees."""

    type: Literal["image_url"]
    image_url: ImageUrl
    prompt_cache_breakpoint: dict[str, Any] | None = None
    """Accepted without effect."""


class InputAudio(RequestModel):
    """A sound by value."""

    data: str
    """The encoded sound, in Base64."""
    format: str
    """Its encoding: "wav" or "mp3"."""


class AudioPart(RequestModel):
    """A sound; needs a model that hears."""

    type: Literal["input_audio"]
    input_audio: InputAudio
    prompt_cache_breakpoint: dict[str, Any] | None = None
    """Accepted without effect."""


ContentPart = Annotated[
    Annotated[TextPart, Tag("|text")]
    | Annotated[RefusalPart, Tag("|refusal")]
    | Annotated[ImagePart, Tag("|image_url")]
    | Annotated[AudioPart, Tag("|input_audio")],
    Discriminator(tag_of_type_field),
]
Content = Annotated[
    Annotated[str, Tag("|string")] | Annotated[List[ContentPart], Tag("|array")],
    Discriminator(tag_of_json_type),
]
PlainContent = Annotated[
    Annotated[str, Tag("|string")] | Annotated[List[TextPart], Tag("|array")],
    Discriminator(tag_of_json_type),
]


class FunctionCall(RequestModel):
    """A function's name and arguments."""

    name: str
    arguments: str
    """The arguments, as JSON."""


class ToolCall(RequestModel):
    """A call that the model made."""

    id: str
    """Names the call, so that a tool's message can answer it."""
    type: Literal["function"]
    function: FunctionCall


class FunctionCallOfHistory(FunctionCall):
    """A function's name and arguments, as callers send them back."""

    parsed_arguments: Any = None
    """Accepted without effect: what OpenAI's client made of the arguments."""


class ToolCallOfHistory(ToolCall):
    """A call that the model made, as callers send it back."""

    function: FunctionCallOfHistory
    index: int | None = None
    """Accepted without effect: left over from the deltas of a stream."""


class Message(RequestModel):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    """Who speaks. "function" is OpenAI's older name for "tool"."""
    content: Content | None = None
    """The text, or a list of parts."""
    name: str | None = None
    """Tells speakers of one role apart; with the role "function", the function that answers."""
    tool_calls: List[ToolCallOfHistory] | None = None
    """The calls that an assistant's message made."""
    tool_call_id: str | None = None
    """Which call a tool's message answers."""
    reasoning_content: str | None = None
    """What an assistant's message reasoned before it spoke."""
    refusal: str | None = None
    """Why an assistant's message refused to answer."""
    function_call: FunctionCall | None = None
    """Deprecated: the one call that an assistant's message made. Use `tool_calls`."""
    annotations: list[Any] | None = None
    """Accepted without effect: part of OpenAI's answers, which callers send back."""
    parsed: Any = None
    """Accepted without effect: what OpenAI's client made of an answer."""
    audio: NotSupported = None
    """Not supported: anything but null is refused."""


class FunctionDefinition(RequestModel):
    """Describes a function to the model."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """The JSON Schema of its parameters. Absent: it takes none."""
    strict: bool | None = None
    """Whether its arguments must follow the schema to the letter. They always do."""


class Tool(RequestModel):
    """Something the model may use. Only functions exist."""

    type: Literal["function"]
    function: FunctionDefinition


class FunctionName(RequestModel):
    """Names a function."""

    name: str


class NamedToolChoice(RequestModel):
    """The function that must be called."""

    type: Literal["function"]
    function: FunctionName


class AllowedTools(RequestModel):
    """Those of the tools that may be called, and whether one of them must be."""

    mode: Literal["auto", "required"]
    tools: List[NamedToolChoice]
    """Their names. The model is told of these tools alone."""


class AllowedToolsChoice(RequestModel):
    """A choice among some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoiceObject = Annotated[
    Annotated[NamedToolChoice, Tag("|function")] | Annotated[AllowedToolsChoice, Tag("|allowed_tools")],
    Discriminator(tag_of_type_field),
]
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("|string")]
    | Annotated[ToolChoiceObject, Tag("|object")],
    Discriminator(tag_of_json_type),
]
FunctionChoice = Annotated[
    Annotated[Literal["none", "auto"], Tag("|string")] | Annotated[FunctionName, Tag("|object")],
    Discriminator(tag_of_json_type),
]


class TextFormat(RequestModel):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(RequestModel):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(RequestModel):
    """A JSON Schema with a name."""

    name: str
    description: str | None = None
    """What the answer is for."""
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    """The JSON Schema itself. Required, whatever OpenAI's clients leave out."""
    strict: bool | None = None
    """Whether the schema must be followed to the letter. It always is."""


class JsonSchemaFormat(RequestModel):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class GrammarFormat(RequestModel):
    """Text that a grammar allows, from its first character to its last. llamawire's own."""

    type: Literal["grammar"]
    syntax: Literal["gbnf", "lark", "regex"] | None = None
    """The language that the grammar is written in. Default: "gbnf", llama.cpp's own."""
    grammar: str


ResponseFormat = Annotated[
    Annotated[TextFormat, Tag("|text")]
    | Annotated[JsonObjectFormat, Tag("|json_object")]
    | Annotated[JsonSchemaFormat, Tag("|json_schema")]
    | Annotated[GrammarFormat, Tag("|grammar")],
    Discriminator(tag_of_type_field),
]


class Prediction(RequestModel):
    """What the caller believes the answer will mostly be. Only speed depends on it, never the answer."""

    type: Literal["content"]
    content: PlainContent


class StreamOptions(RequestModel):
    """How a stream is to be sent."""

    include_usage: bool | None = None
    """Whether a last chunk, with no choices, has the usage."""
    include_obfuscation: bool | None = None
    """Accepted without effect: chunks are never padded."""
    continuous_usage_stats: bool | None = None
    """Whether every chunk has the usage by then. Needs `include_usage`. vLLM's and llamawire's own."""


class ChatCompletionRequest(SamplingFields, OwnFields):
    """Asks for the next message of a conversation. Defaults and ranges are those of the gRPC request."""

    model: str
    """The model's name, as GET /v1/models lists it."""
    messages: list[Message]
    """The conversation so far, oldest first. At least one message."""
    stream: bool | None = None
    """Whether to send the answer as it is generated, as server-sent events."""
    stream_options: StreamOptions | None = None
    """Only with `stream`."""

    max_completion_tokens: Int32 | None = None
    """The most tokens a choice may have."""
    max_tokens: Int32 | None = None
    """Deprecated: the older name of `max_completion_tokens`."""
    n: Int32 | None = None
    """How many choices to generate."""
    logprobs: bool | None = None
    """Whether to return the log probabilities of the tokens of the text."""
    top_logprobs: Int32 | None = None
    """How many of the likeliest tokens to list at each place. [0, 20]"""

    tools: List[Tool] | None = None
    """Functions the model may call."""
    tool_choice: ToolChoice | None = None
    """Whether and which functions are to be called."""
    parallel_tool_calls: bool | None = None
    """Whether one answer may hold several calls."""
    functions: List[FunctionDefinition] | None = None
    """Deprecated: functions the model may call, one at a time. Use `tools`."""
    function_call: FunctionChoice | None = None
    """Deprecated: whether and which of `functions` is to be called. Use `tool_choice`."""

    response_format: ResponseFormat | None = None
    """What form the answer must have."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    """How much a reasoning model should reason; "xhigh" and "max" mean "high"."""
    reasoning_budget: Int32 | None = None
    """The most tokens of reasoning; 0: none at all. Default: no limit, but with `reasoning_effort` "none" 0.
    llamawire's own."""
    prediction: Prediction | None = None
    user: str | None = None
    """Names the end user. Accepted; has no effect."""
    metadata: dict[str, str] | None = None
    """The caller's own notes, without effect on the answer."""
    modalities: List[Literal["text"]] | None = None
    """What to generate: only text can be."""

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
    store: bool | None = None
    """Accepted without effect: answers are never stored."""
    verbosity: str | None = None
    """Accepted without effect."""

    audio: NotSupported = None
    """Not supported: anything but null is refused."""
    moderation: NotSupported = None
    """Not supported: anything but null is refused."""
    web_search_options: NotSupported = None
    """Not supported: anything but null is refused."""
