"""What an answer may look like, as one grammar that is known before its first token, and how it is to be read.

A grammar holds from the first token to the last. So what a model reasons before it answers is part of it, and nothing
is switched on or off on the way: tokens that are fed again, wherever that is, lead to the same place in it.
"""

from __future__ import annotations

import functools
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llamawire_server.chat.channels import ReasoningStyle
from llamawire_server.chat.grammar import Grammar, GrammarError, json_rule, to_lark
from llamawire_server.chat.pipeline import TextPipeline
from llamawire_server.chat.schema.adaptation import as_written
from llamawire_server.chat.tools import Choice, ParametersError, Tool, ToolFormat

# Where in a request a grammar comes from, by its kind.
_GRAMMAR_FIELDS = {
    "json_object": "response_format",
    "json_schema": "response_format.json_schema.schema",
}
_OTHER_GRAMMAR_FIELD = "response_format.grammar.grammar"


class PlanError(Exception):
    """A part of a request that no grammar can be made of: its field, with the place in it, and what is wrong."""

    def __init__(self, field: str, error: GrammarError) -> None:
        is_pointer = error.place.startswith("/")
        super().__init__(f"{error.place}: {error}" if error.place else str(error))
        self.field = field + error.place if is_pointer else field


class CombinationError(Exception):
    """Parts of a request that this model can't combine; the text names them, `field` the first."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class AnswerForm:
    """What a request says of its answer's form."""

    tools: Sequence[Tool] = ()
    choice: Choice = "none"
    """Whether and which of the tools are to be called."""

    parallel_calls: bool = True
    """Whether there may be several calls."""

    grammar: Grammar | None = None
    """What the text must follow; None: it may be any."""

    @property
    def may_call(self) -> bool:
        """Whether there may be calls."""
        return bool(self.tools) and self.choice != "none"


@dataclass(frozen=True)
class Part:
    """A piece of a request that is a grammar by itself."""

    field: str
    lark: str


@dataclass(frozen=True)
class Plan:
    """How one request is answered, by all of its choices."""

    lark: str | None
    """The grammar of all that is generated, in llguidance's Lark; None: anything may be."""

    parts: tuple[Part, ...]
    """What of the request it was made of: where it can't be compiled, one of them mostly can't either."""

    markers: tuple[str, ...]
    """Texts that are to be fed to the pipelines even where they are control tokens."""

    end_of_reasoning: str
    """What ends the reasoning and begins the answer; empty where there is no reasoning."""

    pipeline: Callable[[Sequence[str]], TextPipeline]
    """A new pipeline for one choice, with these stop strings."""

    @property
    def field(self) -> str:
        """What of the request asked for the grammar; empty where there is none."""
        if len(self.parts) > 1:
            return "tools"
        return self.parts[0].field if self.parts else ""


