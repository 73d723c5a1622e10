"""Where a sequence stands in a grammar, with a small vocabulary."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher
from small_vocabulary import CALL, END, SIZE, THINK, TURN, decode, encode, vocabulary

from llamawire_server.engine.constraint import ConstraintError
from llamawire_server.engine.runner.grammar_constraint import GrammarConstraint
from llamawire_server.engine.runner.grammars import GrammarVocabulary

PERSON = """
start: %json {"type": "object", "properties": {"name": {"type": "string", "maxLength": 6},
  "age": {"type": "integer", "minimum": 0, "maximum": 120}}, "required": ["name", "age"],
  "additionalProperties": false, "x-guidance": {"whitespace_flexible": false}}
"""
LETTERS = 'start: "ab" /[a-c]{2}/ "name" /[x-z]+/'

VOCABULARY = vocabulary()
ENDLESS = vocabulary(ends=False)


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def constraint(
    grammar: str, pool: ThreadPoolExecutor | None = None, tokens: GrammarVocabulary = VOCABULARY
) -> GrammarConstraint:
    matcher = LLMatcher(tokens.tokenizer, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    # All that can be is computed beforehand, however quick it is.
    return GrammarConstraint(
        matcher, tokens.tokenizer.vocab_size, tokens.end_token_ids, pool, slow_seconds=0.0
    )


def allowed(one: GrammarConstraint) -> set[int]:
    mask = one.mask()
    assert len(mask) == (SIZE + 31) // 32
    return {token for token in range(SIZE) if mask[token // 32] >> (token % 32) & 1}


def spell(one: GrammarConstraint, text: str) -> None:
    for token in encode(text):
        assert token in allowed(one)
        one.accept(token)


@pytest.mark.parametrize("in_background", [False, True])
def test_what_a_schema_allows_may_come_and_then_an_end_token(
    pool: ThreadPoolExecutor, in_background: bool
) -> None:
    one = constraint(PERSON, pool if in_background else None)
    for token in encode('{"name":"abc","age":12'):
        one.prepare()
        assert token in allowed(one)
        one.accept(token)
    assert ord("}") in allowed(one)
    assert ord("x") not in allowed(one)
    assert not {END, TURN} & allowed(one)
    one.accept(ord("}"))
    assert allowed(one) == {END, TURN}, "any of them"
    assert not one.is_complete
    one.accept(TURN)
    assert one.is_complete
    assert one.num_tokens == len(encode('{"name":"abc","age":12}')) + 1


def test_text_that_may_end_may_go_on_too() -> None:
    one = constraint("start: /[a-c]+/")
    one.accept(ord("a"))
    assert {END, TURN, ord("b")} <= allowed(one)
    one.accept(END)
    assert one.is_complete


def test_control_tokens_are_no_text() -> None:
    anything = allowed(constraint(r"start: /(.|\n)*/"))
    assert not {THINK, CALL} & anything
    assert {END, TURN, ord("<"), ord("[")} <= anything


def test_where_there_is_no_end_token_it_is_complete_when_all_is_said() -> None:
    one = constraint('start: "a" /[bc]/', tokens=ENDLESS)
    assert not one.is_complete
    spell(one, "a")
    assert not one.is_complete
    one.accept(ord("c"))
    assert one.is_complete
    assert allowed(one) == set(), "the tokenizer's own end is beyond the vocabulary"


def test_where_there_is_no_end_token_what_may_go_on_goes_on() -> None:
    one = constraint("start: /[a-c]+/", tokens=ENDLESS)
    spell(one, "abc")
    assert not one.is_complete
    assert ord("a") in allowed(one)


def test_a_token_that_may_not_come_is_an_error() -> None:
    one = constraint(LETTERS)
    with pytest.raises(ConstraintError):
        one.accept(ord("x"))


def test_what_is_forced_is_known_beforehand() -> None:
    one = constraint(PERSON)
    assert decode(one.forced()) == '{"name":', "what follows may be one token with more"
    spell(one, '{"name":"ab"')
    forced = one.forced()
    assert decode(forced) == ',"age":'
    for token in forced:
        assert allowed(one) == {token}
        one.accept(token)
    assert one.forced() == []
    spell(one, "7}")
    assert one.forced() == []


def test_as_much_of_a_guess_is_allowed_as_the_grammar_takes() -> None:
    one = constraint(LETTERS)
    text = encode("ababnamexyz")
    assert one.num_allowed(text) == len(text)
    assert one.num_allowed([*text, ord("a")]) == len(text)
    assert one.num_allowed(encode("abxx")) == 1
    assert one.num_allowed([]) == 0
    assert one.num_allowed([END]) == 0
    assert one.num_allowed([*text, END]) == len(text), "who guesses an end has it sampled"
    assert one.num_tokens == 0
    spell(one, "abab")
    assert one.num_allowed(encode("namex")) == 2


def test_nothing_is_allowed_or_forced_behind_the_end() -> None:
    one = constraint('start: "ab"')
    spell(one, "ab")
    assert one.num_allowed(encode("ab")) == 0
    assert one.forced() == []
    one.accept(END)
    assert one.num_allowed(encode("ab")) == 0
    assert one.forced() == []


@pytest.mark.parametrize("text", ["ababnamexy", "abcanamex", "ababname"])
def test_masks_along_a_draft_are_those_of_its_places(pool: ThreadPoolExecutor, text: str) -> None:
    """Whether the draft comes, in part or not at all, and whether it is allowed."""
    drafted = constraint(LETTERS, pool)
    plain = constraint(LETTERS)
    drafted.prepare(tuple(encode("ababnamexyx")))
    for token in encode(text):
        assert allowed(drafted) == allowed(plain)
        drafted.accept(token)
        plain.accept(token)
    assert allowed(drafted) == allowed(plain)


def test_a_draft_beyond_the_end_is_no_trouble(pool: ThreadPoolExecutor) -> None:
    one = constraint('start: "ab" "c"', pool)
    one.prepare((*encode("abc"), END, 5, 6))
    spell(one, "abc")
    assert allowed(one) == {END, TURN}
    one.prepare((END,))
    one.accept(END)
    assert one.is_complete


@pytest.mark.parametrize("prepared", [(), tuple(encode("namexyz"))])
@pytest.mark.parametrize("num_tokens", range(5))
def test_what_never_came_is_taken_back(
    pool: ThreadPoolExecutor, prepared: tuple[int, ...], num_tokens: int
) -> None:
    tokens = encode("ababnamex")
    one, expected = constraint(LETTERS, pool), constraint(LETTERS)
    for token in tokens:
        one.accept(token)
    one.accept(END)
    one.prepare(prepared)
    one.rewind(num_tokens)
    assert one.num_tokens == num_tokens
    assert not one.is_complete
    for token in tokens[:num_tokens]:
        expected.accept(token)
    for token in tokens[num_tokens:]:
        assert allowed(one) == allowed(expected)
        one.accept(token)
        expected.accept(token)
    assert allowed(one) == allowed(expected)


def test_what_was_never_told_can_not_be_rewound_to() -> None:
    one = constraint(LETTERS)
    spell(one, "ab")
    one.rewind(1)
    with pytest.raises(ConstraintError, match="1 of 3"):
        one.rewind(3)


def test_copies_of_a_grammar_go_their_own_ways() -> None:
    matcher = LLMatcher(VOCABULARY.tokenizer, LETTERS, log_level=0)
    first, second = (
        GrammarConstraint(matcher, VOCABULARY.tokenizer.vocab_size, VOCABULARY.end_token_ids)
        for _ in range(2)
    )
    spell(first, "ababname")
    assert allowed(second) == allowed(constraint(LETTERS))


TOKENS = st.sampled_from([*encode('{"name":"ababc","age":12}'), *b"abcxyz01 \\", END, TURN, CALL])


@given(
    data=st.data(),
    grammar=st.sampled_from([PERSON, LETTERS, r"start: /(.|\n)*/", "start: (/[a-c]/ | /[0-9]+/)*"]),
)
def test_whatever_is_done_to_it_it_knows_what_its_tokens_allow(data: st.DataObject, grammar: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        one = constraint(grammar, pool)
        tokens: list[int] = []
        for _ in range(data.draw(st.integers(1, 15))):
            action = data.draw(st.sampled_from(["accept", "prepare", "rewind", "forced", "num_allowed"]))
            if action == "rewind":
                del tokens[data.draw(st.integers(0, len(tokens))) :]
                one.rewind(len(tokens))
            elif action == "prepare":
                one.prepare(tuple(data.draw(st.lists(TOKENS, max_size=6))))
            elif action == "forced":
                check_forced(one, grammar, tokens)
            elif action == "num_allowed":
                guess = data.draw(st.lists(TOKENS, max_size=6))
                assert one.num_allowed(guess) <= len(guess)
            elif not one.is_complete:
                may_come = sorted(allowed(one))
                tokens.append(data.draw(st.sampled_from(may_come)))
                one.accept(tokens[-1])
            assert one.num_tokens == len(tokens)
            if not one.is_complete:
                assert allowed(one) == allowed(replayed(grammar, tokens))


def replayed(grammar: str, tokens: Sequence[int]) -> GrammarConstraint:
    """As after a worker's death."""
    one = constraint(grammar)
    for token in tokens:
        one.accept(token)
    return one


