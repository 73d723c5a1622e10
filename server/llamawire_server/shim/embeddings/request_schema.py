"""OpenAI's request for embeddings, as it is validated and as the OpenAPI description shows it.

Only form is checked here; None always means absent. Ranges are the service's to check.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from llamawire_server.errors import invalid_field
from llamawire_server.service.validation import MAX_EMBEDDING_INPUTS, MAX_EMBEDDING_TOKENS
from llamawire_server.shim.http.request_types import Int32, List
from llamawire_server.shim.http.waiting_fields import WaitingFields


def _tag_of_input(value: object) -> str | None:
    """Tells the forms of `input` apart; a list is what its first entry is."""
    if isinstance(value, str):
        return "|string"
    if not isinstance(value, list):
        return None
    first = value[0] if value else ""
    if isinstance(first, str):
        return "|strings"
    if isinstance(first, list):
        return "|token lists"
    return "|tokens" if isinstance(first, int) else None


Input = Annotated[
    Annotated[str, Tag("|string")]
    | Annotated[List[str], Tag("|strings")]
    | Annotated[List[Int32], Tag("|tokens")]
    | Annotated[List[List[Int32]], Tag("|token lists")],
    Discriminator(_tag_of_input),
]


class EmbeddingRequest(WaitingFields):
    """Asks for the vectors of texts."""

    model: str
    """The model's name."""
    input: Input
    """A text, or up to 2,048 of them; each may be given as its tokens instead. None is empty."""
    encoding_format: Literal["float", "base64"] | None = None
    """How vectors are written: as numbers, or as the Base64 of little-endian 32-bit floats. Default "float"."""
    dimensions: Int32 | None = None
    """How many numbers a vector is to have; at most as many as the model's have. Default: all."""
    user: str | None = None
    """Names the end user. Accepted; has no effect."""


def check_size(body: dict[str, Any]) -> None:
    """Raise ServiceError for more inputs than are looked at, before any is: everybody waits meanwhile."""
    given = body.get("input")
    if not isinstance(given, list) or not given:
        return
    most = MAX_EMBEDDING_TOKENS if isinstance(given[0], int) else MAX_EMBEDDING_INPUTS
    if len(given) > most:
        raise invalid_field("input", f"has {len(given)} entries; at most {most} are allowed")
