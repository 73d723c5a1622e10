"""What a request's answer may look like, for the worker: grammars that are compiled, and errors that callers get."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol

from llamawire_server.chat.channels import STYLES
from llamawire_server.chat.grammar import GrammarError
from llamawire_server.chat.plan import AnswerForm, CombinationError, Plan, PlanError, Planner
from llamawire_server.chat.tools import Choice, Named, Tool
from llamawire_server.chat.tools.generic import Generic
from llamawire_server.engine.constraint import Constraint
from llamawire_server.worker.child.forms import Form
from llamawire_server.worker.child.prompts import RequestError, Vocabulary
from llamawire_server.worker.messages import ChatPrompt, Generate

GRAMMAR_INVALID = "GRAMMAR_INVALID"

_FUNCTION = "function:"
_CHOICES: dict[str, Choice] = {"auto": "auto", "required": "required"}


class GrammarCompiler(Protocol):
    """Makes constraints of grammars."""

    def compile(self, lark: str) -> Constraint:
        """A sequence's constraint, at its beginning. Raises GrammarError."""
        ...


class MarkedPieces:
    """The bytes of tokens, where some control tokens mark something and have their names as text."""

    def __init__(self, vocabulary: Vocabulary, markers: Sequence[str]) -> None:
        self._vocabulary = vocabulary
        self._marked = vocabulary.marked_pieces(markers)

    def piece(self, token: int) -> bytes:
        """As they stand in text; control tokens have none, but for the markers. Raises IndexError."""
        return self._marked.get(token) or self._vocabulary.piece(token)

    def named_piece(self, token: int) -> bytes:
        """The same, but all control tokens have their names. Raises IndexError."""
        return self._vocabulary.named_piece(token)


class AnswerPlans:
    """Plans the answers of one loaded model."""

    def __init__(self, planner: Planner, grammars: GrammarCompiler, vocabulary: Vocabulary) -> None:
        """planner: of answers to conversations. What goes on from a raw prompt neither reasons nor calls."""
        self._planner = planner
        self._raw_planner = Planner(STYLES["none"], Generic(), lambda text: None)
        self._grammars = grammars
        self._vocabulary = vocabulary
        # A model has two sets of markers at most: with those of tool calls and without.
        self.pieces = functools.cache(self._pieces)

    def form(self, request: Generate, prompt: str, num_choices: int) -> Form:
        """How a request is answered. prompt: as it is rendered. Raises RequestError.

        Takes a while where something new is to be compiled; for any thread.
        """
        plan = self._plan(request, prompt)
        if plan.lark is None:
            return Form(plan, [None] * num_choices)
        try:
            return Form(plan, [self._grammars.compile(plan.lark) for _ in range(num_choices)])
        except GrammarError as error:
            raise self._explain(plan, error) from error

    def _plan(self, request: Generate, prompt: str) -> Plan:
        planner, tools = self._raw_planner, list[dict[str, Any]]()
        if isinstance(request.prompt, ChatPrompt):
            planner, tools = self._planner, request.prompt.tools
        form = AnswerForm(
            tools=[_tool(tool["function"]) for tool in tools],
            choice=_choice(request.tool_choice),
            parallel_calls=request.parallel_tool_calls,
            grammar=request.grammar,
        )
        try:
            return planner.plan(prompt, form)
        except PlanError as error:
            raise RequestError("INVALID", GRAMMAR_INVALID, str(error), error.field) from error
        except CombinationError as error:
            raise RequestError("UNSUPPORTED", "UNSUPPORTED_COMBINATION", str(error), error.field) from error

    def _pieces(self, markers: tuple[str, ...]) -> MarkedPieces:
        return MarkedPieces(self._vocabulary, markers)

    def _explain(self, plan: Plan, error: GrammarError) -> RequestError:
        """Which part of the request it is about: the one that can't be compiled by itself either."""
        for part in plan.parts:
            try:
                self._grammars.compile(part.lark)
            except GrammarError as own_error:
                found = PlanError(part.field, own_error)
                return RequestError("INVALID", GRAMMAR_INVALID, str(found), found.field)
        return RequestError("INVALID", GRAMMAR_INVALID, str(error), plan.field)


def _tool(function: dict[str, Any]) -> Tool:
    return Tool(function["name"], function["parameters"])


def _choice(text: str) -> Choice:
    if text.startswith(_FUNCTION):
        return Named(text.removeprefix(_FUNCTION))
    return _CHOICES.get(text, "none")
