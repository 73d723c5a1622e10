"""Whole grammars in GBNF, by the texts that they take, byte by byte."""

from __future__ import annotations

import pytest
from matching import accepts, matcher

from llamawire_server.chat.gbnf.translation import to_lark
from llamawire_server.grammar_errors import GrammarError

# As llama.cpp's own examples are.
ARITHMETIC = r"""
root  ::= (expr "=" ws term "\n")+
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
"""
JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
array  ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""
MARKUP = """
root    ::= content
content ::= ([^<>&] | element | "&" [a-z]+ ";")*
element ::= "<" [a-z]+ ">" content "</" [a-z]+ ">"
"""
NESTED = 'root ::= "[" [a-z] root? "]" | '


@pytest.mark.parametrize(
    ("grammar", "text", "expected"),
    [
        ('root ::= a "b"\na ::= [a-z]*', "b", True),
        ('root ::= a "b"\na ::= [a-z]*', "abbb", True),
        ('root ::= a "b"\na ::= [a-z]*', "abc", False),
        ('root ::= word " " word\nword ::= [a-z ]+', "a b", True),
        ('root ::= word " " word\nword ::= [a-z ]+', "   ", True),
        ('root ::= word " " word\nword ::= [a-z ]+', "a ", False),
        # None of these is regular: it ends with the same brackets again.
        (NESTED + '("a" | "ab") "bc"', "abc", True),
        (NESTED + '("a" | "ab") "bc"', "abbc", True),
        (NESTED + '("a" | "ab") "bc"', "[xabbc]", True),
        (NESTED + '("a" | "ab") "bc"', "abb", False),
        (NESTED + '[é-ü]* "è"', "éüè", True),
        (NESTED + '[é-ü]* "è"', "éüèè", False),
        (NESTED + '[é-ü]* "è"', "[xéüè]", True),
        (NESTED + '[ç-é]* "ü"', "çéü", True),
        (NESTED + "[0-9]{2,3} [0-9]{2}", "1234", True),
        (NESTED + "[0-9]{2,3} [0-9]{2}", "[a12345]", True),
        (NESTED + "[0-9]{2,3} [0-9]{2}", "123", False),
        (NESTED + '(([a-c]? "x"?)* "ab")', "[aabcxxab]", True),
        (NESTED + '(([a-c]? "x"?)* "ab")', "[aabcxxa]", False),
        ('root ::= ([^()] | nested)*\nnested ::= "(" root ")"', "a (b (c) d) e", True),
        ('root ::= ([^()] | nested)*\nnested ::= "(" root ")"', "a (b (c) d", False),
        ('root ::= ([^()] | nested)+\nnested ::= "(" root ")"', "(())", False),
        ('root ::= ([^()] | nested)+\nnested ::= "(" root ")"', "((a)b)", True),
        # Rules that refer to themselves, at the end and at the beginning.
        ('root ::= "x" ws "y" | "(" root ")"\nws ::= ([ \\n] ws)?', "(x \n y)", True),
        ('root ::= list\nlist ::= list "," item | item\nitem ::= [a-z]+ | "(" list ")"', "a,(b,c),d", True),
        ('root ::= list\nlist ::= list "," item | item\nitem ::= [a-z]+ | "(" list ")"', "a,(b,c", False),
        ('root ::= "a" root? "b"?', "aaabb", True),
        ('root ::= "a" root? "b"?', "aabbb", False),
        ('root ::= "[" list "]"\nlist ::= item ("," list)?\nitem ::= "1" | root', "[1,[1],1]", True),
        ('root ::= "[" list "]"\nlist ::= item ("," list)?\nitem ::= "1" | root', "[1,]", False),
        ('root ::= "a" ("b" root | "c" root "d" | "e")?', "abae", True),
        ('root ::= ("a" | root "b" | "c")? "d"', "adbd", True),
        ('root ::= ("a" | root "b" | "c")? "d"', "abd", False),
        ('root ::= ("ab" | "abc" | "abd" | "b" | "a" root "c") "c"', "aabdccc", True),
        ('root ::= ("ab" | "abc" | "abd" | "b" | "a" root "c") "c"', "abcc", True),
        ('root ::= ("ab" | "abc" | "abd" | "b" | "a" root "c") "c"', "abdd", False),
        ('root ::= root root | "a" | ""', "aaa", True),
        ('root ::= root | "a"', "a", True),
        ('root ::= "x"? e e\ne ::= ("" | "")* ""{3}', "x", True),
        (JSON, '{"a": [1, -2.5e3, {"b\\n": null}],\n\t"c": "\\u00e9é" }', True),
        (JSON, '{"a": [1, ]}', False),
        (JSON, '{"a" 1}', False),
        (JSON, '{"a": 1  }', False),
        (MARKUP, "a <b>c &amp; <i>d</i></b> e", True),
        (MARKUP, "a <b>c", False),
        (MARKUP, "a & b", False),
    ],
)
def test_what_is_derived_is_taken_and_nothing_else(grammar: str, text: str, expected: bool) -> None:
    assert accepts(to_lark(grammar), text) is expected


