"""What llama-server's paths for text and tokens take and answer.

Shapes and defaults are those of llama.cpp's tools/server/README.md. `model` is llamawire's own: llama-server has one.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Discriminator, Tag

from llamawire_server.shim.chat.request_schema import ChatCompletionRequest
from llamawire_server.shim.http.request_types import Int32, List, RequestModel, tag_of_json_type
from llamawire_server.shim.http.response_types import ResponseModel


def _absent_if_null(value: object) -> object:
    return "" if value is None else value


ModelName = Annotated[str, BeforeValidator(_absent_if_null)]


def _tag_of_entry(value: object) -> str | None:
    """Tells a text from a token."""
    if isinstance(value, str):
        return "|string"
    return "|token" if isinstance(value, int | float) else None


Entry = Annotated[
    Annotated[str, Tag("|string")] | Annotated[Int32, Tag("|token")], Discriminator(_tag_of_entry)
]
Mixed = Annotated[
    Annotated[str, Tag("|string")] | Annotated[List[Entry], Tag("|array")], Discriminator(tag_of_json_type)
]


class TokenizeRequest(RequestModel):
    """Text to turn into tokens."""

    content: Mixed | None = None
    """The text, at most 1 MiB; or texts and tokens that follow each other, at most 4,096 texts and runs of tokens.
    Absent: there are no tokens."""
    add_special: bool | None = None
    """Whether to add what the model wants around a text, such as a begin-of-sequence token; in an array, around the
    first entry alone, if it is a text. Default false."""
    parse_special: bool | None = None
    """Whether names of control tokens in the text become those tokens. Default true."""
    with_pieces: bool | None = None
    """Whether to return each token's text with it. Default false."""
    model: ModelName = ""
    """The model's name. May be left out where exactly one model is loaded. llamawire's own."""


class DetokenizeRequest(RequestModel):
    """Tokens to turn into text."""

    tokens: List[Int32] | None = None
    """The tokens; control tokens are written out as their names. Absent: there is no text."""
    model: ModelName = ""
    """The model's name. May be left out where exactly one model is loaded. llamawire's own."""


class ApplyTemplateRequest(ChatCompletionRequest):
    """A chat request whose prompt is wanted. Only what shapes the prompt is looked at."""

    model: ModelName = ""
    """The model's name. May be left out where exactly one model is loaded."""
    add_generation_prompt: bool | None = None
    """Whether the prompt ends where the assistant is to speak, and not with the last message. Default true."""


class TokenPiece(ResponseModel):
    """A token and its text."""

    id: int
    piece: str | list[int]
    """Its text; its bytes where they are no UTF-8 by themselves."""


class TokenizeAnswer(ResponseModel):
    """The tokens of a text."""

    tokens: list[int] | list[TokenPiece]
    """With `with_pieces` each with its text."""


class DetokenizeAnswer(ResponseModel):
    """The text of tokens."""

    content: str
    """The text; bytes that are no UTF-8 are replaced by U+FFFD."""


class ApplyTemplateAnswer(ResponseModel):
    """A prompt."""

    prompt: str
    """The conversation as the model's chat template writes it."""
