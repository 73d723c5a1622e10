"""What the grammars take before a content, against what the splitters make of it."""

from __future__ import annotations

import re
from collections.abc import Collection

import pytest
from channel_reference import texts
from hypothesis import given, settings
from hypothesis import strategies as st

from llamawire_server.chat.channels import STYLES, Channel, ReasoningStyle, find_style
from llamawire_server.chat.channels.lark import token

pytest.importorskip("llguidance")

from channel_vocabulary import MARKERS, encode, is_accepted, token_id

CONTENT = r"\{[^{}]*\}"
ANSWERS = {
    "expression": f"answer: /{CONTENT}/\n",
    "nested": f"answer: %lark {{\nstart: /{CONTENT}/\n}}\n",
    "json": 'answer: %json {"type": "object"}\n',
}
# Texts are told apart from calls in a grammar like this one: what is free must not swallow the reasoning.
FREE = 'answer: TEXT | opening "!"\nTEXT: /(.|\\n)*/\nopening[lazy]: TEXT "<call>"\n'


def grammar(
    style: ReasoningStyle, prompt: str, special: Collection[str], answer: str = ANSWERS["expression"]
) -> str:
    body = style.lark(prompt, lambda marker: token_id(marker) if marker in special else None)
    return f"start: answer\n{answer}" if body is None else f"start: before answer\n{answer}before: {body}\n"


def split(style: ReasoningStyle, prompt: str, text: str) -> dict[Channel, str]:
    splitter = style.splitter(prompt)
    return texts([*splitter.feed(text), *splitter.flush()])


