"""A choice's tokens as its caller gets them: one by one or several at once, and where its reasoning has to end."""

from __future__ import annotations

import itertools
from collections.abc import Sequence as SequenceOf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampling import GREEDY
from small_vocabulary import vocabulary

from llamawire_server.chat.channels import STYLES
from llamawire_server.chat.grammar import Grammar
from llamawire_server.chat.pipeline import TextPipeline
from llamawire_server.chat.plan import AnswerForm, Planner
from llamawire_server.chat.tools import Tool
from llamawire_server.chat.tools.hermes import Hermes
from llamawire_server.engine.constraint import Constraint
from llamawire_server.engine.engine import Output
from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.engine.runner.grammars import Grammars
from llamawire_server.engine.sequence import FinishReason, Sequence
from llamawire_server.worker.child.reader import Reader, ReasoningBudget
from llamawire_server.worker.messages import Logprob, TextDelta

END = 256
CALL = b'<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
TOOLS = [Tool("f", {"type": "object"})]
FORMAT = Hermes()
PLANNER = Planner(STYLES["think"], FORMAT, lambda text: None)
GRAMMARS = Grammars(vocabulary)


class Bytes:
    """Each byte is a token; one more has a name and no text."""

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < END else b""

    def named_piece(self, token: int) -> bytes:
        return self.piece(token) or b"<end>"


class Choice:
    """A choice that generates what it is told to, but for what it is forced to."""

    def __init__(
        self,
        *,
        style: str = "think",
        prompt: str = "",
        stops: SequenceOf[str] = (),
        budget: int | None = None,
        num_top_logprobs: int | None = None,
        so_far: bytes = b"",
        held: SequenceOf[TokenLogprobs] = (),
        constraint: Constraint | None = None,
    ) -> None:
        self.sequence = Sequence(
            1, 0, [0, *so_far], 1, 1000, GREEDY, constraint=constraint, num_top_logprobs=num_top_logprobs
        )
        pipeline = TextPipeline(stops, STYLES[style].splitter(prompt), FORMAT.parser(TOOLS, lambda: "call_1"))
        self.reader = Reader(
            self.sequence,
            pipeline,
            Bytes(),
            ReasoningBudget(budget, list(b"</think>")) if budget is not None else None,
        )
        self.reader.replay(so_far, held)
        self.deltas: list[TextDelta] = []

    def say(self, text: bytes, *, end: FinishReason | None = None, at_once: bool = False) -> str:
        """Generate this and whatever is forced in between; gives OpenAI's name of the end."""
        said = list(text)
        while said or self.sequence.forced_tokens:
            tokens = said[: self.sequence.num_free_tokens if at_once else 1]
            if self.sequence.forced_tokens:
                tokens = self.sequence.forced_tokens[:1]
            else:
                del said[: len(tokens)]
            for token in tokens:
                if self.sequence.constraint is not None:
                    self.sequence.constraint.accept(token)
                self.sequence.tokens.append(token)
                del self.sequence.forced_tokens[:1]
            if self._read(tokens):
                return "stop"
        if end is None:
            return ""
        self.sequence.finish_reason = end
        self.sequence.ended_by_token = end is FinishReason.STOP
        self._read([END] if end is FinishReason.STOP else [])
        return self.reader.finish_reason(end)

    def _read(self, tokens: list[int]) -> bool:
        logprobs = (
            [TokenLogprobs(token, -float(token), [(END, -0.5)]) for token in tokens]
            if self.sequence.num_top_logprobs is not None
            else []
        )
        self.deltas.append(self.reader.read(Output(self.sequence, tokens, logprobs)))
        return self.reader.is_stopped

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def reasoning(self) -> str:
        return "".join(delta.reasoning for delta in self.deltas)

    @property
    def arguments(self) -> str:
        return "".join(call.arguments for delta in self.deltas for call in delta.calls)

    @property
    def logprobs(self) -> list[Logprob]:
        return [logprob for delta in self.deltas for logprob in delta.logprobs]


def test_a_plain_token_is_text_and_nothing_else() -> None:
    choice = Choice(style="none")
    choice.say(b"a")
    assert choice.deltas == [TextDelta(1, 0, "a", [ord("a")])]


def test_reasoning_and_calls_have_deltas_of_their_own() -> None:
    choice = Choice()
    assert choice.say(b"<think>Hm.</think>So " + CALL, end=FinishReason.STOP) == "tool_calls"
    assert (choice.text.strip(), choice.reasoning, choice.arguments) == ("So", "Hm.", '{"a": 1}')
    assert choice.reader.num_reasoning_tokens == len(b"Hm.</think>")
    first = next(delta.calls[0] for delta in choice.deltas if delta.calls)
    assert (first.index, first.id, first.name) == (0, "call_1", "f")


