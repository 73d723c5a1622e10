"""Streams of chunks that all bear the answer's name, as OpenAI's completions of either kind have them."""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from llamawire.v1 import chat_pb2, completion_pb2
from llamawire_server.errors import ServiceError
from llamawire_server.shim.http.answer_cost import cost
from llamawire_server.shim.http.errors import error_body
from llamawire_server.shim.http.event_text import encode, event
from llamawire_server.shim.http.response_types import Json

DONE = b"data: [DONE]\n\n"

ChunkT = TypeVar("ChunkT", chat_pb2.ChatCompletionChunk, completion_pb2.CompletionChunk)


class NamedChunkEvents(ABC, Generic[ChunkT]):
    """Writes the events of one stream. The first chunk names the answer, unless it had to be named before."""

    def __init__(
        self, model: str, include_usage: bool, continuous_usage: bool, *, id_prefix: str, unnamed: ChunkT
    ) -> None:
        """model: as the request has it. continuous_usage: whether every chunk has the usage by then. id_prefix:
        begins the id of an answer that has to be named here. unnamed: a chunk with nothing in it."""
        self._model = model
        self._include_usage = include_usage
        self._continuous_usage = continuous_usage
        self._id_prefix = id_prefix
        self._unnamed: ChunkT = unnamed
        self._has_begun = False
        self._names: Json = {}
        self._envelope: Json = {}
        self._prefix = b""
        self._suffix = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._last: Json | None = None

    def write(self, chunk: ChunkT) -> bytes:
        """The events of one chunk; empty where it has no news."""
        if not self._has_begun:
            self._has_begun = True
            self._name(chunk)
        if chunk.HasField("usage"):
            self._last = cost(chunk)
            if self._continuous_usage:
                self._suffix = b',"usage":%b}\n\n' % encode(self._last["usage"])
        return self._choices(chunk)

    def keep_alive(self) -> bytes:
        """An event without news."""
        if not self._envelope:
            # What clients have been told once must stay the same to the end.
            self._names = {
                "id": f"{self._id_prefix}-{uuid.uuid4().hex}",
                "created": int(time.time()),
                "model": self._model,
            }
            self._name(self._unnamed)
        return self._chunk([])

    def end(self) -> bytes:
        """The events that end a stream which came to its end."""
        if not self._include_usage or self._last is None:
            return DONE
        return event({**self._envelope, "choices": [], **self._last}) + DONE

    def fail(self, error: ServiceError) -> bytes:
        """The last event of a stream that failed."""
        return event(error_body(error))

    @abstractmethod
    def _envelope_of(self, chunk: ChunkT) -> Json:
        """What the chunk says of the whole answer."""

    @abstractmethod
    def _choices(self, chunk: ChunkT) -> bytes:
        """The events of what is new in the chunk's choices."""

    def _name(self, chunk: ChunkT) -> None:
        """Take from the first chunk what each event repeats, and encode it once."""
        self._envelope = self._envelope_of(chunk) | self._names
        self._prefix = b"data: " + encode(self._envelope)[:-1] + b',"choices":'

    def _chunk(self, choices: list[Json]) -> bytes:
        return self._prefix + encode(choices) + self._suffix