@pytest.mark.parametrize(
    "text", ["1+2=3\n", "a=b\n", "x_1 *( 2-y )/z=\t\n a_b \n\n", "1=2\n3=(4\n+5)\n", "((a))=((1))\n"]
)
def test_arithmetic_and_all_that_it_begins_with(text: str) -> None:
    one = matcher(to_lark(ARITHMETIC))
    for byte in text.encode():
        assert one.try_consume_tokens([byte]) == 1
    assert one.is_accepting()


@pytest.mark.parametrize(
    "text", ["1+2=3", "1+=3\n", "=3\n", "1=2=3\n", "1 2=3\n", "(1=3\n", "1=2+3\n", "A=1\n"]
)
def test_no_arithmetic(text: str) -> None:
    assert not accepts(to_lark(ARITHMETIC), text)


def test_what_is_regular_is_one_expression() -> None:
    lark = to_lark('root ::= (line "\\n")+\nline ::= word (" " word)*\nword ::= [a-z ]+ | "-"{2,}')
    assert lark.count("\n") == 1
    assert lark.count("/") == 2


def test_masks_of_json_are_of_few_lexemes() -> None:
    """A string with what is around it is one."""
    assert to_lark(JSON).count("/") < 25


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= "' + "x" * 90_000 + '"',
        'root ::= ("' + "x" * 9000 + '" | "(" root ")")',
        "root ::= " + " | ".join(f'"{number:x}"' for number in range(9000)),
        "root ::= a0 root?\n" + "".join(f"a{n} ::= a{n + 1} a{n + 1}\n" for n in range(60)) + 'a60 ::= "x"',
        "root ::= " + "a " * 20_000 + '\na ::= "abcdefgh"',
        "root ::= " + ("[" + "".join(chr(300 + 2 * n) for n in range(990)) + "]* ") * 90 + 'root? "x"',
        "root ::= " + "a" + "*+?" * 30_000 + '\na ::= "a"',
        'root ::= "a" "b"{100000}{100000}',
        "root ::= " + "(" * 60 + '"a"' + "){100000} (" * 4 + "b" + ")" * 60 + '\nb ::= "b"',
        "root ::= " + '("x" | ' * 40 + '"a" | root "b"' + ")+ " * 40,
        "root ::= r0\n" + "".join(f'r{n} ::= "a" r{n + 1}* "b"\n' for n in range(480)) + 'r480 ::= "y"',
        "root ::= " + "|" * 90_000,
        'root ::= "a"\n' + "b ::= " + '"y" | ' * 15_000,
    ],
)
def test_what_is_large_is_written_within_bounds(grammar: str) -> None:
    assert len(to_lark(grammar)) < 2_000_000


def test_a_long_list_of_words_is_few_lexemes() -> None:
    words = [f"{number * 7919 % 9973:05}{'e' * (number % 5)}" for number in range(1000)]
    listed = " | ".join(f'"{word}"' for word in words)
    lark = to_lark(f'root ::= "(" root ("," root)* ")" ws | ({listed}) ws\nws ::= [ \\n]*')
    assert lark.count("/") < 20
    assert accepts(lark, f"({words[3]} ,({words[999]},{words[500]}) )")
    assert not accepts(lark, f"({words[3]}x)")


def test_what_would_be_too_many_lexemes_is_refused() -> None:
    with pytest.raises(GrammarError, match="16000"):
        to_lark('root ::= "' + "x" * 90_000 + '" root?')
