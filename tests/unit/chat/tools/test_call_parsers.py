"""What holds for the parsers of all families."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_formats import FORMATS, NESTED, NOW, SWITCHES, TOOLS, WEATHER, ids, read, say

from llamawire_server.chat.tools.tool_format import CallDelta

every_format = pytest.mark.parametrize("name", FORMATS)
CALLS = {"one": [WEATHER], "several": [WEATHER, NESTED, NOW]}


@every_format
@pytest.mark.parametrize("calls", CALLS.values(), ids=list(CALLS))
def test_calls_alone(name: str, calls: list[tuple[str, str]]) -> None:
    text = say(name, calls)
    answer = read(FORMATS[name], [text])
    assert answer.named == calls
    assert answer.content == ""
    assert not answer.is_open
    for cut in range(len(text) + 1):
        assert read(FORMATS[name], [text[:cut], text[cut:]]) == answer
    assert read(FORMATS[name], text) == answer


@every_format
def test_text_before_between_and_after_calls(name: str) -> None:
    parts = ("I shall look: <b> {1} > [x].", [WEATHER], "And <then> this.", [NESTED, NOW], "Done: {}.")
    text = say(name, *parts)
    answer = read(FORMATS[name], [text])
    assert answer.named == [WEATHER, NESTED, NOW]
    words = [part for part in parts if isinstance(part, str)]
    assert answer.content.split("\n\n") == words
    for cut in range(len(text) + 1):
        assert read(FORMATS[name], [text[:cut], text[cut:]]) == answer
    assert read(FORMATS[name], text) == answer


@every_format
def test_text_without_calls_is_what_it_was(name: str) -> None:
    text = " Two < three, [a] {b} functools >> to=functions. <tool_cal\n "
    assert read(FORMATS[name], [text]).content == text
    assert read(FORMATS[name], text).content == text
    assert read(FORMATS[name], ["\n \n"]).content == "\n \n"


@every_format
def test_names_come_as_soon_as_they_are_known_and_arguments_as_they_are_made(name: str) -> None:
    text = say(name, [WEATHER])
    begins = text.index(WEATHER[1])
    parser = FORMATS[name].parser(TOOLS, ids())
    come = ""
    for at, char in enumerate(text):
        out = parser.feed(char)
        if at < begins:
            assert out == []
            assert parser.num_calls == 0
            continue
        if at == begins:
            assert isinstance(out[0], CallDelta)
            assert (out[0].index, out[0].name, out[0].arguments) == (0, "get_weather", "")
        come += "".join(piece.arguments for piece in out if isinstance(piece, CallDelta))
        assert come == WEATHER[1][: at + 1 - begins]
        assert parser.is_open == (at + 1 - begins < len(WEATHER[1]))
        assert parser.num_calls == 1
    assert parser.flush() == []


@every_format
def test_a_call_that_is_cut_is_open_once_its_arguments_have_begun(name: str) -> None:
    text = say(name, [WEATHER])
    begins = text.index(WEATHER[1])
    ends = begins + len(WEATHER[1])
    for cut in range(len(text)):
        answer = read(FORMATS[name], [text[:cut]])
        assert answer.is_open == (begins < cut < ends)
        assert answer.ends_with_call == (cut >= ends)
        if cut <= begins:
            assert answer.calls == ()
            assert answer.content == text[:cut]
        else:
            assert answer.content == ""
            assert answer.named == [("get_weather", WEATHER[1][: cut - begins])]


@every_format
def test_an_answer_ends_with_a_call_where_nothing_has_begun_behind_it(name: str) -> None:
    assert read(FORMATS[name], [say(name, "So:", [WEATHER])]).ends_with_call
    assert read(FORMATS[name], [say(name, [WEATHER, NOW]) + "\n"]).ends_with_call
    assert not read(FORMATS[name], [say(name, [WEATHER], "Well")]).ends_with_call
    assert not read(FORMATS[name], [say(name, "Text")]).ends_with_call
    several = say(name, [WEATHER, NOW])
    answers = [read(FORMATS[name], [several[:cut]]) for cut in range(len(several))]
    for answer in answers:
        begun = answer.is_open or answer.content or not answer.calls
        assert not (begun and answer.ends_with_call)
    # It is cut somewhere between its two calls.
    assert any(
        len(answer.calls) == 1 and not answer.ends_with_call and not answer.is_open for answer in answers
    )


@every_format
def test_a_call_of_no_tool_is_content_whole(name: str) -> None:
    for calls in ([("unheard_of", '{"a": 1}')], [("get_weathers", "{}")], [("get_", "{}")]):
        text = say(name, calls)
        answer = read(FORMATS[name], [text])
        assert answer.calls == ()
        assert answer.content == text
        assert read(FORMATS[name], text) == answer


@every_format
def test_a_call_behind_one_that_is_none_is_found(name: str) -> None:
    text = say(name, "Hm.", [("unheard_of", '{"a": 1}')], "So:", [WEATHER])
    answer = read(FORMATS[name], [text])
    assert answer.named == [WEATHER]
    assert "unheard_of" in answer.content
    assert answer.content.endswith("So:")
    for cut in range(len(text) + 1):
        assert read(FORMATS[name], [text[:cut], text[cut:]]) == answer


@every_format
def test_broken_arguments_are_arguments(name: str) -> None:
    text = say(name, [("get_weather", '{"city": Paris, ]')])
    answer = read(FORMATS[name], [text])
    assert [call[1] for call in answer.calls] == ["get_weather"]
    assert answer.calls[0][2].startswith('{"city": Paris, ]')
    assert read(FORMATS[name], text) == answer


FRAGMENTS = [
    *(marker for family in FORMATS.values() for marker in family.markers),
    *("get_weather", "now", "unheard_of", '{"city": "Paris"}', "{", "}", "[", "]", ",", '"', "\\", " ", "\n"),
    *(
        '{"name": "',
        '", "arguments": ',
        '", "parameters": ',
        '{"name": "now"',
        '"arguments": {}, ',
        "function",
        "```",
    ),
    *(
        "functools[",
        "<function=",
        ">>>",
        " to=functions.",
        "commentary",
        "assistant",
        ">",
        "json",
        "null",
        "all\n",
    ),
    *("text", "<", "<|", "<tool", "</tool_call>", ";", "; "),
]


@every_format
@settings(max_examples=30)
@given(data=st.data())
def test_anything_is_read_the_same_at_any_split(name: str, data: st.DataObject) -> None:
    start = SWITCHES.get(name, "")
    calls = st.sampled_from([say(name, [WEATHER]), say(name, [NOW]), say(name, [NOW, NESTED])])
    fragment = st.sampled_from(FRAGMENTS) | calls.map(lambda text: start + text)
    text = "".join(data.draw(st.lists(fragment, max_size=10)))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=12)))
    whole = read(FORMATS[name], [text])
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(FORMATS[name], pieces) == whole
    assert read(FORMATS[name], text) == whole
    if not whole.calls and "all\n" not in text:
        assert whole.content == text
