"""Chat templates: what they get, what they may not do, how they fail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llamawire_server.chat.template import ChatTemplate, TemplateError

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HELLO = [{"role": "user", "content": "hello"}]


def test_it_ends_where_the_assistant_is_to_speak() -> None:
    text = ChatTemplate(CHATML).render(HELLO)
    assert text == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


def test_blocks_leave_no_white_space_of_their_own() -> None:
    template = ChatTemplate(
        "{% for m in messages %}\n    {% if true %}\n{{ m.content }}\n    {% endif %}\n{% endfor %}\n"
    )
    assert template.render(HELLO) == "hello\n"


def test_special_tokens_tools_and_the_callers_variables_are_there() -> None:
    template = ChatTemplate(
        "{{ bos_token }}|{{ eos_token }}|{{ tools | tojson }}|{{ enable_thinking }}",
        bos_token="<s>",
        eos_token="</s>",
    )
    rendered = template.render(HELLO, tools=[{"name": "f<"}], variables={"enable_thinking": False})
    assert rendered == '<s>|</s>|[{"name": "f<"}]|False', "JSON is not escaped for HTML"


def test_variables_can_not_take_the_conversations_place() -> None:
    template = ChatTemplate("{{ messages[0].content }}{{ add_generation_prompt }}")
    assert template.render(HELLO, variables={"messages": [], "add_generation_prompt": False}) == "helloTrue"
    assert template.render(HELLO, add_generation_prompt=False) == "helloFalse"


def test_no_tools_are_no_tools() -> None:
    assert ChatTemplate("{% if tools %}tools{% endif %}{{ tools is none }}").render(HELLO, tools=[]) == "True"


def test_tojson_indents_as_templates_ask() -> None:
    rendered = ChatTemplate("{{ messages[0] | tojson(indent=2) }}").render(HELLO)
    assert rendered == json.dumps(HELLO[0], indent=2)


def test_loop_controls_exist() -> None:
    template = ChatTemplate(
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}x{% endfor %}"
    )
    assert template.render(HELLO * 3) == "x"


def test_a_refusal_says_what_the_template_said() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(TemplateError, match="refuses these messages: roles must alternate"):
        template.render(HELLO)


@pytest.mark.parametrize("source", ["{% for %}", "{{ ", "{% endif %}"])
def test_what_is_no_jinja_is_refused_at_once(source: str) -> None:
    with pytest.raises(TemplateError, match="no valid Jinja"):
        ChatTemplate(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append({'role': 'system', 'content': 'x'}) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% for i in range(10000000) %}x{% endfor %}",
    ],
)
def test_the_sandbox_holds(source: str) -> None:
    template = ChatTemplate(source)
    with pytest.raises(TemplateError, match="fails on these messages"):
        template.render(HELLO)


@pytest.mark.parametrize("source", ["{{ messages[0].content + 1 }}", "{{ 1 / 0 }}", "{{ nothing.at.all }}"])
def test_any_failure_is_the_templates(source: str) -> None:
    with pytest.raises(TemplateError):
        ChatTemplate(source).render(HELLO)


def test_strftime_now_gives_a_date() -> None:
    text: Any = ChatTemplate("{{ strftime_now('%Y') }}").render(HELLO)
    assert len(text) == 4
    assert text.isdigit()
