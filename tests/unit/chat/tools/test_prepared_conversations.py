"""What templates get, and what they make of it."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from typing import Any

import chat_templates
import pytest

from llamawire_server.chat.template import ChatTemplate
from llamawire_server.chat.tools.recognition import find_format
from llamawire_server.chat.tools.template_traits import TemplateTraits, find_traits

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
        },
    }
]


def call(call_id: str, arguments: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "look", "arguments": arguments}}


HISTORY: list[dict[str, Any]] = [
    {"role": "system", "content": "Be good."},
    {"role": "user", "content": "Look!"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [call("call_1", {"at": "the sun"}), call("call_2", '{"at": "é"}')],
    },
    {"role": "tool", "tool_call_id": "call_2", "content": "RESULT-2"},
    {"role": "tool", "tool_call_id": "call_1", "content": "RESULT-1"},
    {"role": "user", "content": "And now?"},
]


def render(template: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> str:
    before = copy.deepcopy(messages)
    prepared, given = find_format(template).prepare(messages, TOOLS if tools is None else tools)
    assert messages == before
    return ChatTemplate(template).render(prepared, tools=given)


ALL = {
    name: value for name, value in vars(chat_templates).items() if name.isupper() and isinstance(value, str)
}


@pytest.mark.parametrize("name", ALL)
def test_every_template_shows_tools_calls_and_results(name: str) -> None:
    prompt = render(ALL[name], HISTORY)
    assert "Be good." in prompt
    assert '"look"' in prompt
    assert re.search(r'"at":\s*\{', prompt), "the tool's parameters"
    assert '{"at": "the sun"}' in prompt
    assert '{"at": "é"}' in prompt
    assert prompt.index("RESULT-1") != prompt.index("RESULT-2")
    assert "And now?" in prompt
    assert '\\"at' not in prompt
    assert "None" not in prompt


@pytest.mark.parametrize("name", ALL)
def test_every_template_goes_on_behind_calls_without_tools(name: str) -> None:
    prompt = render(ALL[name], HISTORY[1:5], [])
    assert '{"at": "the sun"}' in prompt
    assert "RESULT-1" in prompt


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("HERMES", "hermes"),
        ("LLAMA3", "llama3"),
        ("MISTRAL", "mistral"),
        ("DEEPSEEK", "deepseek"),
        ("FUNCTIONARY", "functionary"),
        ("HARMONY", "harmony"),
        ("CHATML", "smollm"),
        ("GEMMA", "generic"),
        ("PHI", "phi"),
        ("KIMI", "kimi"),
    ],
)
def test_families_are_known_by_their_templates(name: str, family: str) -> None:
    assert find_format(ALL[name]).name == family


CALLING = "{% for message in messages %}{{ message.content or '' }}{% for call in message.tool_calls or [] %}"
CALLED = "{{ call.function.name }}"
ARGUMENTS = "{{ call.function.arguments | tojson }}"
END = "{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "family"),
    [
        (None, "generic"),
        ("", "generic"),
        ("{% broken", "generic"),
        ("{{ messages[0].content }}", "generic"),
        (f"{CALLING}<tool_call><function={CALLED}><parameter=y></parameter></tool_call>{END}", "qwen-coder"),
        (f"{CALLING}<tool_call>{CALLED}\n<arg_key>k</arg_key></tool_call>{END}", "glm"),
        (f"{CALLING}[TOOL_CALLS]{CALLED}: {ARGUMENTS}{END}", "generic"),
        (f"{CALLING}[TOOL_CALLS]{CALLED}[ARGS]{ARGUMENTS}{END}", "mistral"),
        (f"{CALLING}<think></think><tool_call>{CALLED}{ARGUMENTS}</tool_call>{END}", "generic"),
        ("You are named SmolLM. <think>", "hermes"),
        ("<|start_of_role|>system<|end_of_role|> <|tool_call|> followed by a JSON list", "granite"),
        ("{{ '>>>all\n' + content }}", "functionary-recipients"),
        ("functools[{...}]", "phi"),
        ("<|python_tag|>", "llama3"),
    ],
)
def test_families_are_known_by_their_markers(template: str | None, family: str) -> None:
    assert find_format(template).name == family


def test_what_templates_can_do_is_found_out() -> None:
    assert find_traits(chat_templates.HERMES) == TemplateTraits()
    assert find_traits(chat_templates.MISTRAL) == TemplateTraits()
    assert find_traits(chat_templates.KIMI) == TemplateTraits()
    for template in chat_templates.TAGGED_TEMPLATES.values():
        assert replace(find_traits(template), empty_content=None) == TemplateTraits()
    assert find_traits(chat_templates.LLAMA3) == TemplateTraits(shows_several_calls=False)
    assert find_traits(chat_templates.HARMONY) == TemplateTraits(shows_several_calls=False)
    assert find_traits(chat_templates.DEEPSEEK) == TemplateTraits(
        shows_tools=False, takes_text_arguments=True
    )
    assert find_traits(chat_templates.FUNCTIONARY) == TemplateTraits(takes_text_arguments=True)
    nothing = TemplateTraits(shows_tools=False, shows_calls=False, shows_results=False, empty_content="")
    assert find_traits(chat_templates.CHATML) == nothing
    assert find_traits(chat_templates.GEMMA).takes_system is False
    assert find_traits("{% broken") == TemplateTraits()
    assert find_traits("{{ raise_exception('no') }}") == TemplateTraits()
    assert find_traits(None).shows_tools is False


def test_a_template_that_knows_everything_gets_everything_as_it_is() -> None:
    prompt = render(chat_templates.HERMES, HISTORY)
    assert prompt.count("<tool_call>\n{") == 3
    assert prompt.count("<tool_response>") == 2
    assert prompt.count("<|im_start|>system") == 1
    assert '"description": ""' in prompt


def test_calls_come_one_by_one_where_a_template_takes_one_at_a_time() -> None:
    prompt = render(chat_templates.LLAMA3, HISTORY)
    places = [prompt.index(text) for text in ("the sun", "RESULT-1", "é", "RESULT-2", "And now?")]
    assert places == sorted(places)


def test_mistral_gets_ids_of_nine_letters_or_digits() -> None:
    prepared, _ = find_format(chat_templates.MISTRAL).prepare(HISTORY, TOOLS)
    made = [entry["id"] for entry in prepared[2]["tool_calls"]]
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", entry) for entry in made)
    assert [message["tool_call_id"] for message in prepared[3:5]] == made[::-1]
    again, _ = find_format(chat_templates.MISTRAL).prepare(prepared, TOOLS)
    assert again[2]["tool_calls"][0]["id"] == made[0]


def test_results_say_which_function_they_are_of() -> None:
    prepared, _ = find_format(chat_templates.HERMES).prepare(HISTORY, TOOLS)
    assert [message.get("name") for message in prepared[3:5]] == ["look", "look"]


def test_generic_tools_are_told_in_the_system_message() -> None:
    generic = find_format(None)
    prepared, given = generic.prepare(HISTORY, TOOLS)
    assert given == []
    assert [message["role"] for message in prepared] == ["system", "user", "assistant", "user"]
    system = prepared[0]["content"]
    assert system.startswith("Be good.\n\n")
    assert json.dumps(TOOLS[0]["function"]) in system
    assert "<tool_call>" in system
    assert prepared[2]["content"].count("<tool_call>\n{") == 2
    assert "tool_calls" not in prepared[2]
    assert prepared[3]["content"] == (
        "<tool_response>\nRESULT-2\n</tool_response>\n<tool_response>\nRESULT-1\n</tool_response>\nAnd now?"
    )


def test_a_system_message_is_added_where_there_is_none() -> None:
    prepared, _ = find_format(None).prepare(HISTORY[1:2], TOOLS)
    assert [message["role"] for message in prepared] == ["system", "user"]
    prepared, _ = find_format(None).prepare([], TOOLS)
    assert [message["role"] for message in prepared] == ["system"]


def test_templates_without_a_system_role_are_told_by_the_user() -> None:
    prepared, _ = find_format(chat_templates.GEMMA).prepare(HISTORY, TOOLS)
    assert [message["role"] for message in prepared] == ["user", "assistant", "user"]
    assert prepared[0]["content"].startswith("Be good.\n\n# Tools")
    assert prepared[0]["content"].endswith("\n\nLook!")


def test_text_before_calls_stays_before_them() -> None:
    messages = [HISTORY[1], {**HISTORY[2], "content": "I look."}]
    prepared, _ = find_format(None).prepare(messages, [])
    assert prepared[1]["content"].startswith("I look.\n<tool_call>")


def test_without_tools_and_calls_nothing_changes() -> None:
    messages = [HISTORY[0], HISTORY[1]]
    for template in ALL.values():
        assert find_format(template).prepare(messages, []) == (messages, [])


def test_what_generic_writes_is_what_it_reads() -> None:
    generic = find_format(None)
    prepared, _ = generic.prepare(HISTORY[:3], [])
    from llamawire_server.chat.tools.tool_format import CallDelta, Tool

    parser = generic.parser([Tool("look")], lambda: "id")
    out = [*parser.feed(prepared[2]["content"]), *parser.flush()]
    arguments = [piece.arguments for piece in out if isinstance(piece, CallDelta) and piece.arguments]
    assert "".join(arguments) == '{"at": "the sun"}{"at": "é"}'


@pytest.mark.parametrize("name", chat_templates.TAGGED_TEMPLATES)
def test_templates_that_write_arguments_between_tags(name: str) -> None:
    from llamawire_server.chat.tools.tool_format import CallDelta, Tool

    template = chat_templates.TAGGED_TEMPLATES[name]
    family = find_format(template)
    assert family.name == name
    prompt = render(template, HISTORY)
    parser = family.parser([Tool("look")], lambda: "id")
    out = [*parser.feed(prompt), *parser.flush()]
    made = "".join(piece.arguments for piece in out if isinstance(piece, CallDelta))
    assert made == '{"at": "the sun"}{"at": "é"}'
    # What the family writes is what its template does.
    for text in family.write_calls([("look", '{"at": "the sun"}')]).split("\n"):
        assert text in prompt


def test_kimi_gets_ids_that_name_the_functions() -> None:
    prepared, _ = find_format(chat_templates.KIMI).prepare([*HISTORY, *HISTORY[1:]], TOOLS)
    calls = [call for message in prepared for call in message.get("tool_calls", ())]
    assert [call["id"] for call in calls] == [f"functions.look:{number}" for number in range(4)]
    results = [message["tool_call_id"] for message in prepared if message["role"] == "tool"]
    assert results == [f"functions.look:{number}" for number in (1, 0, 3, 2)]


def test_gpt_oss_gets_its_reasoning_back_beside_a_call() -> None:
    called = {**HISTORY[2], "reasoning_content": "Hm.", "tool_calls": HISTORY[2]["tool_calls"][:1]}
    for content, thinking in (("", "Hm."), ("I look.", "Hm.\n\nI look.")):
        prepared, _ = find_format(chat_templates.HARMONY).prepare(
            [HISTORY[1], {**called, "content": content}], []
        )
        assert not prepared[1]["content"], "the template takes one of both"
        assert prepared[1]["thinking"] == thinking


@pytest.mark.parametrize("template", [chat_templates.HARMONY, chat_templates.LLAMA3])
def test_what_was_said_and_thought_before_calls_comes_once(template: str) -> None:
    messages = [HISTORY[1], {**HISTORY[2], "content": "I look.", "reasoning_content": "Hm."}, *HISTORY[3:5]]
    prepared, _ = find_format(template).prepare(messages, [])
    text = json.dumps(prepared)
    assert len([message for message in prepared if "tool_calls" in message]) == 2
    assert text.count("I look.") == 1
    assert text.count('"reasoning_content": "Hm."') == 1