@pytest.mark.parametrize(
    ("said", "end", "reason"),
    [
        (b"Hi", FinishReason.STOP, "stop"),
        (b"Hi", FinishReason.LENGTH, "length"),
        (CALL, FinishReason.STOP, "tool_calls"),
        (CALL, FinishReason.LENGTH, "tool_calls"),
        (CALL[:-9], FinishReason.LENGTH, "tool_calls"),
        (CALL + b"\n", FinishReason.LENGTH, "tool_calls"),
        (CALL + b" And", FinishReason.LENGTH, "length"),
        (CALL + CALL[:7], FinishReason.LENGTH, "length"),
        (CALL + b"\xc3", FinishReason.LENGTH, "length"),
        (CALL[:40], FinishReason.LENGTH, "length"),
        (CALL + CALL[:40], FinishReason.LENGTH, "length"),
        (b"<tool_call>{", FinishReason.STOP, "stop"),
    ],
)
def test_an_answer_with_whole_calls_ends_for_them(said: bytes, end: FinishReason, reason: str) -> None:
    assert Choice().say(said, end=end) == reason


def test_what_looked_like_a_call_and_is_none_comes_back_as_text() -> None:
    choice = Choice()
    choice.say(b"<tool_call>not JSON", end=FinishReason.STOP)
    assert choice.text == "<tool_call>not JSON"


def test_a_stop_string_ends_it_in_the_middle_of_what_came() -> None:
    choice = Choice(stops=["two"])
    tokens = list(b"one two three")
    choice.sequence.tokens += tokens
    delta = choice.reader.read(Output(choice.sequence, tokens))
    assert (delta.text, bytes(delta.tokens)) == ("one ", b"one two")


@pytest.mark.parametrize("at_once", [False, True])
def test_a_stop_string_of_white_space_ends_it_before_a_call(at_once: bool) -> None:
    choice = Choice(stops=["\n"], num_top_logprobs=0)
    tokens = list(b"Let me look. \n" + CALL)
    for piece in [tokens] if at_once else [[token] for token in tokens]:
        choice.sequence.tokens += piece
        logprobs = [TokenLogprobs(token, -1.0, []) for token in piece]
        choice.deltas.append(choice.reader.read(Output(choice.sequence, piece, logprobs)))
        if choice.reader.is_stopped:
            break
    assert (choice.text, choice.arguments) == ("Let me look. ", "")
    assert bytes(token for delta in choice.deltas for token in delta.tokens) == b"Let me look. \n"
    assert b"".join(found.piece for found in choice.logprobs) == b"Let me look. "
    assert choice.reader.finish_reason(FinishReason.STOP) == "stop"
    assert choice.reader.matched_stop == "\n"


def test_reasoning_ends_where_its_budget_does() -> None:
    choice = Choice(budget=4)
    choice.say(b"<think>abcd")
    choice.say(b"Yes", end=FinishReason.STOP)
    assert (choice.reasoning, choice.text) == ("abcd", "Yes")
    assert choice.reader.num_reasoning_tokens == 4 + len(b"</think>")
    assert bytes(choice.sequence.tokens[1:]) == b"<think>abcd</think>Yes"


def test_reasoning_that_ends_in_time_is_left_alone() -> None:
    choice = Choice(budget=100)
    choice.say(b"<think>ab</think>Yes", end=FinishReason.STOP)
    assert (choice.reasoning, choice.text) == ("ab", "Yes")
    assert bytes(choice.sequence.tokens[1:]) == b"<think>ab</think>Yes"


def test_without_a_budget_there_is_none_at_all() -> None:
    choice = Choice(budget=0)
    choice.say(b"<think>")
    assert bytes(choice.sequence.tokens[1:]) == b"<think></think>"
    choice.say(b"Yes", end=FinishReason.STOP)
    assert (choice.reasoning, choice.text) == ("", "Yes")


def test_what_the_prompt_has_begun_is_ended_at_once() -> None:
    choice = Choice(budget=0, prompt="assistant:<think>")
    assert bytes(choice.sequence.forced_tokens) == b"</think>"
    choice.say(b"Yes", end=FinishReason.STOP)
    assert (choice.reasoning, choice.text) == ("", "Yes")


