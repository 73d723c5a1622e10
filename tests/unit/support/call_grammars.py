"""Grammars of calls, as llguidance reads them, with a vocabulary of bytes and control tokens."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterable, Sequence
from typing import Any

import llguidance
from tool_formats import FORMATS, TAGGED, TOOLS

from llamawire_server.chat.tools.family import Family
from llamawire_server.chat.tools.tool_format import Choice, SpecialToken, Tool

FAMILIES: dict[str, Family] = {**FORMATS, **TAGGED}
END = "<|endoftext|>"
SPECIALS = [
    END,
    *sorted({marker for family in FAMILIES.values() for marker in family.markers} - {">>>", "<function="}),
]
IDS = {text: 256 + number for number, text in enumerate(SPECIALS)}


class Vocabulary:
    """A token for every byte, and one for each marker."""

    eos_token_id = IDS[END]
    bos_token_id = None
    tokens: Sequence[bytes] = [bytes([byte]) for byte in range(256)] + [text.encode() for text in SPECIALS]
    special_token_ids: Sequence[int] = list(IDS.values())

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


@functools.cache
def tokenizer() -> Any:
    from llguidance import LLTokenizer, TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(Vocabulary()))


def tokenize(text: str, has_tokens: bool) -> list[int]:
    if not has_tokens:
        return list(text.encode())
    pattern = "|".join(map(re.escape, sorted(SPECIALS, key=len, reverse=True)))
    parts = re.split(f"({pattern})", text)
    return [token for part in parts for token in ([IDS[part]] if part in IDS else part.encode())]


def is_special(has_tokens: bool) -> SpecialToken:
    def special(marker: str) -> bool | int:
        if not has_tokens or marker not in IDS:
            return False
        return True if marker.startswith("<") else IDS[marker]

    return special


class Grammar:
    """One format's grammar for one choice."""

    def __init__(
        self,
        name: str,
        choice: Choice,
        has_tokens: bool,
        *,
        parallel: bool = True,
        tools: Sequence[Tool] = TOOLS,
    ) -> None:
        self._has_tokens = has_tokens
        self.lark = FAMILIES[name].lark(tools, choice, parallel, is_special(has_tokens))
        grammar = llguidance.LLMatcher.grammar_from_lark(self.lark)
        self._matcher = llguidance.LLMatcher(tokenizer(), grammar)
        assert not self._matcher.is_error(), f"{self._matcher.get_error()}\n{self.lark}"

    def num_taken(self, text: str) -> int:
        """How many tokens of the text may come."""
        matcher = self._matcher.deep_copy()
        return int(matcher.try_consume_tokens(tokenize(text, self._has_tokens)))

    def takes(self, text: str) -> bool:
        """Whether it may be the whole answer."""
        matcher = self._matcher.deep_copy()
        tokens = tokenize(text, self._has_tokens)
        return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())

    def walk(self, chance: random.Random, most: int = 600) -> str | None:
        """An answer of tokens that the grammar allows, taken by chance; None where it would be too long."""
        matcher = self._matcher.deep_copy()
        text = b""
        for _ in range(most):
            if matcher.is_accepting() and (matcher.is_stopped() or chance.random() < 0.3):
                return text.decode()
            mask = matcher.compute_bitmask()
            allowed = [
                token for token in range(len(Vocabulary.tokens)) if mask[token >> 3] >> (token & 7) & 1
            ]
            allowed = [token for token in allowed if token != Vocabulary.eos_token_id]
            markers = [token for token in allowed if token > 255]
            token = chance.choice(markers if markers and chance.random() < 0.3 else allowed)
            assert matcher.consume_token(token)
            text += Vocabulary.tokens[token]
        return None

    def lead(self, fragments: Iterable[tuple[str, bool]]) -> tuple[str, bool]:
        """An answer of those fragments that the grammar allows where they come; those that it doesn't are left out.

        Of each, whether the markers in it are control tokens, or spelled out. Also gives whether it may end so.
        """
        matcher = self._matcher.deep_copy()
        answer = ""
        for text, has_tokens in fragments:
            tokens = tokenize(text, has_tokens and self._has_tokens)
            if matcher.deep_copy().try_consume_tokens(tokens) == len(tokens):
                assert matcher.try_consume_tokens(tokens) == len(tokens)
                answer += text
        return answer, bool(matcher.is_accepting())

    def may_begin(self, text: str) -> bool:
        return self.num_taken(text) == len(tokenize(text, self._has_tokens))
