"""Requests for tokens, from llama-server's form to the gRPC contract's, and the names of their fields back again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import accumulate, groupby

from llamawire.v1 import tokenizer_pb2
from llamawire_server.errors import invalid_field
from llamawire_server.service.validation import MAX_TOKENIZE_PARTS
from llamawire_server.shim.tokens.schema import TokenizeRequest

Part = tokenizer_pb2.TokenizeRequest.Part

_PART = re.compile(r"^parts\[(?P<number>\d+)](\.tokens\[(?P<token>\d+)])?")


def to_tokenize_request(asked: TokenizeRequest) -> tokenizer_pb2.TokenizeRequest:
    """The same request for a `Service`. Raises ServiceError (INVALID) where its content is in too many parts."""
    # llama-server's defaults are the other way round than those of the gRPC side.
    message = tokenizer_pb2.TokenizeRequest(
        model=asked.model,
        add_special=bool(asked.add_special),
        parse_special=asked.parse_special is not False,
        unparse_special=True,
    )
    if isinstance(asked.content, str):
        message.text = asked.content
        return message
    for part in _parts(asked.content or []):
        if len(message.parts) == MAX_TOKENIZE_PARTS:
            # Going through the others would take time in which everybody waits.
            most = f"at most {MAX_TOKENIZE_PARTS} are allowed"
            raise invalid_field("content", f"has too many texts and runs of tokens: {most}")
        message.parts.append(part)
    return message


def renaming(message: tokenizer_pb2.TokenizeRequest) -> Callable[[str], str]:
    """From a field's name in the gRPC request to the one that its caller used."""
    lengths = (1 if part.HasField("text") else len(part.tokens.tokens) for part in message.parts)
    places = list(accumulate(lengths, initial=0))

    def rename(name: str) -> str:
        if found := _PART.match(name):
            return f"content[{places[int(found['number'])] + int(found['token'] or 0)}]"
        return "content" if name in ("text", "parts") else name

    return rename


def _parts(content: list[str | int]) -> Iterator[tokenizer_pb2.TokenizeRequest.Part]:
    """Each text, and the tokens between two of them together."""
    for _, entries in groupby(content, key=type):
        run = list(entries)
        if tokens := [entry for entry in run if isinstance(entry, int)]:
            yield Part(tokens=Part.Tokens(tokens=tokens))
        yield from (Part(text=entry) for entry in run if isinstance(entry, str))
