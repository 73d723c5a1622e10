"""What becomes of one sequence's bytes before they are sent."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field

from llamawire_server.chat.call_margins import CallMargins
from llamawire_server.chat.channels import Channel, ChannelSplitter
from llamawire_server.chat.stop import StopMatcher
from llamawire_server.chat.tools import CallDelta, CallParser


@dataclass(slots=True)
class Delta:
    """What new bytes bring a caller."""

    text: str = ""
    reasoning: str = ""
    calls: list[CallDelta] = field(default_factory=list)


class TextPipeline:
    """Bytes of tokens in; text, reasoning and tool calls for the caller out.

    Whole UTF-8 characters, told apart by channel; in the content's, tool calls are told from text; the text is cut
    at a stop string, after which nothing comes at all; and of what is left, white space around calls is left out. So
    a stop string may be in white space around a call, and none has a call inside. A token may end inside a
    character, a marker may span tokens, and so may a stop string; what may still become any of these is held back
    until it is decided or `flush` says that nothing more comes. Bytes that are no UTF-8 become U+FFFD.
    """

    def __init__(
        self, stops: Sequence[str], splitter: ChannelSplitter | None = None, parser: CallParser | None = None
    ) -> None:
        """splitter: None where all is content. parser: None where nothing in it is a call."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._splitter = splitter
        self._parser = parser
        self._has_calls = False
        self._matcher = StopMatcher(stops)
        self._margins = CallMargins()

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string has come: nothing after it is part of the answer."""
        return self._matcher.is_stopped

    @property
    def matched_stop(self) -> str:
        """The stop string that came; empty where none has."""
        return self._matcher.matched

    @property
    def is_reasoning(self) -> bool:
        """Whether what comes next is reasoning, as far as is known."""
        return self._splitter is not None and self._splitter.channel is Channel.REASONING

    @property
    def is_content(self) -> bool:
        """Whether what comes next is part of the answer, as far as is known: text, or a call."""
        return self._splitter is None or self._splitter.channel is Channel.CONTENT

    @property
    def is_inside_character(self) -> bool:
        """Whether the bytes so far end within what may be a character."""
        return bool(self._decoder.getstate()[0])

    @property
    def has_calls(self) -> bool:
        """Whether any function was called."""
        return self._has_calls

    @property
    def is_call_open(self) -> bool:
        """Whether a call has begun and not ended."""
        return self._parser is not None and self._parser.is_open and not self.is_stopped

    @property
    def ends_with_call(self) -> bool:
        """After `flush`: whether the last of the answer is a whole call."""
        return self._parser is not None and self._parser.ends_with_call and self.is_content

    def feed(self, piece: bytes) -> Delta:
        """Take a token's bytes; gives what can be sent now."""
        text = self._decoder.decode(piece)
        if self._splitter is None and self._parser is None:
            return Delta(self._matcher.feed(text))
        delta = Delta()
        if text:
            self._split(text, delta)
        return delta

    def flush(self) -> Delta:
        """The rest: nothing more comes."""
        delta = Delta()
        if text := self._decoder.decode(b"", final=True):
            self._split(text, delta)
        if self._splitter is not None:
            for channel, text in self._splitter.flush():
                self._sort(channel, text, delta)
        if self._parser is not None:
            self._take(self._parser.flush(), delta)
            delta.text += self._margins.feed(self._matcher.flush()) + self._margins.flush()
        else:
            delta.text += self._matcher.flush()
        return delta

    def _split(self, text: str, delta: Delta) -> None:
        if self._splitter is None:
            self._sort(Channel.CONTENT, text, delta)
            return
        for channel, part in self._splitter.feed(text):
            self._sort(channel, part, delta)

    def _sort(self, channel: Channel, text: str, delta: Delta) -> None:
        if self.is_stopped:
            return
        if channel is Channel.REASONING:
            delta.reasoning += text
        elif channel is Channel.CONTENT and self._parser is not None:
            self._take(self._parser.feed(text), delta)
        elif channel is Channel.CONTENT:
            delta.text += self._matcher.feed(text)

    def _take(self, parts: list[str | CallDelta], delta: Delta) -> None:
        """Add what the parser found, up to a stop string."""
        for part in parts:
            if self.is_stopped:
                return
            if isinstance(part, str):
                delta.text += self._margins.feed(self._matcher.feed(part))
                if self.is_stopped:
                    delta.text += self._margins.flush()
                continue
            if part.name:
                # What the text before the call ends with begins no stop string any more.
                delta.text += self._margins.feed(self._matcher.flush())
                self._margins.note_call()
            delta.calls.append(part)
            self._has_calls = True
