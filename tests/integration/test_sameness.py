"""Batching changes nothing that is said: eight at once, one alone, and llama-cpp-python's own Llama."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_cpp import Llama
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
MAX_TOKENS = 48

# llama.cpp computes attention by another path for 64 tokens of a prompt at once than for fewer, and for one
# sequence than for several: the last bits differ, and on this model a logit then differs by up to about 1.
# Tokens closer than that are tied.
TIE = 1.0


class Reference:
    """llama-cpp-python's own Llama, one prompt at a time."""

    def __init__(self, model_file: Path) -> None:
        self._llama = Llama(str(model_file), n_ctx=2048, n_threads=2, verbose=False, logits_all=False)

    def close(self) -> None:
        self._llama.close()

    def prompt(self, content: str) -> list[int]:
        # The template's text, spelt out: what is compared must not come from the code under test.
        text = (
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
            f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"
        )
        return self._llama.tokenize(text.encode(), add_bos=False, special=True)

    def answer(self, content: str) -> str:
        result: Any = self._llama.create_completion(
            self.prompt(content), max_tokens=MAX_TOKENS, temperature=0, repeat_penalty=1.0
        )
        return str(result["choices"][0]["text"])

    def assert_tied(self, content: str, answer: str, other: str) -> None:
        """Check that where `other` leaves `answer`, both went on with tokens that are as good as equal."""
        common = 0
        tokens = self._llama.tokenize(answer.encode(), add_bos=False, special=True)
        while True:
            text = self._llama.detokenize(tokens[: common + 1]).decode("utf-8", "ignore")
            if not other.startswith(text):
                break
            common += 1
            assert common < len(tokens), "one answer is only longer than the other"
        self._llama.reset()
        self._llama.eval(self.prompt(content) + tokens[:common])
        logits = np.array(self._llama._scores[-1])
        rest = other[len(self._llama.detokenize(tokens[:common]).decode("utf-8", "ignore")) :]
        best_other = max(
            (
                float(logits[token])
                for token in np.argsort(logits)[-50:]
                if (piece := self._llama.detokenize([int(token)]).decode("utf-8", "ignore"))
                and rest.startswith(piece)
            ),
            default=-np.inf,
        )
        gap = float(logits[tokens[common]]) - best_other
        assert abs(gap) < TIE, f"the answers part at {rest[:20]!r}, which is no tie ({gap:.2f}): {answer!r}"


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
    for content, *answers in zip(PROMPTS, together, alone, llama, strict=True):
        assert all(answers)
        for answer in answers[:2]:
            if answer != answers[2]:
                reference.assert_tied(content, answers[2], answer)
    assert sum(a == b for a, b in zip(alone, llama, strict=True)) >= len(PROMPTS) // 2, "ties are rare"


def test_a_sampled_answer_is_the_same_alone_and_in_company(server: RunningServer) -> None:
    """The same seed gives the same answer, whoever else is being answered."""
    request = ask("Say a word.", temperature=1.0, seed=3, max_tokens=12)
    alone = server.chat.CreateChatCompletion(request).choices[0].message.content
    with ThreadPoolExecutor(5) as pool:
        crowd = [pool.submit(server.chat.CreateChatCompletion, ask(p, max_tokens=30)) for p in PROMPTS[:4]]
        answers = [server.chat.CreateChatCompletion(request).choices[0].message.content for _ in range(2)]
        for other in crowd:
            other.result()
    assert answers == [alone] * 2
