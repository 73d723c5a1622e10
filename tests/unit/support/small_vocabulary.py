"""A vocabulary that llguidance can use without a model: every byte, some words, and control tokens."""

from __future__ import annotations

from typing import Any

from llguidance import LLTokenizer, TokenizerWrapper

from llamawire_server.engine.runner.grammars import GrammarVocabulary

WORDS = [b'{"', b'":', b'",', b'"}', b'": "', b"true", b"false", b"null", b"name", b"age", b"abc", b"ab"]
SPECIAL = ["<|end|>", "<|turn|>", "<think>", "[CALL]"]

FIRST_SPECIAL = 256 + len(WORDS)
END, TURN, THINK, CALL = range(FIRST_SPECIAL, FIRST_SPECIAL + len(SPECIAL))
SIZE = FIRST_SPECIAL + len(SPECIAL)


def encode(text: str) -> list[int]:
    """The longest word first; bytes where there is none."""
    data, tokens = text.encode(), []
    while data:
        word = max((word for word in WORDS if data.startswith(word)), key=len, default=data[:1])
        tokens.append(256 + WORDS.index(word) if word in WORDS else word[0])
        data = data[len(word) :]
    return tokens


def decode(tokens: list[int]) -> str:
    """The text of tokens; control tokens have none."""
    pieces = [bytes([number]) for number in range(256)] + WORDS + [b""] * len(SPECIAL)
    return b"".join(pieces[token] for token in tokens).decode()


class _Tokens:
    """What llguidance's `TokenizerWrapper` asks for."""

    bos_token_id = None

    def __init__(self, tokens: list[bytes], eos_token_id: int) -> None:
        self.tokens = tokens
        self.eos_token_id = eos_token_id

    def __call__(self, text: Any) -> list[int]:
        return encode(text.decode() if isinstance(text, bytes) else text)


def vocabulary(*, ends: bool = True) -> GrammarVocabulary:
    """ends: whether there are tokens to end with."""
    tokens = [bytes([number]) for number in range(256)] + WORDS
    tokens += [b"\xff" + name.encode() for name in SPECIAL]
    end_token_ids = frozenset({END, TURN}) if ends else frozenset[int]()
    if not ends:
        tokens.append(b"\xff<|none|>")
    ids = sorted(end_token_ids) or [SIZE]
    tokenizer = LLTokenizer(TokenizerWrapper(_Tokens(tokens, ids[0])), eos_token=ids)
    special = {name: FIRST_SPECIAL + number for number, name in enumerate(SPECIAL)}
    return GrammarVocabulary(tokenizer, special, end_token_ids)
