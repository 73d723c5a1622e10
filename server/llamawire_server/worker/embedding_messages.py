"""What the server and a worker say to each other of embeddings."""

from __future__ import annotations

import msgspec

# Tokens of all inputs of a request for embeddings together, as OpenAI's API has it.
MAX_EMBEDDING_TOKENS = 300_000


class Embed(msgspec.Struct, frozen=True, tag=True):
    """Turn texts into vectors; answered by `Vectors`."""

    request_id: int
    arrived: float
    """When it was sent, by time.monotonic."""

    inputs: list[str | list[int]]
    """Texts, or their tokens."""

    dimensions: int | None = None
    """How many numbers of each vector are wanted; None: all."""

    priority: int = 0
    deadline: float | None = None
    """Both as those of a `Generate`."""

    num_done: int = 0
    """Inputs whose vectors were sent by a worker that died."""

    was_taken: bool = False
    """Whether a worker let it line up already."""


class Vectors(msgspec.Struct, frozen=True, tag=True):
    """The vectors of the next inputs of an `Embed`, in their order."""

    request_id: int
    vectors: list[bytes]
    """Each packed little-endian float32, of length 1."""

    num_tokens: int
    """Of these inputs."""

    is_last: bool
    """Whether they are the last ones."""