class Planner:
    """Plans the answers of one model."""

    def __init__(
        self, style: ReasoningStyle, tool_format: ToolFormat, special_token: Callable[[str], int | None]
    ) -> None:
        """special_token: the control token that a text is to the model; None where it is none, or several."""
        self._style = style
        self._format = tool_format
        self._special_token = special_token

    def plan(self, prompt: str, form: AnswerForm) -> Plan:
        """How a request is answered. prompt: as it is rendered. Raises PlanError and CombinationError."""
        tools, parts = _read_tools(form)
        asked = form.tools
        if form.grammar is not None:
            field = _GRAMMAR_FIELDS.get(form.grammar.kind, _OTHER_GRAMMAR_FIELD)
            try:
                parts.append(Part(field, to_lark(form.grammar)))
            except GrammarError as error:
                raise PlanError(field, error) from error
        form = replace(form, tools=tools)
        if form.may_call and form.grammar is not None and not self._tells_calls_from_text(prompt, form):
            message = "this model can't give either a call of `tools` or text that follows `response_format`"
            raise CombinationError(f"{message}; set tool_choice, or leave one out", "response_format")
        try:
            answer = self._answer(form)
        except ParametersError as error:
            raise _parameters_error(error, asked) from error
        return Plan(
            self._after_reasoning(prompt, answer, form) if answer is not None else None,
            tuple(parts),
            (*self._style.markers, *(self._format.markers if form.may_call else ())),
            self._style.end_marker(),
            self._pipelines(prompt, form),
        )

    def _answer(self, form: AnswerForm) -> str | None:
        """The grammar of what comes after the reasoning; None: anything may."""
        text = to_lark(form.grammar) if form.grammar is not None else None
        if not form.may_call:
            return text
        # Text that has a form of its own has no calls in between: an answer is either.
        choice = form.choice if text is None else "required"
        calls = self._format.lark(form.tools, choice, form.parallel_calls, self._special)
        return (
            calls
            if text is None
            else f"start: calls | text\ncalls: {_nested(calls)}\ntext: {_nested(text)}\n"
        )

    def _special(self, text: str) -> bool | int:
        token = self._special_token(text)
        return False if token is None else token

    def _after_reasoning(self, prompt: str, answer: str, form: AnswerForm) -> str:
        # Where answers have headers, calls have others than texts.
        reasoning = self._style.lark(prompt, self._special_token, with_header=not form.may_call)
        if reasoning is None:
            return answer
        return f"start: reasoning answer\nanswer: {_nested(answer)}\nreasoning: {reasoning}\n"

    def _tells_calls_from_text(self, prompt: str, form: AnswerForm) -> bool:
        """Whether an answer's beginning says which of both it is."""
        header, no_header = (
            self._style.lark(prompt, self._special_token, with_header=with_header)
            for with_header in (True, False)
        )
        parser = self._format.parser(form.tools, _call_id)
        # Where an object without a marker may be a call, so may text.
        parser.feed(json.dumps({"name": form.tools[0].name, "arguments": {}}))
        parser.flush()
        return header == no_header and not parser.num_calls

    def _pipelines(self, prompt: str, form: AnswerForm) -> Callable[[Sequence[str]], TextPipeline]:
        style = self._style if self._style.name != "none" else None
        tool_format = self._format if form.may_call else None

        def pipeline(stops: Sequence[str]) -> TextPipeline:
            return TextPipeline(
                stops,
                style.splitter(prompt) if style is not None else None,
                tool_format.parser(form.tools, _call_id, is_either=form.grammar is not None)
                if tool_format is not None
                else None,
            )

        return pipeline


def _read_tools(form: AnswerForm) -> tuple[list[Tool], list[Part]]:
    """The tools that may be called, with schemas that can be enforced whole, and what these are by themselves."""
    tools: list[Tool] = []
    parts: list[Part] = []
    for index, tool in enumerate(form.tools if form.may_call else ()):
        field = f"tools[{index}].function.parameters"
        try:
            rule = _rule(json.dumps(tool.parameters, ensure_ascii=False))
        except GrammarError as error:
            raise PlanError(field, error) from error
        tools.append(replace(tool, parameters=_schema(rule), is_strict=True))
        parts.append(Part(field, f"start: {rule}\n"))
    return tools, parts


def _parameters_error(error: ParametersError, tools: Sequence[Tool]) -> PlanError:
    """What is wrong with the parameters of one of these tools, as its caller has them."""
    number, tool = next((number, tool) for number, tool in enumerate(tools) if tool.name == error.tool_name)
    place = as_written(tool.parameters, error.place)
    return PlanError(f"tools[{number}].function.parameters", GrammarError(str(error), place.pointer))


@functools.lru_cache(maxsize=512)
def _rule(schema: str) -> str:
    """The rule for JSON that follows a schema. A caller's tools are mostly the same in all of its requests."""
    return json_rule(json.loads(schema))


def _schema(rule: str) -> dict[str, Any]:
    """The schema that a rule enforces, which says the same as the one that it was made of."""
    schema: dict[str, Any] = json.loads(rule.removeprefix("%json "))
    schema.pop("x-guidance", None)
    return schema


def _nested(lark: str) -> str:
    """A grammar as a value in another, whose names it does not know."""
    return f"%lark {{\n{lark}\n}}"


def _call_id() -> str:
    return f"call_{secrets.token_hex(12)}"
