"""Requests that say what their answers are to look like: reasoning, calls, grammars, log probabilities."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_worker import Script, completed, ends_of, generate, make, progress_of, run, step, text_of

from llamawire_server.chat.grammar import Grammar, GrammarError
from llamawire_server.engine.constraint import Constraint, ConstraintError, Mask
from llamawire_server.worker.child.prompts import RequestError
from llamawire_server.worker.messages import (
    Completed,
    Event,
    Failed,
    Logprob,
    TextDelta,
)
from llamawire_server.worker.progress import ChoiceProgress, Progress

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>'


class Noted:
    """A constraint that allows everything, and notes what came."""

    num_tokens = 0
    is_complete = False

    def __init__(self, refused: int | None = None) -> None:
        self.accepted: list[int] = []
        self._refused = refused

    def prepare(self, draft: SequenceOf[int] = ()) -> None:
        pass

    def mask(self) -> Mask | None:
        return None

    def accept(self, token: int) -> None:
        if token == self._refused:
            raise ConstraintError("no")
        self.accepted.append(token)

    def num_allowed(self, tokens: SequenceOf[int]) -> int:
        refused = (number for number, token in enumerate(tokens) if token == self._refused)
        return next(refused, len(tokens))

    def forced(self) -> list[int]:
        return []

    def rewind(self, num_tokens: int) -> None:
        pass


class Compiler:
    """Takes any grammar but those that have a word in them."""

    def __init__(self, bad_word: str = "", refused: int | None = None) -> None:
        self.made: list[Noted] = []
        self.grammars: list[str] = []
        self._bad_word = bad_word
        self._refused = refused

    def compile(self, lark: str) -> Constraint:
        self.grammars.append(lark)
        if self._bad_word and self._bad_word in lark:
            raise GrammarError("it is bad", "line 1, column 2")
        self.made.append(Noted(self._refused))
        return self.made[-1]


def reasoning_of(events: list[Event], index: int = 0) -> str:
    return "".join(e.reasoning for e in events if isinstance(e, TextDelta) and e.index == index)


def arguments_of(events: list[Event], index: int = 0) -> str:
    deltas = [e for e in events if isinstance(e, TextDelta) and e.index == index]
    return "".join(call.arguments for delta in deltas for call in delta.calls)


def test_reasoning_is_told_apart_and_counted() -> None:
    generations = make(Script("<think>Hm.</think>Yes", "No"), style="think")
    generations.start(generate(n=2))
    events = run(generations)
    assert [(text_of(events, index), reasoning_of(events, index)) for index in (0, 1)] == [
        ("Yes", "Hm."),
        ("No", ""),
    ]
    assert completed(events).num_reasoning_tokens == len("Hm.</think>")


def test_a_budget_ends_the_reasoning() -> None:
    generations = make(Script("<think>abcdefYes"), style="think")
    generations.start(generate(reasoning_budget=6))
    events = run(generations)
    assert (text_of(events), reasoning_of(events).strip()) == ("Yes", "abcdef")
    done = completed(events)
    assert done.num_completion_tokens == len("<think>abcdef\n</think>\n\nYes") + 1
    assert done.num_reasoning_tokens >= 6


def test_of_what_ends_the_reasoning_as_much_comes_as_may_come() -> None:
    """The end marker has line breaks behind it, which a grammar may know nothing of."""
    compiler = Compiler(refused=ord("\n"))
    generations = make(Script("<think>abc</think>Yes"), style="think", grammars=compiler)
    generations.start(generate(reasoning_budget=2, grammar=Grammar("json_object")))
    events = run(generations)
    assert (text_of(events), reasoning_of(events)) == ("Yes", "abc"), "none of it may come here"


def test_a_model_that_does_not_reason_has_no_budget() -> None:
    generations = make(Script("<think>Hm"))
    generations.start(generate(reasoning_budget=0))
    assert text_of(run(generations)) == "<think>Hm"


def test_calls_are_told_apart_and_end_the_answer() -> None:
    compiler = Compiler()
    generations = make(Script(f"So.\n{CALL}", CALL[:60]), grammars=compiler)
    generations.start(generate(n=2, tools=[WEATHER], tool_choice="auto", max_tokens=90))
    events = run(generations)
    assert text_of(events, 0).strip() == "So."
    assert arguments_of(events, 0) == '{"city": "Bern"}'
    openings = [c for e in events if isinstance(e, TextDelta) for c in e.calls if c.id]
    assert [call.name for call in openings] == ["weather", "weather"]
    assert len({call.id for call in openings}) == 2, "each choice has ids of its own"
    assert sorted(ends_of(events)) == ["stop", "tool_calls"]
    assert len(compiler.made) == 2, "each choice has a constraint of its own"


def test_a_call_that_a_limit_cuts_is_cut() -> None:
    generations = make(Script(CALL), grammars=Compiler())
    generations.start(generate(tools=[WEATHER], tool_choice="required", max_tokens=55))
    events = run(generations)
    assert ends_of(events) == ["length"]
    assert '{"city": "Bern"}'.startswith(arguments_of(events))


def test_without_a_choice_of_tools_nothing_is_a_call() -> None:
    generations = make(Script(CALL))
    generations.start(generate(tools=[WEATHER], tool_choice="none"))
    assert text_of(run(generations)) == CALL


def test_log_probabilities_come_with_their_text() -> None:
    generations = make(Script("é!"))
    generations.start(generate(num_top_logprobs=1))
    deltas = [event for event in run(generations) if isinstance(event, TextDelta)]
    top = [(-0.5, b"<end>")]
    assert [delta.logprobs for delta in deltas] == [
        [],
        [Logprob(-1.0, b"\xc3", top), Logprob(-1.0, b"\xa9", top)],
        [Logprob(-1.0, b"!", top)],
        [],
    ]


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        (
            {"grammar": Grammar("json_schema", '{"properties": {"a": {"type": "nothing"}}}')},
            "response_format.json_schema.schema/properties/a",
            "/properties/a",
        ),
        ({"grammar": Grammar("gbnf", "root ::= (")}, "response_format.grammar.grammar", ""),
        (
            {
                "tools": [
                    WEATHER,
                    {"type": "function", "function": {"name": "f", "parameters": {"minProperties": "x"}}},
                ],
                "tool_choice": "function:f",
            },
            "tools[1].function.parameters",
            "",
        ),
    ],
)
def test_a_grammar_that_can_not_be_read_is_the_caller_s_mistake(
    fields: dict[str, Any], field: str, words: str
) -> None:
    generations = make(Script("x"))
    with pytest.raises(RequestError) as caught:
        generations.start(generate(**fields))
    assert (caught.value.condition, caught.value.reason) == ("INVALID", "GRAMMAR_INVALID")
    assert caught.value.field.startswith(field)
    assert words in str(caught.value)
    assert not generations.has_work


def test_a_grammar_that_can_not_be_compiled_is_the_one_of_the_part_that_can_not() -> None:
    bad = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"bad_word": {}}}}}
    generations = make(Script("x"), grammars=Compiler("bad_word"))
    with pytest.raises(RequestError, match="line 1, column 2: it is bad") as caught:
        generations.start(generate(tools=[WEATHER, bad], tool_choice="required"))
    assert caught.value.field == "tools[1].function.parameters"
    generations = make(Script("x"), grammars=Compiler("start: reasoning"), style="think")
    with pytest.raises(RequestError, match="it is bad") as caught:
        generations.start(generate(grammar=Grammar("json_object")))
    assert caught.value.field == "response_format"


def test_a_constraint_that_fails_fails_its_request_alone() -> None:
    compiler = Compiler(refused=ord("b"))
    generations = make(Script("ab"), grammars=compiler)
    progress = Progress([ChoiceProgress([ord("b")])], started=1.0, first_token=2.0)
    with pytest.raises(RequestError) as caught:
        generations.start(generate(grammar=Grammar("json_object"), progress=progress))
    assert (caught.value.condition, caught.value.reason) == ("INVALID", "GRAMMAR_FAILED")
    assert caught.value.field == "response_format"
    assert not generations.has_work


def test_a_grammar_that_fails_on_the_way_fails_its_request_alone() -> None:
    """Failure 3 of other servers: an exception of one request's grammar ends all of them."""
    script = Script("ab")
    generations = make(script, grammars=Compiler())
    generations.start(generate(grammar=Grammar("json_object")))
    step(generations)
    script.failure = "no token may come"
    (failed,) = run(generations)
    assert isinstance(failed, Failed)
    assert (failed.condition, failed.reason, failed.message) == (
        "INVALID",
        "GRAMMAR_FAILED",
        "no token may come",
    )
    assert failed.field == "response_format"
    assert not generations.has_work


