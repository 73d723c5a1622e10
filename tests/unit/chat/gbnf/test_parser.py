"""Reading GBNF."""

from __future__ import annotations

import pytest
from matching import accepts

from llamawire_server.chat.gbnf.parser import parse
from llamawire_server.chat.gbnf.translation import to_lark
from llamawire_server.grammar_errors import GrammarError


@pytest.mark.parametrize(
    ("grammar", "text", "expected"),
    [
        (r'root ::= "\x41\u00e9\U0001F600\t\r\n\\\"\[\]\-"', 'Aé😀\t\r\n\\"[]-', True),
        (r"root ::= [\x41-\x43\u00e9\]\\^-]+", "ABCé]\\^-", True),
        (r"root ::= [\x41-\x43\u00e9\]\\^-]+", "D", False),
        ("root ::= [-+*/]+", "-+*/", True),
        ("root ::= [-+*/]+", ".", False),
        ("root ::= [a-]+", "a-", True),
        ("root ::= [a-c-e]+", "abc-e", True),
        ("root ::= [a-c-e]+", "d", False),
        ("root ::= [^a-c\n]", "é", True),
        ("root ::= [^a-c\n]", "b", False),
        ("root ::= [^a-c\n]", "\n", False),
        ("root ::= .", "\n", True),
        ("root ::= .", "é", True),
        ("root ::= .", "", False),
        ("root ::= ..", "😀\0", True),
        ('root ::= "a/b//c" [/]', "a/b//c/", True),
        ('root ::= "ab"{2}', "abab", True),
        ('root ::= "ab" {1,2} "c" { 2, } "d"{0,1}"e"{0}', "ababccc", True),
        ('root ::= "a"*?+ "b"', "b", True),
        ('root ::= "a"', "a", True),
        ('# one\nroot ::= # two\n  "a" # "three"\n# four\n', "a", True),
        ('root ::= "a" |\n  "b"', "b", True),
        ('root ::= "a"\n  | "b"\n  | "c"', "c", True),
        ('root ::= (\n  "a"\n  # more\n  "b"\n  | "c"\n)', "ab", True),
        ('root ::= Check-mate_2 3d\r\nCheck-mate_2 ::= "#"\r\n3d ::= "3"\r\n', "#3", True),
        ('root ::= "two\nlines"', "two\nlines", True),
        ("root ::=", "", True),
        ('root ::= ""', "", True),
        ('root ::= start r1\nstart ::= "a"\nr1 ::= "b" root?', "abab", True),
    ],
)
def test_all_of_the_language(grammar: str, text: str, expected: bool) -> None:
    assert accepts(to_lark(grammar), text) is expected


@pytest.mark.parametrize(
    ("grammar", "place", "words"),
    [
        ('root ::= "a" b', "line 1, column 14", "there is no rule b"),
        ('root ::= "a"\nb ::= (\n  "c" | d)', "line 3, column 9", "there is no rule d"),
        ('other ::= "a"', "", "root"),
        ("", "", "root"),
        ('root ::= "a"\nroot ::= "b"', "line 2, column 1", "twice"),
        ('root "a"', "line 1, column 6", "::="),
        ('root ::= "a"\n"b"', "line 2, column 1", "name"),
        ('root ::= "a" ) "b"', "line 1, column 14", "end of the line"),
        ('root ::= ("a"', "line 1, column 10", "no end"),
        ('root ::= ("a" ::= "b")', "line 1, column 15", ")"),
        ('root ::= "a', "line 1, column 10", "no end"),
        ("root ::= [a", "line 1, column 10", "no end"),
        ("root ::= [a-", "line 1, column 10", "no end"),
        ('root ::= "a\\', "line 1, column 12", "middle"),
        ('root ::= "\\q"', "line 1, column 11", "\\q"),
        ('root ::= "\\x4"', "line 1, column 11", "2 hexadecimal"),
        ('root ::= "\\ud800"', "line 1, column 11", "no character"),
        ('root ::= "\\U00110000"', "line 1, column 11", "no character"),
        ("root ::= [z-a]", "line 1, column 11", "range"),
        ("root ::= []", "line 1, column 10", "empty"),
        ("root ::= [^]", "line 1, column 10", "empty"),
        ("root ::= [^\\x00-\\U0010FFFF]", "line 1, column 10", "empty"),
        ('root ::= * "a"', "line 1, column 10", "repeat"),
        ('root ::= "a" | {2}', "line 1, column 16", "repeat"),
        ('root ::= "a"{x}', "line 1, column 13", "{m,n}"),
        ('root ::= "a"{,3}', "line 1, column 13", "{m,n}"),
        ('root ::= "a"{3,2}', "line 1, column 13", "3 times"),
        ('root ::= "a"{1,1000000}', "line 1, column 13", "100000"),
        ('root ::= "a"{' + "9" * 5000 + "}", "line 1, column 13", "100000"),
        ('root ::= "a"' + "{2}" * 100, "line 1, column ", "repetitions"),
        ("root ::= " + "(" * 3000, "line 1, column 74", "deep"),
        ("root ::= <think>", "line 1, column 10", "token"),
        ("root ::= !<[3]>", "line 1, column 10", "token"),
    ],
)
def test_what_can_not_be_read_is_refused_with_its_place(grammar: str, place: str, words: str) -> None:
    with pytest.raises(GrammarError) as caught:
        parse(grammar)
    assert caught.value.place.startswith(place)
    assert bool(caught.value.place) is bool(place)
    assert words in str(caught.value)