GRANITE_3_3 = find_style("<think></think><response></response>", "granite")
CASES = {
    "think": (STYLES["think"], "assistant\n", "<think>\n", "\n</think>\n\n"),
    "think, begun": (STYLES["think"], "assistant\n<think>\n", "", "\n</think>\n\n"),
    "think, begun twice": (STYLES["think"], "assistant\n<think>\n", "\n<think>", "</think>"),
    "think_always": (STYLES["think_always"], "assistant\n", "", "</think>"),
    "magistral": (STYLES["magistral"], "[/INST]", "[THINK]", "[/THINK]"),
    "seed": (STYLES["seed"], "assistant\n", "<seed:think>", "</seed:think>\n"),
    "granite": (STYLES["granite"], "", "Here's my thought process:\n", "\nHere is my response:\n"),
    "granite 3.3": (GRANITE_3_3, "", "<think>", "</think>\n<response>\n"),
    "channel": (STYLES["channel"], "model\n", "<|channel>thought\n", "<channel|>"),
    "channel, other names": (STYLES["channel"], "model\n", "<|channel> Analysis ", "<channel|>\n"),
    "channel, turned": (STYLES["channel"], "model\n", "<|channel>thought\n", "<|channel>assistant\n"),
    "channel, begun": (STYLES["channel"], "model\n<|channel>thought\n", "", "<channel|>"),
    "channel, begun and turned": (
        STYLES["channel"],
        "model\n<|channel>thought\n",
        "",
        "<|channel> final\n",
    ),
    "channel, twice": (
        STYLES["channel"],
        "model\n",
        "<|channel>thought\nFirst.<channel|>\n<|channel>thought\n",
        "<channel|>",
    ),
    "harmony": (
        STYLES["harmony"],
        "<|start|>assistant",
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    "harmony, twice": (
        STYLES["harmony"],
        "<|start|>assistant",
        "<|channel|>analysis<|message|>So.<|end|><|start|>assistant<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>",
    ),
    "harmony, begun": (
        STYLES["harmony"],
        "<|start|>assistant<|channel|>analysis<|message|>",
        "",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
}
EVERY_CASE = pytest.mark.parametrize(("style", "prompt", "begin", "end"), CASES.values(), ids=CASES)
EVERY_VOCABULARY = pytest.mark.parametrize("special", [(), MARKERS], ids=["text", "tokens"])
EVERY_ANSWER = pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)


@EVERY_CASE
@EVERY_VOCABULARY
@EVERY_ANSWER
def test_reasoning_may_come_before_the_content(
    style: ReasoningStyle, prompt: str, begin: str, end: str, special: Collection[str], answer: str
) -> None:
    lark = grammar(style, prompt, special, answer)
    for reasoning in ("", "Hm. {1 < 2}\n", "<|", "</thin", 'So "<", I say: {'):
        text = f'{begin}{reasoning}{end}{{"a": 1}}'
        found = split(style, prompt, text)
        assert found[Channel.CONTENT] == '{"a": 1}'
        assert reasoning.strip() in found.get(Channel.REASONING, "")
        assert is_accepted(lark, encode(text, special)), text


@EVERY_CASE
@EVERY_VOCABULARY
@EVERY_ANSWER
def test_it_need_not_come_but_where_it_has_begun_it_has_to_end(
    style: ReasoningStyle, prompt: str, begin: str, end: str, special: Collection[str], answer: str
) -> None:
    lark = grammar(style, prompt, special, answer)
    is_plain = style.name != "harmony" and split(style, prompt, "{}") == {Channel.CONTENT: "{}"}
    assert is_accepted(lark, encode("{}", special)) is is_plain
    assert not is_accepted(lark, encode(f"{begin}Hm.", special))
    assert not is_accepted(lark, encode(f"{begin}Hm.{end}", special))
    assert not is_accepted(lark, encode(f"{begin}Hm.{end}no", special))


@EVERY_CASE
@EVERY_VOCABULARY
def test_the_end_marker_is_taken_anywhere_in_the_reasoning(
    style: ReasoningStyle, prompt: str, begin: str, end: str, special: Collection[str]
) -> None:
    lark = grammar(style, prompt, special)
    for reasoning in ("", "Hm", "Hm.\n"):
        text = f"{begin}{reasoning}{style.end_marker()}{{}}"
        assert is_accepted(lark, encode(text, special)), text
        assert split(style, prompt, text)[Channel.CONTENT] == "{}"


@EVERY_VOCABULARY
def test_a_text_of_any_kind_does_not_take_the_reasonings_place(special: Collection[str]) -> None:
    lark = grammar(STYLES["think"], "", special, FREE)
    for text in ("Yes.", "<think><call>Hm.</think>\n\nYes.", "<think>Hm.</think><call>!", "\n<call>!", ""):
        assert is_accepted(lark, encode(text, special)), text
    assert not is_accepted(lark, encode("<think>Hm.</think>Yes <call>?", special))
    assert not is_accepted(lark, encode("Yes <call>?", special))


@pytest.mark.parametrize(
    ("style", "prompt"),
    [
        ("none", "<think>"),
        ("think", "<think>\n\n</think>\n\n"),
        ("think_always", "</think>"),
        ("magistral", "[THINK][/THINK]"),
        ("granite", "Here is my response:\n"),
        ("channel", "<|channel>thought\n<channel|>"),
        ("channel", "<|channel>final\n"),
        ("harmony", "<|start|>assistant<|channel|>final<|message|>"),
    ],
)
def test_nothing_comes_before_a_content_that_the_prompt_has_begun(style: str, prompt: str) -> None:
    assert STYLES[style].lark(prompt, token_id) is None


def test_the_header_of_an_answer_can_be_left_to_what_follows() -> None:
    body = STYLES["harmony"].lark("<|start|>assistant", token_id, with_header=False)
    lark = f'start: before answer\nanswer: <|channel|> "commentary to=functions.f"\nbefore: {body}\n'
    call = "<|channel|>commentary to=functions.f"
    analysis = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    assert is_accepted(lark, encode(call, MARKERS))
    assert is_accepted(lark, encode(analysis + call, MARKERS))
    assert not is_accepted(lark, encode("<|channel|>final<|message|>", MARKERS))
    assert STYLES["think"].lark("", token_id, with_header=False) == STYLES["think"].lark("", token_id)


def test_a_control_token_is_named_or_numbered() -> None:
    assert token("<think>", lambda marker: False) is None
    assert token("<think>", lambda marker: None) is None
    assert token("<think>", lambda marker: 0) == "<[0]>"
    assert token("<think>", lambda marker: 1) == "<[1]>"
    assert token("<think>", lambda marker: True) == "<think>"
    assert token("[THINK]", lambda marker: True) == "<[THINK]>"


PIECES = {
    "think": ("<think>", "</think>", "\n"),
    "magistral": ("[THINK]", "[/THINK]", " "),
    "granite": (
        *("Here is my thought process:", "Here's my response:", "<think>", "</think>", "<response>", "\n"),
    ),
    "channel": ("<|channel>", "<channel|>", "thought", "Final", "x", "\n", " "),
    "harmony": (
        *("<|channel|>analysis<|message|>", "<|end|><|start|>assistant", "<|channel|>final<|message|>"),
        *("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "analysis", "final"),
    ),
}
PROMPTS = {
    "think": ("", "<think>\n"),
    "magistral": ("", "[THINK]"),
    "granite": ("", "<think>"),
    "channel": ("", "<|channel>thought\n"),
    "harmony": ("<|start|>assistant", "<|start|>assistant<|channel|>analysis<|message|>"),
}


@pytest.mark.parametrize("name", PIECES)
@settings(max_examples=25)
@given(data=st.data())
def test_what_is_taken_is_what_the_splitter_takes(name: str, data: st.DataObject) -> None:
    style, prompt = STYLES[name], data.draw(st.sampled_from(PROMPTS[name]))
    pieces = st.sampled_from([*PIECES[name], *PIECES[name], "a", "<", "{", "}", "{}"])
    text = "".join(data.draw(st.lists(pieces, max_size=8))) + data.draw(
        st.sampled_from(["{}", "{<think>}", ""])
    )
    special = data.draw(st.sets(st.sampled_from(MARKERS)))
    # Any marker may be spelled, even where it is a control token.
    used = data.draw(st.sampled_from([special, set(), set(sorted(special)[::2])]))
    lark = grammar(style, prompt, special)
    is_taken = is_accepted(lark, encode(text, used))
    found = split(style, prompt, text)
    content = re.fullmatch(CONTENT, found.get(Channel.CONTENT, ""))
    if is_taken:
        assert content
        assert Channel.OTHER not in found or name == "channel"
    elif name in ("think", "magistral"):
        # Neither text has control tokens.
        assert not content or any(marker in part for marker in used for part in found.values())
