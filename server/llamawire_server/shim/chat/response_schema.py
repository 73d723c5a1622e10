"""OpenAI's answers, as the OpenAPI description shows them.

Nothing is validated by these models at run time: `answers` and `events` write plain dictionaries, and a test
holds what they write against these. A field without a default is always there; one with a default may be
absent.
"""

from __future__ import annotations

from typing import Literal

from llamawire_server.shim.chat.request_schema import FunctionCall, ToolCall
from llamawire_server.shim.http.response_types import ResponseModel

FinishReason = Literal[
    "stop", "length", "tool_calls", "content_filter", "function_call", "insufficient_system_resource", "other"
]


class TopLogprob(ResponseModel):
    """A token that might have come."""

    token: str
    logprob: float
    """The natural logarithm of its probability before sampling; -9999 in place of minus infinity."""
    bytes: list[int]
    """The token's bytes."""


class TokenLogprob(TopLogprob):
    """A generated token and what else might have come."""

    top_logprobs: list[TopLogprob]
    """The likeliest tokens at this place, likeliest first."""


class Logprobs(ResponseModel):
    """The log probabilities of generated tokens."""

    content: list[TokenLogprob] | None
    refusal: list[TokenLogprob] | None


class PromptTokensDetails(ResponseModel):
    """The prompt's tokens by kind."""

    cached_tokens: int
    audio_tokens: int


class CompletionTokensDetails(ResponseModel):
    """The generated tokens by kind."""

    reasoning_tokens: int
    audio_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int
    accepted_draft_tokens: int
    """Guessed, from the prompt, the prediction or a draft model, and part of the answer. llamawire's own."""
    rejected_draft_tokens: int
    """Guessed, and no part of it. llamawire's own."""


class Usage(ResponseModel):
    """What an answer cost in tokens."""

    prompt_tokens: int
    """Counted once however many choices were asked for."""
    completion_tokens: int
    """Over all choices."""
    total_tokens: int
    prompt_cache_hit_tokens: int
    """Prompt tokens that were found in the KV cache. llamawire's own."""
    prompt_cache_miss_tokens: int
    """Prompt tokens that were computed for this request. llamawire's own."""
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class Timings(ResponseModel):
    """What an answer cost in time, measured on the server. llamawire's own. Seconds, with fractions."""

    queue_seconds: float
    """From arrival at the model's queue to the first step."""
    model_load_seconds: float
    """Waiting for the model to be loaded."""
    prompt_seconds: float
    """Computing the prompt."""
    first_token_seconds: float
    """From arrival at the server to the first generated token."""
    generation_seconds: float
    """From the first generated token to the last one."""


class ChatCompletionMessage(ResponseModel):
    """What the model said."""

    role: Literal["assistant"]
    content: str | None
    """The text; null where there is none but tool calls."""
    refusal: str | None
    reasoning_content: str | None = None
    """What the model reasoned before it spoke."""
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    """In place of `tool_calls` where the request had the deprecated `functions`."""


class Choice(ResponseModel):
    """One answer of several."""

    index: int
    message: ChatCompletionMessage
    logprobs: Logprobs | None
    finish_reason: FinishReason | None
    matched_stop: str | None = None
    """Which of `stop` ended it, where one did. llamawire's own."""


class ChatCompletion(ResponseModel):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    """When the request was taken in, in Unix seconds."""
    model: str
    system_fingerprint: str
    """Changes whenever the same seed may give another answer."""
    service_tier: str
    """Always "default"."""
    choices: list[Choice]
    usage: Usage
    timings: Timings


class FunctionCallDelta(ResponseModel):
    """What to add to a function call."""

    name: str | None = None
    """On the call's first delta only."""
    arguments: str
    """More of the arguments, as JSON."""


class ToolCallDelta(ResponseModel):
    """What to add to one tool call."""

    index: int
    id: str | None = None
    """On the call's first delta only."""
    type: Literal["function"] | None = None
    """On the call's first delta only."""
    function: FunctionCallDelta


class Delta(ResponseModel):
    """What to add to a message: append each string to what came before."""

    role: Literal["assistant"] | None = None
    """On a choice's first chunk only."""
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    function_call: FunctionCallDelta | None = None
    """In place of `tool_calls` where the request had the deprecated `functions`."""


class ChunkChoice(ResponseModel):
    """What is new in one choice."""

    index: int
    delta: Delta
    logprobs: Logprobs | None
    finish_reason: FinishReason | None
    """Why the choice ended; null until it does."""
    matched_stop: str | None = None
    """Which of `stop` ended it, where one did: with the finish reason. llamawire's own."""


class ChatCompletionChunk(ResponseModel):
    """A piece of an answer. One without choices has usage, or only keeps the connection alive."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    service_tier: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    """There with `stream_options.include_usage` only: null on every chunk but the last; with `continuous_usage_stats`
    what the answer has cost by then."""
    timings: Timings | None = None
    """On the chunk that has the usage."""
