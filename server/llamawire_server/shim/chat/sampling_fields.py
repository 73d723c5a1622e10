"""What requests for generated text say of how it is generated. Ranges are those of the gRPC requests."""

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
from llamawire_server.shim.http.waiting_fields import WaitingFields

Stop = Annotated[
    Annotated[str, Tag("|string")] | Annotated[List[str], Tag("|array")],
    Discriminator(tag_of_json_type),
]


class BasicSamplingFields(RequestModel):
    """Fields that every API has. Named and typed as in the gRPC requests."""

    temperature: Float32 | None = None
    """Divides the logits before sampling; 0 always takes the likeliest token. [0, 2]"""
    top_p: Float32 | None = None
    """Keep the likeliest tokens that together reach this probability. [0, 1]"""


class FineSamplingFields(RequestModel):
    """Fields that llamawire takes in every API, whichever have them. Named and typed as in the gRPC requests."""

    top_k: Int32 | None = None
    """Keep this many of the likeliest tokens; 0 keeps all. Anthropic's and llamawire's own."""
    min_p: Float32 | None = None
    """Drop tokens less likely than this share of the likeliest one's probability. llamawire's own."""
    frequency_penalty: Float32 | None = None
    """Subtracted from a token's logit for each time it was already generated. [-2, 2]"""
    presence_penalty: Float32 | None = None
    """Subtracted from a token's logit if it was already generated. [-2, 2]"""
    repeat_penalty: Float32 | None = None
    """Makes tokens of the prompt and the answer less likely; 1 is off. (0, 10] llamawire's own."""
    seed: Int64 | None = None
    """The same request with the same seed gives the same answer, as long as the model's file and the server's version
    stay what they are."""


class SamplingFields(WaitingFields, FineSamplingFields, BasicSamplingFields):
    """Fields of completions of both kinds, with a conversation and without."""

    stop: Stop | None = None
    """Texts that end a choice; they are not part of it."""
    stop_token_ids: List[Int32] | None = None
    """Tokens that end a choice. llamawire's own."""
    logit_bias: dict[Annotated[str, BeforeValidator(check_token_id)], Float32] | None = None
    """Added to the logits of tokens; the keys are token ids in decimal digits. [-100, 100]"""
