"""Whether a grammar takes a text, byte by byte."""

from __future__ import annotations

from llguidance import LLMatcher, LLTokenizer

_bytes = LLTokenizer("byte")


def matcher(lark: str) -> LLMatcher:
    """At the grammar's beginning."""
    made = LLMatcher(_bytes, lark, log_level=0)
    assert not made.is_error(), made.get_error()
    return made


def accepts(lark: str, text: str) -> bool:
    """Whether the text is all that the grammar may want."""
    made = matcher(lark)
    data = list(text.encode())
    return made.try_consume_tokens(data) == len(data) and made.is_accepting()
