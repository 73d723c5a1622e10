"""A model's vocabulary, as llguidance wants to have it."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from typing import Any

import llama_cpp
from llguidance import LLTokenizer

from llamawire_server.engine.runner.grammars import GrammarVocabulary
from llamawire_server.engine.runner.token_kinds import is_special

# What llguidance knows a token by that is no text.
_SPECIAL_MARK = b"\xff"

# So many tokens are read at a time: whoever else wants to run need not wait for the rest.
_CHUNK_TOKENS = 512


def read_vocabulary(vocabulary: Any, size: int, end_token_ids: frozenset[int]) -> GrammarVocabulary:
    """Read llama.cpp's `vocabulary` of so many tokens, which must live as long as what is made of it.

    It takes about a fifth of a second for 50,000 tokens, from any thread. Raises ValueError where llguidance can't
    use it.
    """
    tokens: list[bytes] = []
    special_tokens: dict[str, int] = {}
    for token, (name, is_no_text) in enumerate(_named_tokens(vocabulary, size)):
        is_no_text = is_no_text or token in end_token_ids
        tokens.append(_SPECIAL_MARK + name if is_no_text else name)
        if is_no_text and name:
            special_tokens.setdefault(name.decode("utf-8", "replace"), token)
        if token % _CHUNK_TOKENS == 0:
            time.sleep(0)
    if llama_cpp.llama_vocab_type(vocabulary) == llama_cpp.LLAMA_VOCAB_TYPE_SPM and not _has_all_bytes(
        tokens
    ):
        # llama.cpp would throw an exception through llguidance, which ends the process.
        raise ValueError("it has no tokens for some bytes")
    if not end_token_ids:
        tokens.append(_SPECIAL_MARK + b"<|end of the grammar|>")
    make: Any = LLTokenizer
    tokenize: Any = llama_cpp.llama_cpp._lib.llama_tokenize
    tokenizer: LLTokenizer = make.from_llamacpp(
        tokens=tokens,
        vocab_ptr=vocabulary,
        tokenize_fptr=ctypes.cast(tokenize, ctypes.c_void_p).value,
        eos_token=sorted(end_token_ids) or [size],
    )
    return GrammarVocabulary(tokenizer, special_tokens, end_token_ids)


def _has_all_bytes(tokens: list[bytes]) -> bool:
    known = set(tokens)
    return all(bytes([byte]) in known for byte in range(256))


def _named_tokens(vocabulary: Any, size: int) -> Iterator[tuple[bytes, bool]]:
    """Each token's bytes, or its name where it has none, and whether it is a token of its own, and no text."""
    room = 256
    buffer = ctypes.create_string_buffer(room)
    for token in range(size):
        attributes = llama_cpp.llama_vocab_get_attr(vocabulary, token)
        length = llama_cpp.llama_token_to_piece(vocabulary, token, buffer, room, 0, True)
        if length < 0:
            room = -length
            buffer = ctypes.create_string_buffer(room)
            length = llama_cpp.llama_token_to_piece(vocabulary, token, buffer, room, 0, True)
        name = buffer.raw[:length]
        yield name, is_special(attributes, name)
