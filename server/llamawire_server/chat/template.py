"""Chat templates: a conversation to the text that the model was trained on.

Templates are Jinja, as Hugging Face's tokenizers have them, and come with the model's file: they are somebody
else's code, so they run in a sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

Message = Mapping[str, Any]


class TemplateError(Exception):
    """A template can't be compiled, or refuses a conversation; the text says why."""


class ChatTemplate:
    """One model's template, compiled once."""

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        """Raises TemplateError where `source` is no Jinja."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation], autoescape=False
        )
        # What transformers gives to templates (PreTrainedTokenizerBase.apply_chat_template).
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        self._special = {"bos_token": bos_token, "eos_token": eos_token}
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise TemplateError(f"the chat template is no valid Jinja: {error}") from error

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        now: float | None = None,
        add_generation_prompt: bool = True,
    ) -> str:
        """The prompt, which ends where the assistant is to speak, or, without `add_generation_prompt`, with the last
        message.

        messages: `role`, `content`, and what else the template may know. variables: more of the caller's. now: in
        seconds since 1970, for templates that write a date; given, the same conversation gives the same prompt.
        Raises TemplateError where the template refuses the conversation or fails on it.
        """
        try:
            return self._template.render(
                {
                    **self._special,
                    **(variables or {}),
                    "strftime_now": (datetime.now() if now is None else datetime.fromtimestamp(now)).strftime,
                    "messages": messages,
                    "tools": tools or None,
                    "add_generation_prompt": add_generation_prompt,
                }
            )
        except TemplateError:
            raise
        except Exception as error:  # a template can fail in any way that Python can
            raise TemplateError(f"the model's chat template fails on these messages: {error}") from error


def _refuse(message: str) -> NoReturn:
    raise TemplateError(f"the model's chat template refuses these messages: {message}")


class _Generation(Extension):
    """`{% generation %}` marks what the assistant says, which matters to training only: its body is all there is."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own declaration is no ClassVar

    def parse(self, parser: Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own tojson escapes for HTML.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
