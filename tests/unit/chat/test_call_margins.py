"""White space around calls is no content, however the text is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.chat.call_margins import CallMargins


def content(texts: list[list[str]]) -> str:
    """What comes of texts, in pieces, with a call between each and the next."""
    margins = CallMargins()
    shown = ""
    for number, pieces in enumerate(texts):
        if number:
            margins.note_call()
        shown += "".join(margins.feed(piece) for piece in pieces)
    return shown + margins.flush()


def expected(texts: list[str]) -> str:
    """The same, from the whole texts."""
    if len(texts) == 1:
        return texts[0]
    shown = "".join(text for text in texts if text.strip())
    shown = shown if texts[0].strip() else shown.lstrip()
    return shown if texts[-1].strip() else shown.rstrip()


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        ([" a \n"], " a \n"),
        ([" "], " "),
        (["\n", "\n"], ""),
        (["a \n", "\n"], "a"),
        (["\n", "\n b "], "b "),
        (["a\n", "\n", "\nb"], "a\n\nb"),
        (["a ", "b", " c\n", "\n"], "a b c"),
    ],
)
def test_it_is_content_between_two_parts_of_it(texts: list[str], shown: str) -> None:
    assert content([[text] for text in texts]) == shown
    assert expected(texts) == shown


@given(texts=st.lists(st.lists(st.text("ab \n", max_size=4), max_size=4), min_size=1, max_size=5))
def test_where_the_text_is_cut_changes_nothing(texts: list[list[str]]) -> None:
    assert content(texts) == expected(["".join(pieces) for pieces in texts])


def test_what_is_content_comes_at_once() -> None:
    margins = CallMargins()
    assert [margins.feed(text) for text in ("a ", "", "\n", "b", " c ")] == ["a", "", "", " \nb", " c"]
    margins.note_call()
    assert [margins.feed(text) for text in ("\n", "d")] == ["", " \nd"]
