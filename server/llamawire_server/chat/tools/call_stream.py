"""An answer's text as it comes, for code that reads calls out of it as if it were all there."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from llamawire_server.chat.tools.json_scanner import JsonScanner
from llamawire_server.chat.tools.markers import Markers
from llamawire_server.chat.tools.tool_format import CallDelta, Tool

WHITE_SPACE = " \t\r\n"
# No name and no header that a call begins with is as long.
MAX_WORD_LENGTH = 512

Result = TypeVar("Result")
Reading = Generator[None, None, Result]
"""Code that waits for more text wherever it yields."""


class CallStream:
    """Lets content through, and sends calls, as a family's `read` tells them apart.

    `read` is a generator over this stream. It decides by what has come and never by how it was cut, and yields
    (through the methods here) where that is too little. Where what looked like a call turns out to be none, it goes
    back to the mark and lets the marker through as content; so nothing of a call may be sent before it is sure to
    be one, which `begin` says.

    White space around calls comes as content does, and as soon: there may be a stop string in it. Whoever looks for
    those leaves it out then.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        next_id: Callable[[], str],
        read: Callable[[CallStream], Reading[None]],
        *,
        is_either: bool = False,
    ) -> None:
        """is_either: whether an answer is content or calls, so that content has none in it."""
        self._is_either = is_either
        self._has_content = False
        self._tools = {tool.name: tool for tool in tools}
        self._next_id = next_id
        self._text = ""
        self._at = 0
        """How far `_text` is read."""
        self._mark: int | None = None
        self._marker_length = 0
        self._is_ended = False
        self._out: list[str | CallDelta] = []
        self._is_behind_call = False
        self._expects_call = False
        self._num_calls = 0
        self._is_open = False
        self._reading = read(self)

    @property
    def num_calls(self) -> int:
        """How many calls were begun."""
        return self._num_calls

    @property
    def is_open(self) -> bool:
        """Whether a call's arguments have begun and not ended."""
        return self._is_open

    @property
    def ends_with_call(self) -> bool:
        """After `flush`: whether the last of the answer is a whole call, with nothing begun behind it."""
        return self._is_behind_call and not self._is_open and not self._expects_call

    @property
    def is_ended(self) -> bool:
        """Whether nothing more comes, for code that has found too little of something."""
        return self._is_ended

    def feed(self, text: str) -> list[str | CallDelta]:
        """Take more text; gives the content and the calls that are decided now."""
        if not text:
            return []
        kept = self._at if self._mark is None else self._mark
        self._text = self._text[kept:] + text
        self._at -= kept
        if self._mark is not None:
            self._mark = 0
        return self._go_on()

    def flush(self) -> list[str | CallDelta]:
        """The rest: nothing more comes."""
        self._is_ended = True
        return self._go_on()

    def _go_on(self) -> list[str | CallDelta]:
        next(self._reading, None)
        out, self._out = self._out, []
        return _joined(out)

    # For `read`: content.

    def text_until(self, markers: Markers) -> Reading[str]:
        """Let content through up to a marker, which is taken and marked; gives it, or "" at the end."""
        while True:
            found = markers.find(self._text, self._at)
            if found and not self._is_content_before(found.start()):
                self._let_through(found.start())
                self.mark(len(found.group()))
                self._at = found.end()
                return found.group()
            if self._is_ended:
                self._let_through(len(self._text))
                return ""
            num_undecided = 0 if found else markers.num_undecided(self._text, self._at)
            self._let_through(len(self._text) - num_undecided)
            yield

    def _is_content_before(self, at: int) -> bool:
        """Whether all is content from here on, as what stands before this place is."""
        return self._is_either and (self._has_content or bool(self._text[self._at : at].strip(WHITE_SPACE)))

    def mark(self, marker_length: int = 0) -> None:
        """Where to go back to if what comes is no call; the marker's length, in characters."""
        self._mark = self._at
        self._marker_length = marker_length

    def mark_behind(self, skipped: str) -> None:
        """Mark this place and go on behind any of the characters `skipped`, which are the marker with the next."""
        self.mark()
        while self._text[self._at] in skipped:
            self._at += 1
        self._marker_length = self._at + 1 - (self._mark or 0)

    def refuse(self) -> None:
        """What was read since the mark is no call: its marker is content, and what follows is looked at again.

        Where the answer ended before that could be said, all of it is content.
        """
        if self._mark is None:
            return
        is_cut = self._is_ended and self._at >= len(self._text)
        self._at = self._mark
        self._let_through(len(self._text) if is_cut else self._mark + self._marker_length)
        self._mark = None

    def forget(self) -> None:
        """What was read since the mark is neither a call nor content."""
        self._mark = None

    def go_back(self) -> None:
        """To the mark, as if nothing had been read since."""
        if self._mark is not None:
            self._at = self._mark
            self._mark = None

    def _let_through(self, end: int) -> None:
        text = self._text[self._at : end]
        self._at = end
        if text:
            self._out.append(text)
            has_content = bool(text.strip(WHITE_SPACE))
            self._has_content = self._has_content or has_content
            self._is_behind_call = self._is_behind_call and not has_content

    # For `read`: looking at what comes. Nothing is taken where what is looked for does not come.

    def peek(self) -> Reading[str]:
        """The next character; "" at the end."""
        return (yield from self.ahead(""))

    def ahead(self, skipped: str) -> Reading[str]:
        """The next character that is none of `skipped`, without taking any; "" at the end.

        Where no call has begun and nothing is marked, what is skipped is content, and is let through at once.
        """
        offset = 0
        while True:
            if self._mark is None and not self._num_calls:
                come = self._text[self._at :]
                self._let_through(len(self._text) - len(come.lstrip(skipped)))
            while self._at + offset < len(self._text):
                char = self._text[self._at + offset]
                if char not in skipped:
                    return char
                offset += 1
            if self._is_ended:
                return ""
            yield

    def skip_space(self) -> Reading[str]:
        """Take white space; gives the character behind it, which is not taken, or "" at the end."""
        while True:
            char = yield from self.peek()
            if not char or char not in WHITE_SPACE:
                return char
            self._at += 1

    def comes(self, *texts: str, behind: str = "") -> Reading[bool]:
        """Whether one of the texts comes, behind any of the characters `behind`. Nothing is taken."""
        return (yield from self._find(texts, behind)) is not None

    def accept(self, *texts: str, behind: str = "") -> Reading[bool]:
        """Take one of the texts, with any of the characters `behind` before it, if it comes; says whether it did."""
        end = yield from self._find(texts, behind)
        if end is None:
            return False
        self._at = end
        return True

    def _find(self, texts: Sequence[str], behind: str) -> Reading[int | None]:
        """Where the text ends that comes next; None where none of them does."""
        offset = 0
        while True:
            while self._at + offset < len(self._text) and self._text[self._at + offset] in behind:
                offset += 1
            for text in texts:
                if self._text.startswith(text, self._at + offset):
                    return self._at + offset + len(text)
            come = self._text[self._at + offset :]
            if self._is_ended or not any(text.startswith(come) for text in texts):
                return None
            yield

    def close(self, *texts: str, behind: str = "") -> Reading[None]:
        """Take one of the texts if it comes, as `accept` does; where the answer ends before, what there is of it."""
        if (yield from self.accept(*texts, behind=behind)) or not self._is_ended:
            return
        come = self._text[self._at :].lstrip(behind or WHITE_SPACE)
        if any(text.startswith(come) for text in texts):
            self._at = len(self._text)

    def until(self, text: str) -> Reading[str | None]:
        """Take what comes up to `text`, and that; gives the former, None where it would be too long."""
        while True:
            limit = self._at + MAX_WORD_LENGTH
            found = self._text.find(text, self._at, limit)
            if found >= 0:
                come = self._text[self._at : found]
                self._at = found + len(text)
                return come
            if self._is_ended or len(self._text) >= limit:
                return None
            yield

    def word(self, pattern: re.Pattern[str]) -> Reading[str]:
        """Take what comes as far as it fits the pattern, a run of one kind of characters."""
        while True:
            limit = self._at + MAX_WORD_LENGTH
            found = pattern.match(self._text, self._at, limit)
            end = found.end() if found else self._at
            if end < len(self._text) or end >= limit or self._is_ended:
                come = self._text[self._at : end]
                self._at = end
                return come
            yield

    def word_before(self, ends: Markers, most: int) -> Reading[str | None]:
        """Take what comes up to one of the ends, and that; gives the former, None where it is longer than `most`
        characters or has no end."""
        while True:
            found = ends.find(self._text, self._at)
            decided = len(self._text) - ends.num_undecided(self._text, self._at)
            if (found.start() if found else decided) - self._at > most or (self._is_ended and not found):
                return None
            if found:
                come = self._text[self._at : found.start()]
                self._at = found.end()
                return come
            yield

    def pass_on(self, ends: Markers, take: Callable[[str], None]) -> Reading[str]:
        """Give `take` what comes up to one of the ends, as it comes, and take the end; gives that, or "" where the
        answer ends before it."""
        while True:
            found = ends.find(self._text, self._at)
            end = found.start() if found else len(self._text) - ends.num_undecided(self._text, self._at)
            if end > self._at:
                take(self._text[self._at : end])
            self._at = found.end() if found else end
            if found or self._is_ended:
                return found.group() if found else ""
            yield

    def value(self) -> Reading[str | None]:
        """Take a JSON value; gives its text, None where the answer ends inside it."""
        scanner = JsonScanner()
        parts = []
        while True:
            end = scanner.feed(self._text, self._at)
            parts.append(self._text[self._at : end])
            self._at = len(self._text) if end is None else end
            if end is not None or (self._is_ended and scanner.is_scalar):
                return "".join(parts)
            if self._is_ended:
                return None
            yield

    # For `read`: calls.

    def is_tool(self, name: str) -> bool:
        """Whether it is the name of one of the tools."""
        return name in self._tools

    def tool(self, name: str) -> Tool:
        """The tool of this name, which there is."""
        return self._tools[name]

    def expect_call(self) -> None:
        """What was read says that another call comes."""
        self._expects_call = True

    def begin(self, name: str) -> None:
        """It is a call, whatever comes now."""
        self._mark = None
        self._is_open = True
        self._expects_call = False
        self._is_behind_call = True
        self._out.append(CallDelta(self._num_calls, self._next_id(), name))
        self._num_calls += 1

    def arguments(self) -> Reading[None]:
        """Send the JSON value that comes as the arguments of the call that was begun, as it comes."""
        if (yield from self.part_of_arguments()):
            self._is_open = False

    def part_of_arguments(self) -> Reading[bool]:
        """Send the JSON value that comes as more of the arguments, as it comes; False where the answer ends inside
        it."""
        scanner = JsonScanner()
        while True:
            end = scanner.feed(self._text, self._at)
            self.send(self._text[self._at : end])
            self._at = len(self._text) if end is None else end
            if end is not None:
                return True
            if self._is_ended:
                return False
            yield

    def send_arguments(self, text: str) -> None:
        """Send all of the arguments of the call that was begun, or all that was left of them."""
        self.send(text)
        self._is_open = False

    def send(self, arguments: str) -> None:
        """Send more of the arguments of the call that was begun."""
        if arguments:
            self._out.append(CallDelta(self._num_calls - 1, arguments=arguments))

    def drop_rest(self) -> None:
        """What is left of the answer is the beginning of what would have closed a call."""
        self._at = len(self._text)


def _joined(out: list[str | CallDelta]) -> list[str | CallDelta]:
    """With neighbouring pieces of the content as one, and those of one call's arguments."""
    if len(out) < 2:
        return out
    joined: list[str | CallDelta] = []
    for piece in out:
        last = joined[-1] if joined else None
        if isinstance(piece, str):
            if isinstance(last, str):
                joined[-1] = last + piece
                continue
        elif isinstance(last, CallDelta) and not last.name and not piece.name and last.index == piece.index:
            joined[-1] = CallDelta(piece.index, arguments=last.arguments + piece.arguments)
            continue
        joined.append(piece)
    return joined
