"""Tokens of the real vocabulary, in process: no server is needed."""

from __future__ import annotations

import ctypes
import os
import random
from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import pytest

from llamawire_server.engine.runner import vocabulary as module
from llamawire_server.engine.runner.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def vocabulary(model_file: Path) -> Iterator[Vocabulary]:
    silence = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silence, ctypes.c_void_p(0))
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(os.fsencode(model_file), parameters)
    yield Vocabulary(llama_cpp.llama_model_get_vocab(model))
    llama_cpp.llama_model_free(model)
    llama_cpp.llama_log_set(llama_cpp.llama_log_callback(), ctypes.c_void_p(0))


PIECES = [
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|", "im_end|>", "<repo_name>"),
    *("user\n", " ", "  ", "\n\n", "word", " word", "12", "é", "😀", "\u200d", "<", "|>", "don't"),
]


@pytest.mark.parametrize("add_special", [False, True])
def test_cutting_a_text_at_control_tokens_changes_no_token(
    vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch, add_special: bool
) -> None:
    generator = random.Random(7)
    texts = ["".join(generator.choices(PIECES, k=generator.randrange(60))) for _ in range(300)]
    whole = [vocabulary.tokenize(text, add_special=add_special, parse_special=True) for text in texts]
    for length in (1, 5, 40):
        monkeypatch.setattr(module, "SEGMENT_LENGTH", length)
        cut = [vocabulary.tokenize(text, add_special=add_special, parse_special=True) for text in texts]
        assert cut == whole


def test_a_limit_ends_the_work(vocabulary: Vocabulary) -> None:
    text = "<|im_start|>user\n<|im_end|>\n" * 20_000
    whole = vocabulary.tokenize(text, add_special=False, parse_special=True)
    some = vocabulary.tokenize(text, add_special=False, parse_special=True, limit=1000)
    assert len(whole) == 100_000
    assert 1000 < len(some) < 4000
    assert whole[: len(some)] == some


def test_no_piece_is_longer_than_the_longest(vocabulary: Vocabulary) -> None:
    assert vocabulary.longest_piece_bytes >= max(len(vocabulary.piece(t)) for t in range(vocabulary.size))


def test_control_tokens_that_mark_something_have_their_names_as_bytes(vocabulary: Vocabulary) -> None:
    (turn,) = vocabulary.tokenize("<|im_start|>", add_special=False, parse_special=True)
    (word,) = vocabulary.tokenize(" fox", add_special=False, parse_special=True)
    assert vocabulary.special_token("<|im_start|>") == turn
    assert [vocabulary.special_token(text) for text in (" fox", "<think>", "", "<|im_start|><|im_end|>")] == [
        None
    ] * 4
    assert vocabulary.marked_pieces(["<|im_start|>", "<think>", " fox"]) == {turn: b"<|im_start|>"}
    assert (vocabulary.piece(turn), vocabulary.named_piece(turn)) == (b"", b"<|im_start|>")
    assert vocabulary.piece(word) == vocabulary.named_piece(word) == b" fox"
