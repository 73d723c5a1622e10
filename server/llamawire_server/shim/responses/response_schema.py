"""Responses, as the OpenAPI description shows them. A test holds what is written against these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from llamawire_server.shim.chat.response_schema import Timings, TokenLogprob
from llamawire_server.shim.http.response_types import ResponseModel
from llamawire_server.shim.responses.item_schema import (
    ItemStatus,
    ResponseFunctionCall,
    ResponseFunctionCallOutput,
    ResponseMessage,
    ResponseReasoning,
    ResponseReasoningText,
    ResponseRefusal,
    ResponseSummaryText,
)
from llamawire_server.shim.responses.request_schema import ResponseText, ResponseTool, ToolChoice

ResponseStatus = Literal["in_progress", "completed", "incomplete", "failed"]


class AnsweredText(ResponseModel):
    """Text that the model answered."""

    type: Literal["output_text"]
    annotations: list[Any]
    """Always empty."""
    logprobs: list[TokenLogprob]
    """Of its tokens, where they were asked for."""
    text: str


AnsweredPart = Annotated[AnsweredText | ResponseRefusal, Field(discriminator="type")]


class AnsweredMessage(ResponseModel):
    """What the model said."""

    id: str
    type: Literal["message"]
    status: ItemStatus
    """"incomplete" where a limit cut it."""
    role: Literal["assistant"]
    content: list[AnsweredPart]


class AnsweredFunctionCall(ResponseModel):
    """A function that is to be called."""

    id: str
    type: Literal["function_call"]
    status: ItemStatus
    """"incomplete" where a limit cut it: then the arguments are."""
    call_id: str
    """Names the call, so that its output can answer it."""
    name: str
    arguments: str
    """The arguments, as JSON."""


class AnsweredReasoning(ResponseModel):
    """What the model reasoned before it spoke or called."""

    id: str
    type: Literal["reasoning"]
    status: ItemStatus
    """"incomplete" where a limit cut it."""
    summary: list[ResponseSummaryText]
    """Always empty: what was reasoned is in `content`."""
    content: list[ResponseReasoningText]
    encrypted_content: None


AnsweredItem = Annotated[
    AnsweredMessage | AnsweredFunctionCall | AnsweredReasoning, Field(discriminator="type")
]


class InputTokensDetails(ResponseModel):
    """The input's tokens by kind."""

    cached_tokens: int
    """Tokens that were found in the KV cache."""
    cache_write_tokens: int
    """Always 0: keeping tokens costs nothing."""


class OutputTokensDetails(ResponseModel):
    """The generated tokens by kind."""

    reasoning_tokens: int


class ResponseUsage(ResponseModel):
    """What a response cost in tokens."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class IncompleteDetails(ResponseModel):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens", "content_filter"]
    """"max_output_tokens" also where the model's context is full."""


class ResponseFailure(ResponseModel):
    """Why a response failed."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str
    """For people. Never decide on it."""


class ReasoningOptions(ResponseModel):
    """How the model was to reason, as far as the request says."""

    effort: str | None
    summary: str | None


class ResponseObject(ResponseModel):
    """A response, whole or as far as it has come. What the request did not say is null where the model decides."""

    id: str
    object: Literal["response"]
    created_at: int
    """When the request was taken in, in Unix seconds."""
    completed_at: int | None
    """When it was completed, in Unix seconds; null where it was not."""
    status: ResponseStatus
    background: Literal[False]
    error: ResponseFailure | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    model: str
    output: list[AnsweredItem]
    """What the model reasoned, said and called, in this order."""
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: ReasoningOptions
    safety_identifier: str | None
    service_tier: Literal["default"]
    store: bool
    temperature: float | None
    text: ResponseText
    tool_choice: ToolChoice
    tools: list[ResponseTool]
    top_logprobs: int
    top_p: float | None
    truncation: Literal["disabled"]
    usage: ResponseUsage | None
    """Null until it is known."""
    user: str | None
    metadata: dict[str, str]
    timings: Timings | None
    """Null until they are known. llamawire's own."""


class DeletedResponse(ResponseModel):
    """A response that is no longer kept."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class ResponseItems(ResponseModel):
    """A part of what a response was generated from."""

    object: Literal["list"]
    data: list[ResponseMessage | ResponseFunctionCall | ResponseFunctionCallOutput | ResponseReasoning]
    first_id: str | None
    last_id: str | None
    has_more: bool
    """Whether there is more after the last."""
