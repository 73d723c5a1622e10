"""White space around tool calls, which is no part of the content."""

from __future__ import annotations

from llamawire_server.chat.tools.call_stream import WHITE_SPACE


class CallMargins:
    """Lets the text around calls through as content, without the white space before, between and behind calls.

    What stands between two parts of the content is content, though calls may stand there too. White space is held
    back until it is known what comes behind it.
    """

    def __init__(self) -> None:
        self._held = ""
        """White space at the end of the text so far."""
        self._num_held_before_calls = 0
        """How much of it was there before the latest calls, in characters."""
        self._has_content = False
        self._is_behind_call = False

    def feed(self, text: str) -> str:
        """Take more text; gives what is content by now."""
        text = self._held + text
        content = text.rstrip(WHITE_SPACE)
        self._held = text[len(content) :]
        if not content:
            return ""
        if self._is_behind_call and not self._has_content:
            content = content.lstrip(WHITE_SPACE)
        self._has_content = True
        self._is_behind_call = False
        return content

    def note_call(self) -> None:
        """A call has begun behind the text so far."""
        if self._is_behind_call:
            self._held = self._held[: self._num_held_before_calls]
        self._num_held_before_calls = len(self._held)
        self._is_behind_call = True

    def flush(self) -> str:
        """What was held back: no more text comes, and no call."""
        held, self._held = self._held, ""
        return "" if self._is_behind_call else held
