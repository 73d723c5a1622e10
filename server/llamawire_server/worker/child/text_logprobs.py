"""Which tokens became text of the answer, so that theirs are the log probabilities that its caller gets."""

from __future__ import annotations

from llamawire_server.chat.pipeline import Delta, TextPipeline
from llamawire_server.engine.logprobs import TokenLogprobs


class TextLogprobs:
    """Follows one choice's tokens through its pipeline.

    A token's log probability is given with the text that it is part of, the first of it where that comes in pieces.
    What became reasoning, a marker, a call or a stop string is left out; what is held back waits.
    """

    def __init__(self, pipeline: TextPipeline) -> None:
        """pipeline: is fed by whoever calls `take` afterwards."""
        self._pipeline = pipeline
        self._was_content = pipeline.is_content
        # The bytes of which nothing has come yet, by token. A token of which some has come has no log probability.
        self._waiting: list[tuple[bytes, TokenLogprobs | None]] = []

    @property
    def held(self) -> list[TokenLogprobs]:
        """Those of the last tokens, of whose text nothing has come yet and which are not left out."""
        return [logprobs for _, logprobs in self._waiting if logprobs is not None]

    def take(self, piece: bytes, logprobs: TokenLogprobs | None, delta: Delta) -> list[TokenLogprobs]:
        """Note a token whose bytes were fed, and what came of it; gives those whose text has come by now.

        logprobs: None where they are not known.
        """
        self._waiting.append((piece, logprobs))
        given = self._match(delta.text.encode()) if delta.text else []
        was_content, self._was_content = self._was_content, self._pipeline.is_content
        has_ended_reasoning = not was_content and not delta.text
        if delta.calls or self._pipeline.is_call_open or not self._was_content or has_ended_reasoning:
            self._waiting.clear()
        return given

    def _match(self, text: bytes) -> list[TokenLogprobs]:
        """Those of the waiting tokens that `text` is made of. It comes next, or what is before it was left out."""
        fed = b"".join(piece for piece, _ in self._waiting)
        start = 0 if fed.startswith(text) else fed.rfind(text)
        end = start + len(text)
        if start < 0:
            # Bytes were replaced, or something within was left out: then all of it counts.
            start, end = 0, len(fed)
        given: list[TokenLogprobs] = []
        waiting: list[tuple[bytes, TokenLogprobs | None]] = []
        at = 0
        for piece, logprobs in self._waiting:
            begin, at = at, at + len(piece)
            if begin < end and at > start:
                if logprobs is not None:
                    given.append(logprobs)
                logprobs = None
            if at > end:
                waiting.append((piece[max(0, end - begin) :], logprobs))
        self._waiting = waiting
        return given
