"""What becomes of one sequence's bytes before they are sent."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from llamawire_server.chat.stop import StopMatcher


class TextPipeline:
    """Bytes of tokens in, text for the caller out: whole UTF-8 characters, cut at a stop string.

    A token may end inside a character, and a stop string may span tokens; what may still become either is held
    back until it is decided or `flush` says that nothing more comes. Bytes that are no UTF-8 become U+FFFD.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._matcher = StopMatcher(stops)

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string has come: nothing after it is text."""
        return self._matcher.is_stopped

    def feed(self, piece: bytes) -> str:
        """Take a token's bytes; gives the text that can be sent now."""
        return self._matcher.feed(self._decoder.decode(piece))

    def flush(self) -> str:
        """The rest: nothing more comes."""
        return self._matcher.feed(self._decoder.decode(b"", final=True)) + self._matcher.flush()
