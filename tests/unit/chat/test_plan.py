"""What a request says of its answer's form, as one grammar, and what is said where there can be none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from call_grammars import FAMILIES
from matching import accepts as takes

from llamawire_server.chat.channels import STYLES
from llamawire_server.chat.grammar import Grammar
from llamawire_server.chat.plan import AnswerForm, CombinationError, Plan, PlanError, Planner
from llamawire_server.chat.tools import Named, Tool, ToolFormat
from llamawire_server.chat.tools.generic import Generic
from llamawire_server.chat.tools.harmony import Harmony
from llamawire_server.chat.tools.llama3 import Llama3
from llamawire_server.chat.tools.qwen_coder import QwenCoder

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [Tool("weather", CITY), Tool("time", {"type": "object", "properties": {}})]
NUMBER = Grammar("json_schema", json.dumps({"type": "integer"}))


def plan(form: AnswerForm, style: str = "none", prompt: str = "user: hi\nassistant:") -> Plan:
    return Planner(STYLES[style], Generic(), lambda text: None).plan(prompt, form)


def accepts(lark: str | None, text: str) -> bool:
    """Whether the grammar takes the text, and nothing need follow."""
    assert lark is not None
    return takes(lark, text)


def test_without_a_form_anything_may_come() -> None:
    free = plan(AnswerForm())
    assert (free.lark, free.parts, free.markers) == (None, (), ())
    assert plan(AnswerForm(tools=TOOLS)).lark is None, "none of them may be called"


def test_the_text_follows_its_grammar() -> None:
    lark = plan(AnswerForm(grammar=NUMBER)).lark
    assert accepts(lark, "12")
    assert not accepts(lark, "twelve")
    assert not accepts(lark, "12 or so")


def test_reasoning_comes_before_it() -> None:
    lark = plan(AnswerForm(grammar=NUMBER), "think").lark
    assert accepts(lark, "12")
    assert accepts(lark, "<think>Twelve, or 13?</think>12")
    assert not accepts(lark, "<think>Twelve, or 13?</think>thirteen")
    assert not accepts(lark, "<think>12")
    begun = plan(AnswerForm(grammar=NUMBER), "think", "assistant:<think>\n").lark
    assert accepts(begun, "Twelve.</think>\n\n12")
    assert not accepts(begun, "12")


@pytest.mark.parametrize("style", ["none", "think"])
def test_a_required_call_is_all_that_may_come(style: str) -> None:
    lark = plan(AnswerForm(tools=TOOLS, choice="required"), style).lark
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>'
    assert accepts(lark, call)
    assert not accepts(lark, "It rains.")
    assert not accepts(lark, call.replace("city", "town"))
    named = plan(AnswerForm(tools=TOOLS, choice=Named("time")), style).lark
    assert not accepts(named, call)
    assert accepts(named, '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>')


def test_an_answer_that_may_be_a_call_is_a_call_or_text_that_follows_the_grammar() -> None:
    lark = plan(AnswerForm(tools=TOOLS, choice="auto", grammar=NUMBER), "think").lark
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>'
    assert accepts(lark, call)
    assert accepts(lark, "12")
    assert accepts(lark, f"<think>Hm.</think>{call}")
    assert not accepts(lark, "It rains.")
    assert not accepts(lark, f"12{call}")


def test_text_that_follows_a_grammar_has_no_calls_in_it() -> None:
    text = '"<tool_call>[{}]</tool_call>"'.replace("[{}]", '{"name": "time"}')
    form = AnswerForm(tools=TOOLS, choice="auto", grammar=Grammar("json_schema", '{"type": "string"}'))
    for answer_form, num_calls in ((form, 0), (replace(form, grammar=None), 1)):
        delta = plan(answer_form).pipeline([]).feed(text.encode())
        assert len({call.index for call in delta.calls}) == num_calls
        assert (delta.text == text) == (not num_calls)


@pytest.mark.parametrize(("style", "tool_format"), [("harmony", Harmony()), ("none", Llama3())])
def test_where_nothing_tells_calls_from_text_an_answer_can_not_be_either(
    style: str, tool_format: ToolFormat
) -> None:
    planner = Planner(STYLES[style], tool_format, lambda text: None)
    form = AnswerForm(tools=TOOLS, choice="auto", grammar=NUMBER)
    with pytest.raises(CombinationError, match=r"`tools`.*`response_format`") as caught:
        planner.plan("<|start|>assistant", form)
    assert caught.value.field == "response_format"
    assert planner.plan("<|start|>assistant", replace(form, choice="none")).lark


@pytest.mark.parametrize("name", FAMILIES)
def test_every_way_of_calling_goes_with_reasoning_and_a_form(name: str) -> None:
    family = FAMILIES[name]
    call = family.write_calls([("weather", '{"city": "Bern"}')])
    planner = Planner(STYLES["think"], family, lambda text: None)
    required = planner.plan("user: hi", AnswerForm(tools=TOOLS, choice="required")).lark
    assert accepts(required, call)
    assert accepts(required, f"<think>Hm.</think>{call}")
    assert not accepts(required, "12")
    if name != "llama3":
        either = planner.plan("user: hi", AnswerForm(tools=TOOLS, choice="auto", grammar=NUMBER)).lark
        assert accepts(either, f"<think>Hm.</think>{call}")
        assert accepts(either, "<think>Hm.</think>12")


@pytest.mark.parametrize(
    ("form", "field"),
    [
        (
            {"grammar": Grammar("json_schema", '{"properties": {"a": {"type": "number", "pattern": 1}}}')},
            "response_format.json_schema.schema/properties/a",
        ),
        ({"grammar": Grammar("gbnf", 'root ::= "a" (')}, "response_format.grammar.grammar"),
        ({"grammar": Grammar("lark", "start: a")}, "response_format.grammar.grammar"),
        ({"grammar": Grammar("regex", "(")}, "response_format.grammar.grammar"),
        (
            {"tools": [*TOOLS, Tool("f", {"properties": {"a": {"$ref": "#/nowhere"}}})], "choice": "auto"},
            "tools[2].function.parameters/properties/a",
        ),
    ],
)
def test_what_can_not_be_compiled_is_named_with_its_place(form: dict[str, Any], field: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan(AnswerForm(**form))
    assert caught.value.field.startswith(field)
    assert str(caught.value)


def test_pipelines_tell_calls_and_reasoning_from_text() -> None:
    made = plan(AnswerForm(tools=TOOLS, choice="auto"), "think")
    delta = made.pipeline([]).feed(
        b'<think>Hm</think><tool_call>{"name": "time", "arguments": {}}</tool_call>'
    )
    assert (delta.reasoning, delta.calls[0].name) == ("Hm", "time")
    assert delta.calls[0].id.startswith("call_")
    again = made.pipeline([]).feed(b'<tool_call>{"name": "time", "arguments": {}}</tool_call>')
    assert again.calls[0].id != delta.calls[0].id, "each choice has its own"
    assert set(made.markers) >= {"<think>", "</think>", "<tool_call>"}
    assert made.end_of_reasoning.strip() == "</think>"
    plain = plan(AnswerForm(), "think")
    assert plain.pipeline([]).feed(b"<tool_call>").text == "<tool_call>"


def test_what_a_family_can_not_write_is_named_with_its_place() -> None:
    text = {"type": "string", "anyOf": [{"pattern": "a"}, {"pattern": "b"}]}
    form = AnswerForm(tools=[*TOOLS, Tool("f", {"type": "object", "properties": {"a": text}})], choice="auto")
    assert plan(form).lark, "as JSON it can be enforced"
    with pytest.raises(PlanError, match="plain text") as caught:
        Planner(STYLES["none"], QwenCoder(), lambda text: None).plan("user: hi", form)
    assert caught.value.field == "tools[2].function.parameters/properties/a"
