"""What a chat template does with tools, calls and results, found out by rendering conversations with it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from llamawire_server.chat.template import ChatTemplate, TemplateError

Message = dict[str, Any]

_SYSTEM = "PROBE-SYSTEM"
_USER: Message = {"role": "user", "content": "PROBE-USER"}
_RESULT = "PROBE-RESULT"
_IDS = ("abcdefgh1", "abcdefgh2")  # Mistral's templates take no others
PROBE_FUNCTION = "probe_function"
# Kimi's templates write out no other name than the one in the id.
_NAMING_IDS = (f"functions.{PROBE_FUNCTION}:0", f"functions.{PROBE_FUNCTION}:1")
_TOOL = {
    "type": "function",
    "function": {
        "name": PROBE_FUNCTION,
        "description": "probes",
        "parameters": {"type": "object", "properties": {"probe_key": {"type": "string", "description": ""}}},
    },
}
# A role is compared with somewhere, which writing any role out as it is called is not.
_TOOL_ROLE = re.compile(r"""["'](tool|tool_response|ipython|tool_results)["']""")


@dataclass(frozen=True)
class TemplateTraits:
    """What a template can be left to do. The defaults are those of templates that know everything."""

    takes_system: bool = True
    """Whether it writes out a system message."""
    shows_tools: bool = True
    """Whether it describes the tools that it is given."""
    shows_calls: bool = True
    """Whether it writes out an assistant's call."""
    shows_several_calls: bool = True
    """Whether it writes out all calls of a message."""
    shows_results: bool = True
    """Whether it knows the role `tool`."""
    takes_text_arguments: bool = False
    """Whether it wants a call's arguments as JSON text, and not as an object."""
    empty_content: str | None = None
    """What stands for no content beside calls."""
    shown_call: tuple[str, int] = field(default=("", 0), compare=False)
    """A conversation with a call of `PROBE_FUNCTION` as it is written out, and where the assistant's part begins."""


NOTHING_SHOWN = TemplateTraits(shows_tools=False, shows_calls=False, shows_results=False)


def find_traits(template: str | None) -> TemplateTraits:
    """Of a template's source. One that fails on everything is taken for one that knows everything."""
    if template is None:
        return NOTHING_SHOWN
    try:
        probe = _Probe(ChatTemplate(template))
    except TemplateError:
        return TemplateTraits()
    if not probe.render(_USER):
        return TemplateTraits()
    system = {"role": "system", "content": _SYSTEM}
    with_system = probe.render(system, _USER, has_tools=False) or probe.render(system, _USER)
    with_tools = probe.render(_USER)
    form = probe.find_form()
    knows_role = _TOOL_ROLE.search(template) is not None
    return TemplateTraits(
        takes_system=_SYSTEM in with_system and _USER["content"] in with_system,
        shows_tools=PROBE_FUNCTION in with_tools and "probe_key" in with_tools,
        shows_calls=form is not None,
        shows_several_calls=form is None or probe.shows_several(form),
        shows_results=knows_role and probe.shows_results(form),
        takes_text_arguments=form is not None and form.is_text,
        empty_content="" if form is None else form.content,
        shown_call=("", 0) if form is None else probe.show_named_call(form),
    )


@dataclass(frozen=True)
class _Form:
    """How an assistant's message with calls is given to a template."""

    content: str | None
    is_text: bool
    ids: tuple[str, str] = _IDS

    def message(self, *values: str) -> Message:
        calls = [self._call(value, call_id) for value, call_id in zip(values, self.ids, strict=False)]
        return {"role": "assistant", "content": self.content, "tool_calls": calls}

    def _call(self, value: str, call_id: str) -> dict[str, Any]:
        arguments: Any = {"probe_key": value}
        function = {
            "name": PROBE_FUNCTION,
            "arguments": json.dumps(arguments) if self.is_text else arguments,
        }
        return {"id": call_id, "type": "function", "function": function}


class _Probe:
    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        self._tools: list[dict[str, Any]] = [_TOOL]
        if not self.render(_USER):
            self._tools = []  # some templates fail on any

    def render(self, *messages: Message, has_tools: bool = True) -> str:
        """An empty text where the template refuses or fails."""
        try:
            return self._template.render(messages, tools=self._tools if has_tools else [], now=0)
        except TemplateError:
            return ""

    def find_form(self) -> _Form | None:
        """The one that the template writes out as it should."""
        num_nones = self.render(_USER).count("None")
        for content, is_text in product((None, ""), (False, True)):
            form = _Form(content, is_text)
            text, _ = self.show_call(form)
            if _has_argument(text, "probe value") and text.count("None") <= num_nones:
                return form
        return None

    def show_call(self, form: _Form) -> tuple[str, int]:
        """A call written out, and where the assistant's part begins."""
        message = form.message("probe value")
        # A template that knows calls may know no results.
        text = self.render(_USER, message, _result(form.ids[0])) or self.render(_USER, message, _USER)
        return text, _num_common(text, self.render(_USER))

    def show_named_call(self, form: _Form) -> tuple[str, int]:
        """The same, with the function's name in the id where the template takes such ids."""
        text, begin = self.show_call(replace(form, ids=_NAMING_IDS))
        return (text, begin) if text else self.show_call(form)

    def shows_several(self, form: _Form) -> bool:
        results = map(_result, form.ids)
        text = self.render(_USER, form.message("one", "two"), *results)
        return _has_argument(text, "one") and _has_argument(text, "two")

    def shows_results(self, form: _Form | None) -> bool:
        message = form.message("one") if form else {"role": "assistant", "content": "PROBE-CONTENT"}
        return _RESULT in self.render(_USER, message, _result(_IDS[0]))


def _num_common(one: str, other: str) -> int:
    """How many characters both begin with."""
    differing = (at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right)
    return next(differing, min(len(one), len(other)))


def _has_argument(text: str, value: str) -> bool:
    """Whether it is there as JSON, and not as JSON in a JSON string; or between tags."""
    as_json = rf'"probe_key"\s*:\s*"{value}"'
    tagged = rf'probe_key(?:"?>|</\w+>\s*<\w+>)\s*{value}\s*</'
    return re.search(f"{as_json}|{tagged}", text) is not None


def _result(call_id: str) -> Message:
    return {"role": "tool", "tool_call_id": call_id, "name": PROBE_FUNCTION, "content": _RESULT}
