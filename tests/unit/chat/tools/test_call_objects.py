"""Calls that are JSON objects, in all that models make of them."""

from __future__ import annotations

import pytest
from tool_formats import FORMATS, NOW, WEATHER, read

HERMES = FORMATS["hermes"]


def in_marker(text: str) -> str:
    return f"<tool_call>\n{text}\n</tool_call>"


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('{"arguments": {"city": "Rome"}, "name": "get_weather"}', [("get_weather", '{"city": "Rome"}')]),
        (
            '{ "name" : "get_weather" , "arguments" :\n {"city":"Rome"} \n}',
            [("get_weather", '{"city":"Rome"}')],
        ),
        ('{"name": "get_weather", "parameters": {"city": "Rome"}}', [("get_weather", '{"city": "Rome"}')]),
        ('{"type": "function", "name": "now", "id": [1, {"}": 2}], "arguments": {}}', [NOW]),
        ('{"type": "function", "function": {"name": "now", "arguments": {}}}', [NOW]),
        ('{"function": "now", "arguments": {}}', [NOW]),
        ('{"name": "now"}', [NOW]),
        ('{"name": "now", "arguments": null}', [NOW]),
        ('{"arguments": null, "name": "now"}', [NOW]),
        ('{"name": "now", "arguments": "{\\"a\\": 1}"}', [("now", '{"a": 1}')]),
        ('{"name": "now", "arguments": {}, "name": "get", "arguments": {"b": 2}}', [NOW]),
        ('[{"name": "now", "arguments": {}}, {"name": "now"}]', [NOW, NOW]),
        ('[{"name": "now", "arguments": {}},\n {"name": "now"},]', [NOW, NOW]),
        ('{"name": "now", "arguments": {}}\n{"name": "now", "arguments": {}}', [NOW, NOW]),
        ('{"name": "n\\u006fw", "arguments": {}}', [NOW]),
    ],
)
def test_what_leaves_no_doubt_is_a_call(text: str, calls: list[tuple[str, str]]) -> None:
    answer = read(HERMES, [in_marker(text)])
    assert answer.named == calls
    assert answer.content == ""
    assert not answer.is_open
    assert read(HERMES, in_marker(text)) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "{}",
        "[]",
        "{'name': 'now', 'arguments': {}}",
        '{"name": now, "arguments": {}}',
        '{"name": "now", "arguments": [1]}',
        '{"name": "now", "arguments": "some"}',
        '{"name": "now", "arguments": 1}',
        '{"name": 1, "arguments": {}}',
        '{"arguments": {}}',
        '{"name": "now" "arguments": {}}',
        '{"name": "nowhere", "arguments": {}}',
        '{"type": "function", "function": {"name": "nowhere"}}',
        '{"name": "now", "argum',
        "[1, 2]",
    ],
)
def test_what_can_not_be_parsed_is_content_whole(text: str) -> None:
    """Failure 8 of other servers: a call that can't be parsed is a 500."""
    answer = read(HERMES, [in_marker(text)])
    assert answer.calls == ()
    assert answer.content == in_marker(text)
    assert read(HERMES, in_marker(text)) == answer


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "now", "arguments": {}}',
        '<tool_call>{"name": "now", "arguments": {}',
        '<tool_call>{"name": "now", "arguments": {}}}}\n</tool_call>',
        '<tool_call>\n{"name": "now", "arguments": {}\n</tool_call>',
        '<tool_call>{"name": "now", "arguments": {}}</tool_',
        '<tool_call>{"name": "now", "arguments": {}}]}\n',
        '<tool_call>[{"name": "now", "arguments": {}}\n</tool_call>\n',
    ],
)
def test_brackets_and_markers_that_are_missing_or_too_many_are_no_content(text: str) -> None:
    answer = read(HERMES, [text])
    assert answer.named == [NOW]
    assert answer.content == ""
    assert not answer.is_open
    assert read(HERMES, text) == answer


def test_what_of_a_list_is_no_call_is_content() -> None:
    text = '<tool_call>[{"name": "now", "arguments": {}}, {"name": "nowhere"}]</tool_call>'
    answer = read(HERMES, [text])
    assert answer.named == [NOW]
    assert answer.content == '{"name": "nowhere"}]</tool_call>'
    assert read(HERMES, text) == answer


def test_markers_in_arguments_are_arguments() -> None:
    arguments = '{"city": "</tool_call><tool_call>{\\"name\\": \\"now\\"}"}'
    answer = read(HERMES, [in_marker(f'{{"name": "get_weather", "arguments": {arguments}}}')])
    assert answer.named == [("get_weather", arguments)]
    assert answer.content == ""


def test_text_around_calls_keeps_its_white_space_but_for_that_around_the_calls() -> None:
    call = HERMES.write_calls([WEATHER])
    assert read(HERMES, [f"  Yes.\n\n{call}\n"]).content == "  Yes."
    assert read(HERMES, [f"\n\n{call}\n  So be it.\n"]).content == "So be it.\n"
    assert read(HERMES, [f"A\n{call} B"]).content == "A\n B"
    assert read(HERMES, [f"\n{call}\n{call}\n"]).content == ""


def test_ids_are_those_that_are_given() -> None:
    answer = read(HERMES, [HERMES.write_calls([NOW, NOW])])
    assert [call[0] for call in answer.calls] == [f"call_{0:024}", f"call_{1:024}"]
