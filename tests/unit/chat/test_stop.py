"""Stop strings, at every possible split of the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.chat.pipeline import TextPipeline
from llamawire_server.chat.stop import StopMatcher


def first_complete(text: str, stops: list[str]) -> str:
    """What may be shown of the text, by reading it a character at a time."""
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)]
    return text


def feed(matcher: StopMatcher, pieces: list[str]) -> list[str]:
    return [matcher.feed(piece) for piece in pieces] + ([] if matcher.is_stopped else [matcher.flush()])


@given(
    text=st.text("ab<|", max_size=24),
    stops=st.lists(st.text("ab<|", min_size=1, max_size=5), min_size=1, max_size=4),
    data=st.data(),
)
def test_any_split_shows_the_same_and_never_a_part_of_a_stop(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=10)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    matcher = StopMatcher(stops)
    shown = ""
    for out in feed(matcher, pieces):
        shown += out
        assert first_complete(text, stops).startswith(shown)
    assert shown == first_complete(text, stops)
    assert matcher.is_stopped == (shown != text)
    assert matcher.matched in (stops if matcher.is_stopped else [""])
    if matcher.is_stopped:
        assert text.startswith(shown + matcher.matched)


def test_nothing_is_held_back_that_can_be_decided() -> None:
    matcher = StopMatcher(["<end>", "###"])
    pieces = ["a<", "b", "c<en", "x>", "##", "x"]
    assert [matcher.feed(piece) for piece in pieces] == ["a", "<b", "c", "<enx>", "", "##x"]
    assert not matcher.is_stopped


def test_without_stops_everything_passes_at_once() -> None:
    matcher = StopMatcher([])
    assert matcher.feed("abc") == "abc"
    assert matcher.flush() == ""


def test_after_the_stop_nothing_passes() -> None:
    matcher = StopMatcher(["X"])
    assert matcher.feed("aXb") == "a"
    assert matcher.is_stopped
    assert matcher.feed("c") == ""


def test_an_empty_stop_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        StopMatcher(["a", ""])


@given(text=st.text(max_size=20), data=st.data())
def test_bytes_split_anywhere_come_out_as_whole_characters(text: str, data: st.DataObject) -> None:
    raw = text.encode("utf-8", "replace")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=20)))
    pipeline = TextPipeline([])
    pieces = [pipeline.feed(raw[a:b]).text for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert "".join(pieces) + pipeline.flush().text == raw.decode("utf-8")
    assert all("�" not in piece for piece in pieces) or "�" in raw.decode("utf-8")


@given(raw=st.binary(max_size=24), data=st.data())
def test_bytes_that_are_no_utf8_are_replaced_the_same_way_at_any_split(
    raw: bytes, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=20)))
    pipeline = TextPipeline([])
    text = "".join(pipeline.feed(raw[a:b]).text for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True))
    assert text + pipeline.flush().text == raw.decode("utf-8", "replace")


def test_the_end_gives_what_was_held_for_a_stop_or_a_character() -> None:
    pipeline = TextPipeline(["<end>"])
    assert pipeline.feed(b"a<en" + "é".encode()[:1]).text == "a"
    assert pipeline.flush().text == "<en�"
    assert not pipeline.is_stopped
