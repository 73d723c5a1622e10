"""Stop strings, found in text that comes in pieces."""

from __future__ import annotations

from collections.abc import Sequence

from llamawire_server.chat.markers import MarkerSearch


class StopMatcher:
    """Lets text through up to the first stop string, and never a part of one.

    Text that may still turn out to be the beginning of a stop string is held back, and nothing more. The first
    stop string to be complete wins, the earliest in the text of those; so where the pieces are cut changes
    nothing.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """Raises ValueError for an empty stop string."""
        if not all(stops):
            raise ValueError("a stop string is empty")
        self._search = MarkerSearch(stops)
        self.is_stopped = False
        self.matched = ""
        """The stop string that came; empty where none has."""

    def feed(self, text: str) -> str:
        """Take the next piece; gives what can be let through now. After the stop, nothing can."""
        if self.is_stopped:
            return ""
        shown, self.matched, _ = self._search.feed(text)
        self.is_stopped = bool(self.matched)
        return shown

    def flush(self) -> str:
        """What was held back: the text has ended, so it is no stop string."""
        return self._search.flush()
