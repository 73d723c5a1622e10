"""What is asked of every server, whatever it speaks."""

from __future__ import annotations

from dataclasses import dataclass, replace

MODEL = "smollm2"

# The same model, told not to guess what comes. Other servers know only one, whatever its name.
PLAIN_MODEL = "smollm2-plain"

# <|endoftext|> and <|im_end|>: without them an answer goes on to its limit.
END_TOKENS = (0, 2)

# The model's template, spelt out for the loop that has none.
_DEFAULT_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
_TURN = "<|im_start|>{role}\n{content}<|im_end|>\n"


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: str
    """system, user or assistant."""

    content: str


@dataclass(frozen=True)
class Ask:
    """A request for a greedy answer."""

    turns: tuple[Turn, ...]
    max_tokens: int
    goes_on: bool = False
    """Whether the model may not end its turn before `max_tokens`."""

    prediction: str | None = None
    """What the answer will mostly be."""

    model: str = MODEL

    def after(self, answer: str, question: str) -> Ask:
        """The next turn of the conversation."""
        return replace(self, turns=(*self.turns, Turn("assistant", answer), Turn("user", question)))


def ask(content: str, max_tokens: int, *, system: str | None = None, goes_on: bool = False) -> Ask:
    """One question."""
    begin = () if system is None else (Turn("system", system),)
    return Ask((*begin, Turn("user", content)), max_tokens, goes_on)


def rendered(asked: Ask) -> str:
    """The prompt that the model's template makes of it."""
    turns = asked.turns
    if turns[0].role != "system":
        turns = (Turn("system", _DEFAULT_SYSTEM), *turns)
    text = "".join(_TURN.format(role=turn.role, content=turn.content) for turn in turns)
    return f"{text}<|im_start|>assistant\n"
