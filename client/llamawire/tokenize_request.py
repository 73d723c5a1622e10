"""Requests for tokens, in the forms that come naturally in Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from llamawire.v1 import tokenizer_pb2

TextOrParts: TypeAlias = "str | Iterable[str | Sequence[int]]"
"""A text, or texts and tokens that follow each other."""


def tokenize_request(
    model: str,
    text: TextOrParts,
    *,
    add_special: bool | None,
    parse_special: bool | None,
    unparse_special: bool | None,
) -> tokenizer_pb2.TokenizeRequest:
    """A request for the tokens of a text. None is the same as leaving a field out.

    Raises TypeError for a value of the wrong type.
    """
    message = tokenizer_pb2.TokenizeRequest(
        model=model,
        add_special=add_special,
        parse_special=parse_special,
        unparse_special=unparse_special,
    )
    if isinstance(text, str):
        message.text = text
    else:
        message.parts.extend(_to_part(part) for part in text)
    return message


def _to_part(value: str | Sequence[int]) -> tokenizer_pb2.TokenizeRequest.Part:
    part = tokenizer_pb2.TokenizeRequest.Part
    return part(text=value) if isinstance(value, str) else part(tokens=part.Tokens(tokens=value))
