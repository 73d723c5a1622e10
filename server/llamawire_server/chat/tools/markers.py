"""Fixed texts that begin a call, found in text that comes in pieces."""

from __future__ import annotations

import re


class Markers:
    """A set of markers. None is the beginning of another, so that whichever is complete first is the one."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self._pattern = re.compile("|".join(map(re.escape, texts)))
        self._firsts = frozenset(text[0] for text in texts)
        self._longest = max(map(len, texts))

    def find(self, text: str, at: int) -> re.Match[str] | None:
        """The first marker from `at` on."""
        return self._pattern.search(text, at)

    def num_undecided(self, text: str, at: int) -> int:
        """Length of the longest end of `text`, from `at` on, that is the beginning of a marker."""
        for begin in range(max(at, len(text) - self._longest + 1), len(text)):
            if text[begin] in self._firsts:
                end = text[begin:]
                if any(marker.startswith(end) for marker in self.texts):
                    return len(end)
        return 0
