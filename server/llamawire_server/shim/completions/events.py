"""Chunks of completions as server-sent events, in the form that OpenAI's own clients accept.

One choice an event; a waiting stream is kept alive with chunks that have no choices; usage comes last. An error is a
plain event whose first key is `error`.
"""

from __future__ import annotations

from llamawire.v1 import completion_pb2
from llamawire_server.shim.completions import answers
from llamawire_server.shim.http.chunk_events import NamedChunkEvents
from llamawire_server.shim.http.response_types import Json


class CompletionEvents(NamedChunkEvents[completion_pb2.CompletionChunk]):
    """Writes the events of one call's choices."""

    def __init__(
        self, model: str, *, include_usage: bool, lists_top: bool, continuous_usage: bool = False
    ) -> None:
        """model: as the request has it. lists_top: whether the likeliest tokens were asked for. continuous_usage:
        whether every chunk has the usage by then."""
        unnamed = completion_pb2.CompletionChunk()
        super().__init__(model, include_usage, continuous_usage, id_prefix="cmpl", unnamed=unnamed)
        self._lists_top = lists_top

    def _envelope_of(self, chunk: completion_pb2.CompletionChunk) -> Json:
        return answers.envelope(chunk)

    def _choices(self, chunk: completion_pb2.CompletionChunk) -> bytes:
        return b"".join(
            [self._chunk([answers.choice(choice, lists_top=self._lists_top)]) for choice in chunk.choices]
        )
