"""OpenAI's completions, as the OpenAPI description shows them.

Nothing is validated by these models at run time, as for chat's answers.
"""

from __future__ import annotations

from typing import Literal

from llamawire_server.shim.chat.response_schema import Timings, Usage
from llamawire_server.shim.http.response_types import ResponseModel


class CompletionLogprobs(ResponseModel):
    """The log probabilities of a text's tokens, in arrays of one length."""

    tokens: list[str]
    """The tokens' texts; bytes that are no UTF-8 by themselves as `bytes:\\xe2\\x80`."""
    token_logprobs: list[float | None]
    """Natural logarithms; -9999 in place of minus infinity, null for the first token of an echoed prompt."""
    top_logprobs: list[dict[str, float] | None] | None
    """The likeliest tokens at each place, and the token itself; null where none were asked for."""
    text_offset: list[int]
    """Which character of the choice's text each token begins in."""


class CompletionChoice(ResponseModel):
    """One choice, or in a stream what is new in one."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    """Why it ended; in a stream null until it does."""


class Completion(ResponseModel):
    """All choices."""

    id: str
    object: Literal["text_completion"]
    created: int
    """When the request was taken in, in Unix seconds."""
    model: str
    system_fingerprint: str
    """Changes whenever the same seed may give another answer."""
    choices: list[CompletionChoice]
    usage: Usage
    timings: Timings


class CompletionChunk(ResponseModel):
    """A piece of an answer. One without choices has usage, or only keeps the connection alive."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    """There with `stream_options.include_usage` only: null on every chunk but the last; with `continuous_usage_stats`
    what the answer has cost by then."""
    timings: Timings | None = None
    """On the chunk that has the usage."""
