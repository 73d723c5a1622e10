"""Embeddings: requests from keyword arguments, and answers as Python reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, cast

from llamawire.v1 import embedding_pb2

if TYPE_CHECKING:
    from typing_extensions import Unpack

TextLike: TypeAlias = "str | Sequence[int] | embedding_pb2.EmbeddingInput"
"""A text, its tokens, or the proto of either."""


class EmbeddingOptions(TypedDict, total=False):
    """Every field of CreateEmbeddingsRequest. None is the same as leaving a field out."""

    model: str | None
    input: TextLike | Iterable[TextLike] | None
    """One text or several; each may be given as its tokens."""
    dimensions: int | None
    """How many numbers a vector is to have; at most as many as the model's have."""
    user: str | None
    wait_for_model: bool | None
    """Whether to wait for a model that is not loaded. False: the call raises UnavailableError at once, and is not
    tried again, while the model is being loaded."""
    priority: int | None
    """Where the request stands in the model's line: lower goes first, and a step is worth ten seconds of waiting."""


def embedding_request(
    base: embedding_pb2.CreateEmbeddingsRequest | None = None, /, **options: Unpack[EmbeddingOptions]
) -> embedding_pb2.CreateEmbeddingsRequest:
    """A request for embeddings: that of `base`, where it is given, with the options in place of its fields.

    `base` is not changed. Raises TypeError for an unknown option or a value of the wrong type; whether the values
    make sense is for the server to say.
    """
    fields: dict[str, Any] = {}
    for name, value in options.items():
        if name not in embedding_pb2.CreateEmbeddingsRequest.DESCRIPTOR.fields_by_name:
            raise TypeError(f"a request for embeddings has no '{name}'")
        if value is not None:
            given = cast("TextLike | Iterable[TextLike]", value)
            fields[name] = _inputs(given) if name == "input" else value
    built = embedding_pb2.CreateEmbeddingsRequest()
    if base is not None:
        built.CopyFrom(base)
        for name in fields:
            built.ClearField(name)  # type: ignore[arg-type]  # the names were looked up above
    built.MergeFrom(embedding_pb2.CreateEmbeddingsRequest(**fields))
    return built


class EmbeddingList:
    """The vectors of all inputs, in their order: a sequence of lists of numbers."""

    __slots__ = ("proto", "request_id")

    def __init__(self, proto: embedding_pb2.CreateEmbeddingsResponse, request_id: str = "") -> None:
        self.proto = proto
        self.request_id = request_id

    @property
    def model(self) -> str:
        """The model that made them."""
        return self.proto.model

    @property
    def vectors(self) -> list[list[float]]:
        """All of them; each has the length 1, so that the product of two is the cosine of the angle between them."""
        return list(self)

    @property
    def usage(self) -> embedding_pb2.EmbeddingUsage:
        """What they cost in tokens."""
        return self.proto.usage

    def __len__(self) -> int:
        return len(self.proto.data)

    def __getitem__(self, index: int) -> list[float]:
        return list(self.proto.data[index].values)

    def __iter__(self) -> Iterator[list[float]]:
        return (list(embedding.values) for embedding in self.proto.data)

    def __repr__(self) -> str:
        width = len(self.proto.data[0].values) if self.proto.data else 0
        return f"EmbeddingList(model={self.model!r}, {len(self)} vectors of {width} numbers)"


def _inputs(given: TextLike | Iterable[TextLike]) -> list[embedding_pb2.EmbeddingInput]:
    """One text is a list of one. A list of numbers is one text, too: its tokens."""
    if isinstance(given, str | embedding_pb2.EmbeddingInput):
        return [_input(given)]
    texts: list[Any] = list(given)
    if texts and all(isinstance(text, int) for text in texts):
        return [_input(texts)]
    return [_input(text) for text in texts]


def _input(given: TextLike) -> embedding_pb2.EmbeddingInput:
    if isinstance(given, embedding_pb2.EmbeddingInput):
        return given
    if isinstance(given, str):
        return embedding_pb2.EmbeddingInput(text=given)
    return embedding_pb2.EmbeddingInput(tokens=embedding_pb2.EmbeddingTokens(ids=given))
