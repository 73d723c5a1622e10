"""What is asked. Most answers are such that the likeliest token is far ahead of the next one all the way."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A chat request; greedy unless it has a temperature."""

    model: str
    content: str
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    num_choices: int = 1
    is_plain: bool = False
    """Whether its answer leaves nothing to the last bits of a logit."""


SAYINGS = (
    "The quick brown fox jumps over the lazy dog.",
    "The cat sat on the mat.",
    "The early bird catches the worm.",
    "Row, row, row your boat, gently down the stream.",
)
# Where these answers part is left to last bits, but not how they begin: by a logit and more.
STORIES = (
    "Why is the sky blue?",
    "What is photosynthesis?",
    "What is a volcano?",
    "Explain what a compass is for.",
)
NONSENSE = (
    "tell me of q",
    "tell me of m",
    "nonsense r",
    "more f",
    "tell me of s",
    "tell me of k",
    "tell me of e",
    "nonsense m",
    "more l",
    "nonsense h",
)


def greedy_questions(model: str, most: int) -> list[Question]:
    """At most so many of each kind whose answers are the same every time, but for ties where they are not plain."""
    if model == "tiny":
        return [Question(model, content, 64, is_plain=True) for content in NONSENSE[: 2 * most]]
    plain = [f"Repeat: {' '.join([saying] * 6)}" for saying in SAYINGS[:most]]
    return [
        *(Question(model, content, 40, is_plain=True) for content in plain),
        *(Question(model, content, 48) for content in STORIES[:most]),
    ]


def sampled_questions(model: str) -> list[Question]:
    """Questions whose answers are drawn; only their form can be checked."""
    content = "Tell me something."
    return [
        Question(model, content, 32, temperature=1.0, seed=7),
        Question(model, content, 24, temperature=1.0, seed=8, num_choices=2),
    ]
