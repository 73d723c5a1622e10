"""Text to tokens and back, as the model's own tokenizer does it."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import llama_cpp

from llamawire_server.engine.runner.token_kinds import MAY_BE_SPECIAL, is_special

# llama.cpp looks for every control token in all the text that follows, from each place where it has found one: the
# time grows with the square of a text's length. Cut at control tokens into texts of about this size, it does not.
SEGMENT_LENGTH = 8192


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

    @cached_property
    def infill_tokens(self) -> tuple[int, int, int] | None:
        """The tokens that mark what comes before a gap, what comes after it, and where what fills it begins; None
        where the model was not taught to fill one."""
        begin = llama_cpp.llama_vocab_fim_pre(self._vocabulary)
        end = llama_cpp.llama_vocab_fim_suf(self._vocabulary)
        gap = llama_cpp.llama_vocab_fim_mid(self._vocabulary)
        return (begin, end, gap) if min(begin, end, gap) >= 0 else None

    @cached_property
    def longest_piece_bytes(self) -> int:
        """The length of the longest token's text."""
        return max((len(self._read_piece(token, special=True)) for token in range(self.size)), default=1)

    def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, limit: int | None = None
    ) -> list[int]:
        """The text's tokens.

        add_special: add what the model wants around a text. parse_special: names of control tokens in the text
        become those tokens. limit: stop somewhere after so many tokens.
        """
        tokens: list[int] = []
        # What is added at a text's end would be added at the end of its first segment.
        adds_end = add_special and llama_cpp.llama_vocab_get_add_eos(self._vocabulary)
        is_whole = not parse_special or adds_end or len(text) <= SEGMENT_LENGTH
        for number, segment in enumerate([text] if is_whole else self._segments(text)):
            tokens += self._tokenize(segment, add_special and number == 0, parse_special)
            if limit is not None and len(tokens) > limit:
                break
        return tokens

    def _segments(self, text: str) -> Iterator[str]:
        """The text, cut where a control token begins; what is before such a place does not depend on what follows."""
        begin = 0
        for match in self._control_names.finditer(text):
            if match.start() - begin >= SEGMENT_LENGTH:
                yield text[begin : match.start()]
                begin = match.start()
        yield text[begin:]

    @cached_property
    def _control_names(self) -> re.Pattern[str]:
        # Those that strip the space before them are no place to cut: they would not see it.
        names = [
            re.escape(self._name(token))
            for token in range(self.size)
            if (attributes := llama_cpp.llama_vocab_get_attr(self._vocabulary, token))
            & llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
            and not attributes & llama_cpp.LLAMA_TOKEN_ATTR_LSTRIP
            and self._name(token)
        ]
        # Nothing matches where there are none. Longer names come first, as llama.cpp has them.
        return re.compile("|".join(sorted(names, key=len, reverse=True)) or "(?!)")

    def _tokenize(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
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

    def named_piece(self, token: int) -> bytes:
        """The token's bytes, or its name where it is a control token. Raises IndexError as `piece` does."""
        return self.piece(token) or self._read_piece(token, special=True)

    def special_token(self, text: str) -> int | None:
        """The one token that the text is, where it stands for itself and for no text: a control token, or one that
        looks like one. None where there is none."""
        return self._special_tokens.get(text)

    @cached_property
    def _special_tokens(self) -> dict[str, int]:
        # Looked up by name: to tokenize a text that is none of them can end the process, if the model lacks letters.
        found: dict[str, int] = {}
        for token in range(self.size):
            attributes = llama_cpp.llama_vocab_get_attr(self._vocabulary, token)
            # Most tokens are plain text, whose names need not be read to know so.
            if attributes & MAY_BE_SPECIAL and is_special(
                attributes, name := self._read_piece(token, special=True)
            ):
                found.setdefault(name.decode("utf-8", "replace"), token)
        found.pop("", None)
        return found

    def marked_pieces(self, markers: Sequence[str]) -> dict[int, bytes]:
        """Those of the texts that are each one control token: the tokens, with the texts' bytes."""
        found = {}
        for marker in markers:
            token = self.special_token(marker)
            if token is not None and not self.piece(token):
                found[token] = marker.encode()
        return found

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
