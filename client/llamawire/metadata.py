"""What rides beside a call: gRPC metadata, and the request id in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import TypeAlias

# The server logs a call under this id and sends it back.
REQUEST_ID_KEY = "x-request-id"

Received: TypeAlias = "Iterable[tuple[str, str | bytes]] | None"
Pairs: TypeAlias = "tuple[tuple[str, str | bytes], ...]"
Metadata: TypeAlias = "Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]"


def to_pairs(metadata: Metadata | None) -> Pairs:
    """The metadata as gRPC takes it, keys in lower case, as HTTP/2 demands."""
    if metadata is None:
        return ()
    pairs = metadata.items() if isinstance(metadata, Mapping) else metadata
    return tuple((key.lower(), value) for key, value in pairs)


def find_request_id(metadata: Received) -> str:
    """The request id in received metadata, "" where there is none."""
    for key, value in metadata or ():
        if key == REQUEST_ID_KEY:
            return value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return ""


def with_request_id(pairs: Pairs, request_id: str | None) -> tuple[Pairs, str]:
    """The metadata with exactly one request id, and that id: the given one, the last one in it, or a new one."""
    chosen = request_id or find_request_id(reversed(pairs)) or uuid.uuid4().hex
    others = tuple(pair for pair in pairs if pair[0] != REQUEST_ID_KEY)
    return (*others, (REQUEST_ID_KEY, chosen)), chosen
