"""What every request for generated text says of how it is generated, with a conversation or without."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Discriminator, Tag

from llamawire_server.shim.http.request_types import (
    Float32,
    Int32,
    Int64,
    List,
    RequestModel,
    check_token_id,
    tag_of_json_type,
)

Stop = Annotated[
    Annotated[str, Tag("|string")] | Annotated[List[str], Tag("|array")],
    Discriminator(tag_of_json_type),
]


class SamplingFields(RequestModel):
    """Fields of both kinds of completions. Ranges are those of the gRPC requests."""

    temperature: Float32 | None = None
    """Divides the logits before sampling; 0 always takes the likeliest token. [0, 2]"""
    top_p: Float32 | None = None
    """Keep the likeliest tokens that together reach this probability. [0, 1]"""
    top_k: Int32 | None = None
    """Keep this many of the likeliest tokens; 0 keeps all. llamawire's own."""
    min_p: Float32 | None = None
    """Drop tokens less likely than this share of the likeliest one's probability. llamawire's own."""
    frequency_penalty: Float32 | None = None
    """Subtracted from a token's logit for each time it was already generated. [-2, 2]"""
    presence_penalty: Float32 | None = None
    """Subtracted from a token's logit if it was already generated. [-2, 2]"""
    repeat_penalty: Float32 | None = None
    """Makes tokens of the prompt and the answer less likely; 1 is off. (0, 10] llamawire's own."""
    seed: Int64 | None = None
    """The same request with the same seed and system_fingerprint gives the same answer."""
    stop: Stop | None = None
    """Texts that end a choice; they are not part of it."""
    stop_token_ids: List[Int32] | None = None
    """Tokens that end a choice. llamawire's own."""
    logit_bias: dict[Annotated[str, BeforeValidator(check_token_id)], Float32] | None = None
    """Added to the logits of tokens; the keys are token ids in decimal digits. [-100, 100]"""

    wait_for_model: bool | None = None
    """Whether to wait for a model that is not loaded; false: a 503 at once, while it is being loaded. Default true.
    llamawire's own."""
    priority: Int32 | None = None
    """Where the request stands in the model's line: lower goes first, and one step is worth ten seconds of waiting.
    [-100, 100] vLLM's and llamawire's own."""


SAME_SAMPLING_FIELDS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repeat_penalty",
    "seed",
    "wait_for_model",
    "priority",
)
"""Those that have the same name and type in the gRPC requests."""
