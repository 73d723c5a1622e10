"""OpenAI's answer with embeddings, as the OpenAPI description shows it. See `shim.http.response_types`."""

from __future__ import annotations

from typing import Literal

from llamawire_server.shim.http.response_types import ResponseModel


class EmbeddingObject(ResponseModel):
    """The vector of one input."""

    object: Literal["embedding"]
    index: int
    """Which input it is of, from 0."""
    embedding: list[float] | str
    """The vector, of length 1: its numbers, or the Base64 of them as little-endian 32-bit floats."""


class EmbeddingUsage(ResponseModel):
    """What an answer cost in tokens."""

    prompt_tokens: int
    """Tokens of all inputs, with what was added around them."""
    total_tokens: int


class EmbeddingList(ResponseModel):
    """The vectors of all inputs, in their order."""

    object: Literal["list"]
    data: list[EmbeddingObject]
    model: str
    usage: EmbeddingUsage