TEXTS = ("<think>Hm. Well é</think>Yes stop no", f"So {CALL}", "<think>abcdefghijkl</think>No")


@given(cut=st.integers(0, 90), n=st.integers(1, 3), budget=st.none() | st.integers(0, 9))
def test_a_request_goes_on_anywhere_as_if_nothing_had_happened(cut: int, n: int, budget: int | None) -> None:
    request = generate(
        stops=["stop"], n=n, tools=[WEATHER], tool_choice="auto", reasoning_budget=budget, max_tokens=90
    )
    undisturbed = make(Script(*TEXTS[:n]), style="think", grammars=Compiler())
    undisturbed.start(request)
    expected = run(undisturbed)

    first = make(script := Script(*TEXTS[:n]), style="think", grammars=Compiler())
    first.start(request)
    before: list[Event] = []
    for _ in range(cut):
        before += step(first)
    if any(isinstance(event, Completed) for event in before):
        return
    progress = progress_of(before, n)
    second = make(script, style="think", grammars=(compiler := Compiler()))
    second.start(msgspec.structs.replace(request, progress=progress))
    for choice, constraint in zip(progress.choices, compiler.made, strict=True):
        if not choice.finish_reason:
            assert constraint.accepted == choice.tokens
    after = run(second)

    for index in range(n):
        assert text_of(before + after, index) == text_of(expected, index)
        assert reasoning_of(before + after, index) == reasoning_of(expected, index)
        assert arguments_of(before + after, index) == arguments_of(expected, index)
    assert sorted(ends_of(before + after)) == sorted(ends_of(expected))
    done, wanted = completed(after), completed(expected)
    assert done.num_completion_tokens == wanted.num_completion_tokens
    assert done.num_reasoning_tokens == wanted.num_reasoning_tokens
