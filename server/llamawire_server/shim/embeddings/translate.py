"""Embeddings, from OpenAI's form to the gRPC contract's and back. Pure functions."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable
from typing import Any

from llamawire.v1 import embedding_pb2
from llamawire_server.shim.embeddings.request_schema import EmbeddingRequest
from llamawire_server.shim.http.response_types import Json

# What the gRPC request calls an input, and a token of one.
_INPUT = re.compile(r"^input\[(\d+)]$")
_TOKEN = re.compile(r"^input\[(\d+)]\.tokens\.ids\[(\d+)]$")


def to_request(asked: EmbeddingRequest) -> embedding_pb2.CreateEmbeddingsRequest:
    """The same request for a `Service`."""
    request = embedding_pb2.CreateEmbeddingsRequest(
        model=asked.model,
        user=asked.user or "",
        dimensions=asked.dimensions,
        wait_for_model=asked.wait_for_model,
        priority=asked.priority,
    )
    for entry in [asked.input] if _is_single(asked) else asked.input:
        if isinstance(entry, str):
            request.input.add(text=entry)
        else:
            tokens = embedding_pb2.EmbeddingTokens(ids=entry)  # type: ignore[arg-type]
            request.input.add(tokens=tokens)
    return request


def renaming(asked: EmbeddingRequest) -> Callable[[str], str]:
    """From the gRPC request's names of fields to those that the caller used."""
    is_single = _is_single(asked)

    def rename(field: str) -> str:
        if (found := _TOKEN.match(field)) is not None:
            return f"input[{found[2]}]" if is_single else f"input[{found[1]}][{found[2]}]"
        return "input" if is_single and _INPUT.match(field) else field

    return rename


def embedding_list(answer: embedding_pb2.CreateEmbeddingsResponse, *, as_base64: bool) -> Json:
    """The answer. as_base64: whether vectors are written as Base64 of little-endian float32."""
    encode: Callable[[embedding_pb2.Embedding], Any] = _base64 if as_base64 else _numbers
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": source.index, "embedding": encode(source)}
            for source in answer.data
        ],
        "model": answer.model,
        "usage": {
            "prompt_tokens": answer.usage.prompt_tokens,
            "total_tokens": answer.usage.total_tokens,
        },
    }


def _is_single(asked: EmbeddingRequest) -> bool:
    """Whether there is one input, and not a list of them."""
    return isinstance(asked.input, str) or (bool(asked.input) and isinstance(asked.input[0], int))


def _numbers(source: embedding_pb2.Embedding) -> list[float]:
    return list(source.values)


def _base64(source: embedding_pb2.Embedding) -> str:
    return base64.b64encode(struct.pack(f"<{len(source.values)}f", *source.values)).decode()
