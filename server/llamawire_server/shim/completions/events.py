"""Chunks of completions as server-sent events, in the form that OpenAI's own clients accept.

One choice an event; a waiting stream is kept alive with chunks that have no choices; usage comes last. An error is a
plain event whose first key is `error`.
"""

from __future__ import annotations

import time
import uuid

from llamawire.v1 import completion_pb2
from llamawire_server.errors import ServiceError
from llamawire_server.shim.chat.answers import timings, usage
from llamawire_server.shim.completions import answers
from llamawire_server.shim.http.errors import error_body
from llamawire_server.shim.http.event_text import encode, event
from llamawire_server.shim.http.response_types import Json

DONE = b"data: [DONE]\n\n"


class CompletionEvents:
    """Writes the events of one stream. The first chunk names the answer, unless it had to be named before."""

    def __init__(self, model: str, *, include_usage: bool, lists_top: bool) -> None:
        """model: as the request has it. lists_top: whether the likeliest tokens were asked for."""
        self._model = model
        self._include_usage = include_usage
        self._lists_top = lists_top
        self._has_begun = False
        self._names: Json = {}
        self._envelope: Json = {}
        self._prefix = b""
        self._suffix = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._last: Json | None = None

    def write(self, chunk: completion_pb2.CompletionChunk) -> bytes:
        """The events of one chunk; empty where it has no news."""
        if not self._has_begun:
            self._has_begun = True
            self._name(chunk)
        if chunk.HasField("usage"):
            self._last = {"usage": usage(chunk.usage), "timings": timings(chunk.timings)}
        return b"".join(
            [self._chunk([answers.choice(choice, lists_top=self._lists_top)]) for choice in chunk.choices]
        )

    def keep_alive(self) -> bytes:
        """An event without news."""
        if not self._envelope:
            # What clients have been told once must stay the same to the end.
            self._names = {
                "id": f"cmpl-{uuid.uuid4().hex}",
                "created": int(time.time()),
                "model": self._model,
            }
            self._name(completion_pb2.CompletionChunk())
        return self._chunk([])

    def end(self) -> bytes:
        """The events that end a stream which came to its end."""
        if not self._include_usage or self._last is None:
            return DONE
        return event({**self._envelope, "choices": [], **self._last}) + DONE

    def fail(self, error: ServiceError) -> bytes:
        """The last event of a stream that failed."""
        return event(error_body(error))

    def _name(self, chunk: completion_pb2.CompletionChunk) -> None:
        """Take from the first chunk what each event repeats, and encode it once."""
        self._envelope = answers.envelope(chunk) | self._names
        self._prefix = b"data: " + encode(self._envelope)[:-1] + b',"choices":'

    def _chunk(self, choices: list[Json]) -> bytes:
        return self._prefix + encode(choices) + self._suffix
