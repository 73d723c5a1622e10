"""What is special about single families' answers."""

# ruff: noqa: RUF001 - DeepSeek's markers have bars that are as wide as that

from __future__ import annotations

import re

import pytest
from tool_formats import FORMATS, NOW, WEATHER, read


def calls_of(name: str, text: str) -> list[tuple[str, str]]:
    answer = read(FORMATS[name], [text])
    assert answer.content == ""
    assert read(FORMATS[name], text) == answer
    return answer.named


@pytest.mark.parametrize(
    "text",
    [
        '<|python_tag|>{"name": "now", "parameters": {}}',
        '\n\n{"name": "now", "parameters": {}}',
        '{"type": "function", "name": "now", "parameters": {}}',
        '{"name": "now", "arguments": {}}',
        '<|python_start|>{"name": "now", "parameters": {}}<|python_end|>',
    ],
)
def test_llama_calls_with_and_without_a_tag(text: str) -> None:
    assert calls_of("llama3", text) == [NOW]


def test_llama_calls_one_behind_the_other() -> None:
    text = '{"name": "now", "parameters": {}}; {"name": "now"}\n{"name": "now", "parameters": {}}'
    assert calls_of("llama3", text) == [NOW] * 3


def test_llama_objects_that_are_no_calls_are_content_from_their_first_key_on() -> None:
    parser = FORMATS["llama3"].parser([], lambda: "")
    assert parser.feed(' {"answer"') == [" "], "nothing but content, a call or not"
    assert parser.feed(":") == []
    assert parser.feed(" 4") == ['{"answer": 4']
    assert parser.feed("2}") == ["2}"]


def test_llama_objects_behind_text_are_content() -> None:
    text = 'So: {"name": "now", "parameters": {}}'
    assert read(FORMATS["llama3"], [text]).content == text


@pytest.mark.parametrize("name", ["mistral", "mistral names"])
@pytest.mark.parametrize(
    "text",
    [
        '[TOOL_CALLS][{"name": "now", "arguments": {}}]',
        '[TOOL_CALLS] [{"name": "now", "arguments": {}, "id": "abcdefgh1"}]',
        '[TOOL_CALLS]{"name": "now", "arguments": {}}',
        "[TOOL_CALLS]now[ARGS]{}",
        "[TOOL_CALLS] now [ARGS] {}",
        "[TOOL_CALLS]now{}",
        "[TOOL_CALLS]now[CALL_ID]abcdefgh1[ARGS]{}",
        "[TOOL_CALLS]now[ARGS]null",
    ],
)
def test_mistral_calls_of_every_version_of_the_tokenizer(name: str, text: str) -> None:
    assert calls_of(name, text) == [NOW]


def test_mistral_ids_are_nine_letters_or_digits() -> None:
    answer = read(FORMATS["mistral names"], ["[TOOL_CALLS]now[ARGS]{}[TOOL_CALLS]now[ARGS]{}"])
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", call[0]) for call in answer.calls)
    assert answer.calls[0][0] != answer.calls[1][0]


@pytest.mark.parametrize("name", ["deepseek v3", "deepseek v3.1"])
def test_deepseek_calls_of_both_versions(name: str) -> None:
    begin, end = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"
    fenced = f"{begin}function<｜tool▁sep｜>now\n```json\n{{}}\n```{end}"
    bare = f"{begin}now<｜tool▁sep｜>{{}}{end}"
    for call in (fenced, bare):
        assert calls_of(name, f"<｜tool▁calls▁begin｜>{call}\n{call}<｜tool▁calls▁end｜>") == [NOW, NOW]
        assert calls_of(name, call) == [NOW]
        assert calls_of(name, f"<｜tool▁calls｜>{call}") == [NOW]


@pytest.mark.parametrize(
    "text",
    [
        "<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}<|call|>",
        "<|channel|>commentary to=functions.now<|constrain|>json<|message|>{}",
        "<|channel|>commentary to=functions.now json<|message|> {}",
        "<|channel|>analysis to=functions.now<|message|>{}<|call|>",
        "<|start|>assistant<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}<|call|>",
        "<|start|>assistant to=functions.now<|channel|>commentary <|constrain|>json<|message|>{}<|call|>",
        " to=functions.now<|channel|>commentary json<|message|>{}<|call|>",
        "<|channel|>commentary to=now <|constrain|>json<|message|>{}",
    ],
)
def test_harmony_headers_in_every_order(text: str) -> None:
    assert calls_of("harmony", text) == [NOW]


def test_functionary_text_has_a_recipient_too() -> None:
    family = FORMATS["functionary recipients"]
    assert read(family, ["all\nHello >>> world\n>>>\n"]).content == "Hello >>> world\n>>>\n"
    assert read(family, [">>>all\nHello"]).content == "Hello"
    assert read(family, ["Hello"]).content == "Hello"
    assert read(family, ['>>>get_weather\n{"city": "Paris", "days": 3}']).named == [WEATHER]


def test_granite_writes_hermes_marker_at_times() -> None:
    assert calls_of("granite", '<tool_call>[{"name": "now", "arguments": {}}]') == [NOW]


def test_phi_takes_all_of_its_markers() -> None:
    call = '{"name": "now", "arguments": {}}'
    for name in ("phi", "phi functools", "phi objects"):
        assert calls_of(name, f"<|tool_call|>[{call}]<|/tool_call|>") == [NOW]
        assert calls_of(name, f"<|tool_call|>{call}<|/tool_call|>") == [NOW]
        assert calls_of(name, f"functools[{call}]") == [NOW]
        assert read(FORMATS[name], ["functools is a module"]).content == "functools is a module"
