"""Events come out of bytes the same, however these are cut and whatever ends their lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire import MalformedResponseError
from llamawire.dialects import EventParser, ServerSentEvent


def parse(*pieces: bytes, max_event_bytes: int = 1000) -> list[ServerSentEvent]:
    """The events of a stream that came in these pieces, the one that its end cut off included."""
    parser = EventParser(max_event_bytes)
    events = [event for piece in pieces for event in parser.feed(piece)]
    rest = parser.finish()
    return events if rest is None else [*events, rest]


def data(*pieces: bytes) -> list[str]:
    return [event.data for event in parse(*pieces)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data:a\r\n\r\ndata:b\r\n\r\n", ["a", "b"]),
        (b"data: a\r\rdata: b\r\r", ["a", "b"]),
        (b"data:  a \n\n", [" a "]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data: a\ndata\ndata:\n\n", ["a\n\n"]),
        (b": ping\n\n:\n\ndata: a\n\n", ["a"]),
        (b"id: 7\nretry: 10\nunknown: x\ndata: a\n\n", ["a"]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"\n\n\ndata: a\n\n\n\n", ["a"]),
        (b"data: a: b\n\n", ["a: b"]),
        (b"data: a\n", ["a"]),
        (b"data: a", ["a"]),
        (b"event: x\n\n", []),
        (b"{}", []),
        (b"", []),
    ],
)
def test_what_events_are(stream, events):
    assert data(stream) == events


def test_the_type_is_that_of_its_own_event_alone():
    assert parse(b"event: error\ndata: a\n\ndata: b\n\n") == [
        ServerSentEvent("a", "error"),
        ServerSentEvent("b", ""),
    ]


lines = st.sampled_from(
    [b"data: Gr\xc3\xbc\xc3\x9fe", b"data:\xe6\x88\x91", b"data", b": ping", b"event: e", b"id: 1", b"", b""]
)
streams = st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12).map(
    lambda found: b"".join(line + end for line, end in found)
)


@given(streams, st.data())
def test_cuts_change_nothing(stream, draw):
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert parse(*pieces) == parse(stream)


@given(streams)
def test_bytes_one_by_one_change_nothing(stream):
    assert parse(*(bytes([byte]) for byte in stream)) == parse(stream)


@given(streams)
def test_ends_of_lines_change_nothing(stream):
    unix = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    assert parse(unix) == parse(unix.replace(b"\n", b"\r\n")) == parse(unix.replace(b"\n", b"\r"))


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: " + b"x" * 1001],
        [b"data: "] + [b"x" * 100] * 11,
        [b"data: " + b"x" * 99 + b"\n"] * 11,
        [b"data: " + b"x" * 1001 + b"\n\n"],
        [b"x" * 1001],
    ],
)
def test_an_event_that_never_ends_is_an_error(pieces):
    with pytest.raises(MalformedResponseError, match="more than 1000 bytes") as caught:
        parse(*pieces)

    assert caught.value.reason == "EVENT_TOO_LARGE"
    assert caught.value.raw.endswith("x")
    assert len(caught.value.raw) <= 200


def test_a_long_stream_of_small_events_is_none():
    assert len(data(b"data: " + b"x" * 900 + b"\n\n", *[b": ping\n\ndata: abc\n\n"] * 500)) == 501


def test_an_event_that_is_as_large_as_it_may_be():
    assert data(b"data:" + b"x" * 995, b"\n\n") == ["x" * 995]


def test_text_that_is_no_utf_8_is_an_error_and_comes_after_what_was_before():
    parser = EventParser()
    events = parser.feed(b"data: a\n\ndata: \xff\n\ndata: b\n\n")

    assert next(events).data == "a"
    with pytest.raises(MalformedResponseError, match="no UTF-8") as caught:
        next(events)
    assert caught.value.raw == "\\xff"