def json_behind_reasoning() -> Constraint:
    """As for a request that wants a JSON object."""
    lark = PLANNER.plan("", AnswerForm(grammar=Grammar("json_object"))).lark
    assert lark is not None
    return GRAMMARS.compile(lark)


THOUGHTS = "ab 😀é, and it goes on 🙂"


@pytest.mark.parametrize("is_constrained", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("budget", range(len(THOUGHTS.encode()) + 1))
def test_a_budget_that_runs_out_inside_a_character_ends_the_reasoning_behind_it(
    budget: int, at_once: bool, is_constrained: bool
) -> None:
    def choice(so_far: bytes = b"") -> Choice:
        constraint = json_behind_reasoning() if is_constrained else None
        return Choice(budget=budget, so_far=so_far, constraint=constraint)

    ends = itertools.accumulate((len(char.encode()) for char in THOUGHTS), initial=0)
    thought = THOUGHTS.encode()[: next(end for end in ends if end >= budget)]
    alone = choice()
    alone.say(b"<think>" + thought, at_once=at_once)
    said = b"<think>" + thought + b"</think>"
    assert bytes(alone.sequence.tokens[1:]) == said
    assert (alone.reasoning, alone.text) == (thought.decode(), "")
    alone.say(b'{"a":1}', end=FinishReason.STOP)
    assert (alone.reasoning, alone.text) == (thought.decode(), '{"a":1}')
    for cut in range(len(b"<think>") + budget, len(said)):
        resumed = choice(said[:cut])
        resumed.say(said[cut : len(b"<think>") + len(thought)])
        assert bytes(resumed.sequence.tokens[1:]) == said


def test_bytes_that_never_become_a_character_do_not_keep_it_from_ending() -> None:
    choice = Choice(budget=2)
    choice.say(b"<think>\xf0\xf0\xf0\xf0\xf0")
    assert bytes(choice.sequence.tokens[1:]) == b"<think>\xf0\xf0\xf0\xf0\xf0</think>"


@given(budget=st.integers(0, 12), at_once=st.booleans(), cut=st.integers(0, 30))
def test_a_budget_ends_the_reasoning_at_one_place(budget: int, at_once: bool, cut: int) -> None:
    """However many tokens come at once, and wherever the choice goes on in another worker."""
    said = b"<think>abcdefgh"
    alone = Choice(budget=budget)
    alone.say(said)
    expected = bytes(alone.sequence.tokens[1:])
    choice = Choice(budget=budget)
    choice.say(said, at_once=at_once)
    assert bytes(choice.sequence.tokens[1:]) == expected
    resumed = Choice(budget=budget, so_far=expected[:cut])
    assert expected[cut:].startswith(bytes(resumed.sequence.forced_tokens))
    forced = alone.reader.num_reasoning_tokens > budget
    assert bool(resumed.sequence.forced_tokens) == (
        forced and len(b"<think>") + budget <= cut < len(b"<think></think>") + budget
    )


def test_log_probabilities_are_those_of_the_text() -> None:
    choice = Choice(num_top_logprobs=1)
    choice.say(b"<think>Hm.</think>So" + CALL, end=FinishReason.STOP)
    assert [found.piece for found in choice.logprobs] == [b"S", b"o"]
    assert choice.logprobs[0] == Logprob(-float(ord("S")), b"S", [(-0.5, b"<end>")])


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ("<think>é</think>So é ST STO <tool_cal 🦊 STOP more", ["STOP"]),
        ("<think>é</think>So \n 🦊\n  \nfar \n\n more", ["\n\n"]),
        (f"<think>é</think>So \n ST{CALL.decode()} \n OP so", ["STOP", "\n\n"]),
        (f"So \n \n\n{CALL.decode()} more", ["STOP", "\n\n"]),
    ],
)
@given(cut=st.integers(0, 70), at_once=st.booleans())
def test_log_probabilities_of_text_that_was_held_back_come_in_another_worker(
    text: str, stops: list[str], cut: int, at_once: bool
) -> None:
    said = text.encode()
    alone = Choice(num_top_logprobs=1, stops=stops)
    alone.say(said)
    first = Choice(num_top_logprobs=1, stops=stops)
    first.say(said[:cut], at_once=at_once)
    held = first.deltas[-1].held if first.deltas else []
    second = Choice(num_top_logprobs=1, stops=stops, so_far=said[:cut], held=held)
    second.say(said[cut:], at_once=at_once)
    assert first.logprobs + second.logprobs == alone.logprobs
    assert first.text + second.text == alone.text
