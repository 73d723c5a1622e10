"""Text to tokens and back, as the model's own tokenizer does it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp


class Vocabulary:
    """A loaded model's tokens."""

    def __init__(self, vocabulary: Any) -> None:
        self._vocabulary = vocabulary
        self.size: int = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self._pieces: list[bytes | None] = [None] * self.size
        self.end_token_ids = frozenset(
            token for token in range(self.size) if llama_cpp.llama_vocab_is_eog(vocabulary, token)
        )

    @property
    def bos_text(self) -> str:
        """The begin-of-sequence token's name, for chat templates; empty where there is none."""
        return self._name(llama_cpp.llama_vocab_bos(self._vocabulary))

    @property
    def eos_text(self) -> str:
        """The end-of-sequence token's name, for chat templates; empty where there is none."""
        return self._name(llama_cpp.llama_vocab_eos(self._vocabulary))

    @property
    def adds_bos(self) -> bool:
        """Whether the model wants a begin-of-sequence token before every text."""
        return bool(llama_cpp.llama_vocab_get_add_bos(self._vocabulary))

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """The text's tokens.

        add_special: add what the model wants around a text. parse_special: names of control tokens in the text
        become those tokens.
        """
        data = text.encode("utf-8", "replace")
        # A token is at least a byte long, but for the few that are added around the text.
        room = len(data) + 8
        tokens = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(
            self._vocabulary, data, len(data), tokens, room, add_special, parse_special
        )
        if count < 0:
            room = -count
            tokens = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(
                self._vocabulary, data, len(data), tokens, room, add_special, parse_special
            )
        return tokens[:count]

    def piece(self, token: int) -> bytes:
        """The token's bytes, as they stand in generated text: control tokens have none.

        Raises IndexError for a token that is not in the vocabulary.
        """
        piece = self._pieces[token]
        if piece is None:
            piece = self._pieces[token] = self._read_piece(token, special=False)
        return piece

    def detokenize(self, tokens: Sequence[int], *, unparse_special: bool) -> str:
        """The tokens' text, with the names of control tokens if asked for."""
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        room = 16 * len(tokens) + 16
        while True:
            buffer = ctypes.create_string_buffer(room)
            size = llama_cpp.llama_detokenize(
                self._vocabulary, array, len(tokens), buffer, room, False, unparse_special
            )
            if size >= 0:
                return buffer.raw[:size].decode("utf-8", "replace")
            room = -size

    def _name(self, token: int) -> str:
        return self._read_piece(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    def _read_piece(self, token: int, *, special: bool) -> bytes:
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            size = llama_cpp.llama_token_to_piece(self._vocabulary, token, buffer, room, 0, special)
            if size >= 0:
                return buffer.raw[:size]
            room = -size
