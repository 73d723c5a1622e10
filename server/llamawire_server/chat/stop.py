"""Stop strings, found in text that comes in pieces."""

from __future__ import annotations

from collections.abc import Sequence


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
        self._stops = tuple(stops)
        self._held = ""
        self.is_stopped = False

    def feed(self, text: str) -> str:
        """Take the next piece; gives what can be let through now. After the stop, nothing can."""
        if self.is_stopped:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        found = self._find(text)
        if found is not None:
            self.is_stopped = True
            self._held = ""
            return text[:found]
        kept = self._num_undecided(text)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def flush(self) -> str:
        """What was held back: the text has ended, so it is no stop string."""
        held, self._held = self._held, ""
        return held

    def _find(self, text: str) -> int | None:
        """Where the stop string begins that is complete first."""
        matches = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        return min(matches)[1] if matches else None

    def _num_undecided(self, text: str) -> int:
        """Length of the longest end of `text` that is the beginning of a stop string."""
        longest = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(text)), longest, -1):
                if text.endswith(stop[:length]):
                    longest = length
                    break
        return longest
