"""OpenAI's completion request, as it is validated and as the OpenAPI description shows it.

Only form is checked here, as for the chat request. None always means absent.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Tag

from llamawire_server.shim.chat.request_schema import Prediction, ResponseFormat, StreamOptions
from llamawire_server.shim.chat.sampling_fields import SamplingFields
from llamawire_server.shim.http.request_types import (
    Int32,
    List,
)


def _tag_of_prompt(value: object) -> str | None:
    """Tells the kinds of prompts apart; of an array by its first entry."""
    if isinstance(value, str):
        return "|string"
    if not isinstance(value, list):
        return None
    if value and isinstance(value[0], list):
        return "|token arrays"
    return "|tokens" if value and isinstance(value[0], int | float) else "|strings"


Prompt = Annotated[
    Annotated[str, Tag("|string")]
    | Annotated[List[str], Tag("|strings")]
    | Annotated[List[Int32], Tag("|tokens")]
    | Annotated[List[List[Int32]], Tag("|token arrays")],
    Discriminator(_tag_of_prompt),
]


class CompletionRequest(SamplingFields):
    """Asks for what comes after one or more texts. Defaults and ranges are those of the gRPC request."""

    model: str
    """The model's name, as GET /v1/models lists it."""
    prompt: Prompt | None
    """What to go on from: a text, several, tokens, or several lists of tokens. null is an empty text. Choice k of
    prompt p has the index p * n + k."""
    suffix: str | None = None
    """What comes after the text to be generated, for models that were taught to fill a gap."""
    echo: bool | None = None
    """Whether each choice begins with its prompt."""
    add_special: bool | None = None
    """Whether to add the tokens that the model wants around a text. Default true. llamawire's own."""
    parse_special: bool | None = None
    """Whether names of control tokens in the prompt become those tokens. Default true; with a suffix false.
    llamawire's own."""
    stream: bool | None = None
    """Whether to send the choices as they are generated, as server-sent events."""
    stream_options: StreamOptions | None = None
    """Only with `stream`."""

    max_tokens: Int32 | None = None
    """The most tokens a choice may have; 0: none, as for scoring with `echo` and `logprobs`. Default: the model's."""
    n: Int32 | None = None
    """How many choices to give for each prompt."""
    best_of: Int32 | None = None
    """How many choices to generate for each prompt, of which the `n` likeliest are given. Not in a stream."""
    logprobs: Int32 | None = None
    """How many of the likeliest tokens to list at each place. [0, 20]"""

    response_format: ResponseFormat | None = None
    """What form the text after the prompt must have. llamawire's own."""
    prediction: Prediction | None = None
    """llamawire's own."""
    user: str | None = None
    """Names the end user. Accepted; has no effect."""