def check_forced(one: GrammarConstraint, grammar: str, tokens: Sequence[int]) -> None:
    again = replayed(grammar, tokens)
    for token in one.forced()[:1]:
        assert allowed(again) == {token}


class Slow:
    """A matcher whose masks take their time, and which says where they were computed."""

    def __init__(self, matcher: LLMatcher, seconds: float) -> None:
        self.matcher = matcher
        self.seconds = seconds
        self.threads: list[str] = []

    def deep_copy(self) -> Slow:
        return self

    def unsafe_compute_mask_ptr(self, address: int, size: int) -> None:
        self.threads.append(threading.current_thread().name)
        time.sleep(self.seconds)
        self.matcher.unsafe_compute_mask_ptr(address, size)

    def __getattr__(self, name: str) -> object:
        return getattr(self.matcher, name)


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_only_masks_that_take_long_are_another_threads(seconds: float) -> None:
    slow = Slow(LLMatcher(VOCABULARY.tokenizer, LETTERS, log_level=0), seconds)
    with ThreadPoolExecutor(1, thread_name_prefix="masks") as pool:
        made: object = slow
        one = GrammarConstraint(
            made,  # type: ignore[arg-type]
            VOCABULARY.tokenizer.vocab_size,
            VOCABULARY.end_token_ids,
            pool,
            slow_seconds=0.005,
        )
        for token in encode("abab"):
            one.prepare()
            time.sleep(0.002)
            assert token in allowed(one)
            one.accept(token)
    first, *others = slow.threads
    assert first == "MainThread"
    assert all(name.startswith("masks") is (seconds > 0) for name in others)
