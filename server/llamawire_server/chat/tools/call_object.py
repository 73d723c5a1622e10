"""Calls that are written as JSON objects: `{"name": …, "arguments": {…}}`, one or a list of them.

Models leave out arguments that a function does not take, write them before the name, nest the call as OpenAI's API
does, forget the last bracket or write one too many. Whatever leaves no doubt is a call.
"""

from __future__ import annotations

import json

from llamawire_server.chat.tools.call_stream import WHITE_SPACE, CallStream, Reading
from llamawire_server.chat.tools.markers import Markers

_NAME_KEYS = ("name", "function")
_ARGUMENT_KEYS = ("arguments", "parameters")
_OTHER_KEYS = ("type", "id")
_CLOSING = WHITE_SPACE + "]}"


def read_marked_calls(stream: CallStream, openings: Markers, *closings: str) -> Reading[None]:
    """An answer with text, and calls between markers; the closing one may be missing.

    openings: one that ends with a bracket begins a list.
    """
    while marker := (yield from stream.text_until(openings)):
        is_list = marker.endswith("[")
        if not (yield from (_read_items(stream) if is_list else read_calls(stream))):
            stream.refuse()
            continue
        # One pair of markers around several objects without brackets.
        while (yield from stream.ahead(WHITE_SPACE + ",")) == "{":
            stream.mark_behind(WHITE_SPACE + ",")
            if not (yield from read_call(stream)):
                stream.go_back()
                break
        yield from stream.close(*closings, behind=_CLOSING)


def read_calls(stream: CallStream) -> Reading[bool]:
    """One call or a list of them. False: it is none, and nothing was sent."""
    if (yield from stream.skip_space()) == "[":
        yield from stream.accept("[")
        return (yield from _read_items(stream))
    return (yield from read_call(stream))


def _read_items(stream: CallStream) -> Reading[bool]:
    """A list of calls behind its bracket."""
    is_first = True
    while (char := (yield from stream.skip_space())) == "{":
        if not is_first:
            stream.mark()
        if not (yield from read_call(stream)):
            if not is_first:
                stream.go_back()
            return not is_first
        is_first = False
        if not (yield from stream.accept(",", behind=WHITE_SPACE)):
            break
    if not char:  # behind a comma
        stream.expect_call()
    yield from stream.accept("]", behind=WHITE_SPACE)
    return not is_first


def read_call(stream: CallStream, *, is_bare: bool = False) -> Reading[bool]:
    """One call. False: it is none, and nothing was sent.

    is_bare: no marker said that a call comes, so an object that doesn't begin like one is none.
    """
    if not (yield from stream.accept("{")):
        return False
    name = ""
    held: str | None = None
    is_begun = False
    while (key := (yield from _read_key(stream))) is not None:
        if is_begun:
            yield from stream.value()
        elif key in _NAME_KEYS:
            if key == "function" and (yield from stream.peek()) == "{":
                is_begun = yield from read_call(stream)
            else:
                name = (yield from _read_string(stream)) or ""
            if not is_begun and not stream.is_tool(name):
                return False
        elif key in _ARGUMENT_KEYS:
            if name and (yield from stream.peek()) == "{":
                stream.begin(name)
                is_begun = True
                yield from stream.arguments()
            else:
                held = yield from _read_arguments(stream)
                if held is None:
                    return False
        elif is_bare and key not in _OTHER_KEYS:
            return False
        else:
            yield from stream.value()
        if not is_begun and name and held is not None:
            stream.begin(name)
            stream.send_arguments(held)
            is_begun = True
        if not (yield from stream.accept(",", behind=WHITE_SPACE)):
            break
    is_closed = yield from stream.accept("}", behind=WHITE_SPACE)
    if is_begun:
        return True
    if not name or not is_closed:
        return False
    stream.begin(name)
    stream.send_arguments("{}")
    return True


def _read_key(stream: CallStream) -> Reading[str | None]:
    """A key and its colon; None where none comes."""
    if (yield from stream.skip_space()) != '"':
        return None
    key = yield from _read_string(stream)
    if key is None or (yield from stream.skip_space()) != ":":
        return None
    yield from stream.accept(":")
    yield from stream.skip_space()
    return key


def _read_string(stream: CallStream) -> Reading[str | None]:
    if (yield from stream.peek()) != '"':
        return None
    text = yield from stream.value()
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, str) else None


def _read_arguments(stream: CallStream) -> Reading[str | None]:
    """The text of an object that was not sent yet; {} for null; None for anything else.

    An object that is written as a string once more is taken out of it.
    """
    first = yield from stream.peek()
    text = yield from stream.value()
    if first == "{" or text is None:
        return text
    if text == "null":
        return "{}"
    try:
        inner = json.loads(text)
        return inner if isinstance(inner, str) and isinstance(json.loads(inner), dict) else None
    except (ValueError, RecursionError):
        return None
