"""What EmbeddingService means: which requests can be answered, how a worker is asked, and what its vectors become."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator
from itertools import islice

from llamawire.v1 import embedding_pb2
from llamawire_server.errors import FieldViolation, invalid
from llamawire_server.service.validation import (
    MAX_EMBEDDING_INPUTS,
    MAX_EMBEDDING_TOKENS,
    MAX_TEXT_BYTES,
    MAX_USER_BYTES,
    MAX_VIOLATIONS,
    RANGES,
    model_violations,
)
from llamawire_server.worker.embedding_messages import Embed, Vectors
from llamawire_server.worker.messages import Loaded

_FLOAT_BYTES = 4

Violations = Iterable[FieldViolation]


def check_embeddings(request: embedding_pb2.CreateEmbeddingsRequest) -> None:
    """Raise ServiceError for a request that no model could answer."""
    if violations := list(islice(_violations(request), MAX_VIOLATIONS)):
        raise invalid(violations)


def check_against_model(request: embedding_pb2.CreateEmbeddingsRequest, facts: Loaded) -> None:
    """Raise ServiceError for what this model can't be asked. What it can't do at all, its worker says."""
    if not facts.embedding_length:
        return
    if violations := list(islice(_model_violations(request, facts), MAX_VIOLATIONS)):
        raise invalid(violations)


def build_embed(
    request: embedding_pb2.CreateEmbeddingsRequest, request_id: int, deadline: float | None = None
) -> Embed:
    """The request as a worker takes it. deadline: the caller's, by time.monotonic."""
    return Embed(
        request_id=request_id,
        arrived=time.monotonic(),
        inputs=[
            entry.text if entry.WhichOneof("input") == "text" else list(entry.tokens.ids)
            for entry in request.input
        ],
        dimensions=request.dimensions if request.HasField("dimensions") else None,
        priority=request.priority,
        deadline=deadline,
    )


class EmbeddingAnswer:
    """The answer to one request, as its vectors come."""

    def __init__(self, model: str) -> None:
        """model: the name that the answer carries."""
        self.response = embedding_pb2.CreateEmbeddingsResponse(model=model)

    def add(self, event: Vectors) -> None:
        """Take in the vectors of the inputs that follow."""
        data, usage = self.response.data, self.response.usage
        for vector in event.vectors:
            values = struct.unpack(f"<{len(vector) // _FLOAT_BYTES}f", vector)
            data.add(index=len(data), values=values)
        usage.prompt_tokens += event.num_tokens
        usage.total_tokens += event.num_tokens


def _violations(request: embedding_pb2.CreateEmbeddingsRequest) -> Violations:
    yield from model_violations(request.model)
    yield from _input_violations(request)
    if request.HasField("dimensions") and request.dimensions < 1:
        yield FieldViolation("dimensions", f"is {request.dimensions}; it must be at least 1")
    if len(request.user.encode()) > MAX_USER_BYTES:
        yield FieldViolation("user", f"is longer than {MAX_USER_BYTES} bytes")
    low, high = RANGES["priority"]
    if not low <= request.priority <= (high or 0):
        yield FieldViolation("priority", f"is {request.priority}; it must be in [{low}, {high}]")


def _input_violations(request: embedding_pb2.CreateEmbeddingsRequest) -> Violations:
    if not request.input:
        yield FieldViolation("input", "must have at least one entry")
    if len(request.input) > MAX_EMBEDDING_INPUTS:
        most = MAX_EMBEDDING_INPUTS
        yield FieldViolation("input", f"has {len(request.input)} entries; at most {most} are allowed")
        return
    num_tokens = 0
    for index, entry in enumerate(request.input):
        kind = entry.WhichOneof("input")
        num_tokens += len(entry.tokens.ids)
        if kind is None or (kind == "tokens" and not entry.tokens.ids) or (kind == "text" and not entry.text):
            yield FieldViolation(f"input[{index}]", "is empty")
        elif len(entry.text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
            yield FieldViolation(f"input[{index}]", f"is longer than {MAX_TEXT_BYTES} bytes")
    if num_tokens > MAX_EMBEDDING_TOKENS:
        yield FieldViolation(
            "input", f"has {num_tokens} tokens in all; at most {MAX_EMBEDDING_TOKENS} are allowed"
        )


def _model_violations(
    request: embedding_pb2.CreateEmbeddingsRequest, facts: Loaded
) -> Iterator[FieldViolation]:
    if request.dimensions > facts.embedding_length:
        yield FieldViolation(
            "dimensions", f"is {request.dimensions}; the model's vectors have {facts.embedding_length}"
        )
    for index, entry in enumerate(request.input):
        for place, token in enumerate(entry.tokens.ids):
            if not 0 <= token < facts.vocabulary_size:
                yield FieldViolation(
                    f"input[{index}].tokens.ids[{place}]", f"{token} is not in [0, {facts.vocabulary_size})"
                )
