"""Grammars for a vocabulary: compiled, kept, and refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from small_vocabulary import CALL, END, THINK, encode, vocabulary

from llamawire_server.engine.runner import grammars as module
from llamawire_server.engine.runner.grammars import Grammars
from llamawire_server.engine.runner.special_tokens import with_token_numbers
from llamawire_server.grammar_errors import GrammarError

MakeGrammars = Callable[..., Grammars]


@pytest.fixture
def make() -> Iterator[MakeGrammars]:
    made = []

    def start(read: Callable[[], object] = vocabulary, num_threads: int = 0) -> Grammars:
        made.append(Grammars(read, num_threads=num_threads))  # type: ignore[arg-type]
        return made[-1]

    yield start
    for grammars in made:
        grammars.close()


@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_grammar_is_compiled_into_a_constraint_at_its_beginning(
    make: MakeGrammars, num_threads: int
) -> None:
    grammars = make(num_threads=num_threads)
    first, second = (grammars.compile('start: "name" /[0-9]+/') for _ in range(2))
    first.accept(encode("name")[0])
    for one, expected in ((first, ord("7")), (second, encode("name")[0])):
        one.prepare()
        assert one.mask()[expected // 32] >> (expected % 32) & 1


def test_a_grammar_is_compiled_once_and_those_not_used_for_longest_go(
    make: MakeGrammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def compile(*arguments: object) -> object:
        compiled.append(arguments[1])
        return original(*arguments)  # type: ignore[arg-type]

    original = module._compile
    monkeypatch.setattr(module, "_compile", compile)
    monkeypatch.setattr(Grammars, "_MOST_KEPT", 2)
    grammars = make()
    first, second, third = 'start: "a"', 'start: "b"', 'start: "c"'
    for grammar in (first, second, first, third, first, second):
        grammars.compile(grammar)
    assert compiled == [first, second, third, second]


@pytest.mark.parametrize(
    ("grammar", "place", "words"),
    [
        ('start: "a"\nother: "b" )', "line 2", ""),
        ("start: nowhere", "line 1, column 8", "nowhere"),
        ("start: start", "", "no text"),
        ('start: "a" %json {"minimum": 2, "maximum": 1, "type": "integer"}', "", "Unsatisfiable"),
        ("start: <|nothing|>", "", "nothing"),
        ("start: /a(?=b)/", "", ""),
        ('start: %json {"type": "nonsense"}', "", "nonsense"),
        ("", "", ""),
    ],
)
def test_what_can_not_be_compiled_is_refused_with_a_reason(
    make: MakeGrammars, grammar: str, place: str, words: str
) -> None:
    with pytest.raises(GrammarError) as caught:
        make().compile(grammar)
    assert place in caught.value.place
    assert words in str(caught.value)
    assert str(caught.value)


def test_the_vocabulary_is_read_on_another_thread_and_waited_for(make: MakeGrammars) -> None:
    threads, released = [], threading.Event()

    def read() -> object:
        threads.append(threading.current_thread())
        assert released.wait(10)
        return vocabulary()

    grammars = make(read)
    grammars.begin()
    grammars.begin()
    threading.Timer(0.05, released.set).start()
    grammars.compile("start: <think>")
    assert released.is_set()
    assert threads[0] is not threading.current_thread()
    assert len(threads) == 1


def test_a_vocabulary_that_can_not_be_used_refuses_grammars_and_nothing_else(
    make: MakeGrammars, caplog: pytest.LogCaptureFixture
) -> None:
    def read() -> object:
        raise ValueError("two tokens are one")

    grammars = make(read)
    for _ in range(2):
        with pytest.raises(GrammarError, match="two tokens are one"):
            grammars.compile('start: "a"')
    assert "two tokens are one" in caplog.text


def test_control_tokens_are_known_by_name(make: MakeGrammars) -> None:
    grammars = make()
    for name in ("<|end|>", "<think>", "<[CALL]>"):
        grammars.compile(f"start: {name}")
    for name in ("<[name]>", "<[<]>", "<[think]>", "<think|>", "<CALL>", "<[]>"):
        with pytest.raises(GrammarError):
            grammars.compile(f"start: {name}")


@pytest.mark.parametrize(("name", "token"), [("<think>", THINK), ("<[CALL]>", CALL), (f"<[{THINK}]>", THINK)])
def test_control_tokens_may_come_where_they_are_named(make: MakeGrammars, name: str, token: int) -> None:
    one = make().compile(f'start: "a" {name} "b"')
    for expected in (ord("a"), token, ord("b"), END):
        assert one.mask()[expected // 32] >> (expected % 32) & 1
        one.accept(expected)
    assert one.is_complete


@pytest.mark.parametrize(
    ("grammar", "expected"),
    [
        ("a: <x> <[Y]>", "a: <[1]> <[2]>"),
        ("a: <[7]> <[^3-5,9]> <[*]> <other>", "a: <[7]> <[^3-5,9]> <[*]> <other>"),
        ('a: "<x>" /<x>/ <x> // <x>', 'a: "<x>" /<x>/ <[1]> // <x>'),
        ('a: "\\"<x>" <x> # <x>\nb: <x>', 'a: "\\"<x>" <[1]> # <x>\nb: <[1]>'),
        (
            'a: %json {"const": "<[Y]>", "x": "http://<x>"} <x>',
            'a: %json {"const": "<[Y]>", "x": "http://<x>"} <[1]>',
        ),
        ("a: /[\\/]<x>\n/ <x>", "a: /[\\/]<x>\n/ <[1]>"),
    ],
)
def test_names_of_tokens_become_numbers_where_they_are_tokens(grammar: str, expected: str) -> None:
    assert with_token_numbers(grammar, {"<x>": 1, "[Y]": 2}) == expected


def test_a_list_of_grammars_has_its_tokens_by_number_too(make: MakeGrammars) -> None:
    listed = '{"grammars": [{"lark_grammar": "start: <think> @b"}, {"name": "b", "lark_grammar": "start: <[CALL]>"}]}'
    one = make().compile(listed)
    for expected in (THINK, CALL, END):
        assert one.mask()[expected // 32] >> (expected % 32) & 1
        one.accept(expected)
