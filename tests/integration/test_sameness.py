"""Batching changes nothing that is said: eight at once, one alone, and llama-cpp-python's own Llama."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from llama_cpp import Llama, llama_get_logits_ith, llama_model_get_vocab, llama_token_to_piece
from servers import RunningServer, StartServer, ask

PROMPTS = [
    "Write a story about a fox.",
    "What is the capital of France?",
    "Explain how a bicycle stays upright.",
    "List five fruits and their colours.",
    "Translate 'good morning' into Spanish, and explain each word.",
    "Why is the sky blue?",
    "Write a short poem about rain.",
    "What should one know about the number seven? " * 6,
]
MAX_TOKENS = 32

# llama.cpp multiplies matrices by other paths for one row than for eight, and computes attention by another one
# for 64 tokens of a prompt than for fewer: the last bits differ, and as activations are quantised to eight bits,
# a logit of this model then differs by some tenths. Tokens closer than that are tied.
TIE = 0.5

END_OF_TURN = 2  # <|im_end|>


class Reference:
    """llama-cpp-python's own Llama, one prompt at a time."""

    def __init__(self, model_file: Path) -> None:
        self._llama = Llama(str(model_file), n_ctx=2048, n_threads=1, flash_attn=True, verbose=False)

    def close(self) -> None:
        self._llama.close()

    def prompt(self, content: str) -> list[int]:
        # The template's text, spelt out: what is compared must not come from the code under test.
        text = (
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
            f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"
        )
        return self._llama.tokenize(text.encode(), add_bos=False, special=True)

    def answer(self, content: str) -> list[int]:
        """The greedy tokens, without the one that ends the answer."""
        tokens: list[int] = []
        for token in self._llama.generate(self.prompt(content), temp=0, repeat_penalty=1.0):
            if token in {self._llama.token_eos(), END_OF_TURN} or len(tokens) == MAX_TOKENS:
                break
            tokens.append(token)
        return tokens

    def text(self, tokens: Sequence[int]) -> bytes:
        return b"".join(map(self.piece, tokens))

    def piece(self, token: int) -> bytes:
        # Not detokenize(): it drops the space that the first token begins with.
        buffer = ctypes.create_string_buffer(64)
        vocabulary = llama_model_get_vocab(self._llama.model)
        length = llama_token_to_piece(vocabulary, token, buffer, len(buffer), 0, True)
        return buffer.raw[:length]

    def assert_same_but_for_ties(self, content: str, answer: list[int], other: str) -> None:
        """Check that where `other` leaves `answer`, both went on with tokens that are as good as equal."""
        said = other.encode()
        if said == self.text(answer):
            return
        common = next(n for n in itertools.count() if not said.startswith(self.text(answer[: n + 1])))
        assert common < len(answer), "the other answer has more tokens than were allowed"
        # Their tokens may part before their texts do: " art" and " artist" begin alike.
        gaps = [self.gap(content, answer[:place], answer[place], said) for place in range(common + 1)[-3:]]
        assert min(gaps) < TIE, f"{said!r} leaves {self.text(answer)!r} without a tie: {gaps}"

    def gap(self, content: str, begun: list[int], token: int, said: bytes) -> float:
        """By how much `token` is likelier after `begun` than any other token with which `said` goes on."""
        rest = said[len(self.text(begun)) :]
        self._llama.reset()
        self._llama.eval(self.prompt(content) + begun)
        logits = np.ctypeslib.as_array(llama_get_logits_ith(self._llama.ctx, -1), (self._llama.n_vocab(),))
        others = set(map(int, np.argsort(logits)[-50:])) - {token}
        rivals = [other for other in others if (piece := self.piece(other)) and rest.startswith(piece)]
        if not rest:
            rivals = [END_OF_TURN]
        return float(logits[token] - max(logits[rivals], default=-np.inf))


@pytest.fixture(scope="module")
def reference(model_file: Path) -> Iterator[Reference]:
    llama = Reference(model_file)
    yield llama
    llama.close()


def test_eight_streams_at_once_say_what_each_says_alone_and_what_llama_says(
    start_server: StartServer, reference: Reference
) -> None:
    server = start_server("--preload", "smollm2")

    def stream(content: str) -> str:
        chunks = server.chat.StreamChatCompletion(ask(content, max_tokens=MAX_TOKENS))
        return "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)

    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        together = list(pool.map(stream, PROMPTS))
    alone = [stream(content) for content in PROMPTS]
    llama = [reference.answer(content) for content in PROMPTS]
    for content, expected, *answers in zip(PROMPTS, llama, together, alone, strict=True):
        assert all(answers)
        for answer in answers:
            reference.assert_same_but_for_ties(content, expected, answer)
    same = sum(answer.encode() == reference.text(tokens) for answer, tokens in zip(alone, llama, strict=True))
    assert same >= len(PROMPTS) // 2, "one stream alone takes the same paths as llama"


def test_sampled_answers_follow_their_seed_in_company_too(server: RunningServer) -> None:
    """Every request has random numbers of its own; few draws are so close that the last bits decide them."""

    def draw(seed: int) -> str:
        request = ask("Say any word.", temperature=2.0, top_k=4, seed=seed, max_tokens=1)
        return server.chat.CreateChatCompletion(request).choices[0].message.content

    seeds = range(32)
    alone = list(map(draw, seeds))
    assert len(set(alone)) > 2, "seeds make a difference"
    with ThreadPoolExecutor(12) as pool:
        crowd = [pool.submit(server.chat.CreateChatCompletion, ask(p, max_tokens=60)) for p in PROMPTS[:4]]
        together = list(pool.map(draw, seeds))
        for other in crowd:
            other.result()
    same = sum(a == b for a, b in zip(alone, together, strict=True))
    assert same > 0.7 * len(seeds)
