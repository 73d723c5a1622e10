"""Texts to embed, to tokens: an input at a time, as everybody waits meanwhile."""

from __future__ import annotations

from typing import Protocol

from llamawire_server.worker.child.prompts import RequestError
from llamawire_server.worker.embedding_messages import MAX_EMBEDDING_TOKENS, Embed

# A text with so many times as many tokens as fit, were each of them the longest, need not be counted. Not just one
# time: some tokenizers make one token of any word that they don't know, and none of blanks.
_FAR_TOO_LONG = 4


class Tokenizer(Protocol):
    """Text to tokens, as far as embeddings need it."""

    @property
    def longest_piece_bytes(self) -> int: ...

    def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, limit: int | None = None
    ) -> list[int]: ...


class EmbeddingInputs:
    """The inputs of one request, on their way to tokens."""

    def __init__(self, request: Embed, tokenizer: Tokenizer, context_length: int) -> None:
        """context_length: the most tokens of one input."""
        self.request = request
        self.tokens: list[list[int]] = [[] for _ in range(request.num_done)]
        """As far as they are read; nothing for those that are done, as nobody asks for them any more."""
        self.num_tokens = 0
        """Of those that are read."""
        self._tokenizer = tokenizer
        self._context_length = context_length

    @property
    def are_read(self) -> bool:
        """Whether all of them are tokens."""
        return len(self.tokens) == len(self.request.inputs)

    def read_next(self) -> None:
        """Turn the next input into tokens. Raises RequestError, which names it, where it can't be embedded."""
        given = self.request.inputs[len(self.tokens)]
        tokens = self._tokenize(given) if isinstance(given, str) else given
        if not tokens:
            raise self._refusal("EMPTY_INPUT", "has nothing in it that is a token")
        if len(tokens) > self._context_length:
            raise self._too_long(f"has {len(tokens)} tokens")
        self.num_tokens += len(tokens)
        if self.num_tokens > MAX_EMBEDDING_TOKENS:
            raise self._refusal(
                "TOO_MANY_TOKENS",
                f"is where the request comes to {self.num_tokens} tokens; at most {MAX_EMBEDDING_TOKENS} are allowed",
            )
        self.tokens.append(tokens)

    def _tokenize(self, text: str) -> list[int]:
        if len(text) > _FAR_TOO_LONG * self._context_length * self._tokenizer.longest_piece_bytes:
            raise self._too_long("is far too long")
        return self._tokenizer.tokenize(text, add_special=True, parse_special=False)

    def _too_long(self, what: str) -> RequestError:
        return self._refusal(
            "CONTEXT_LENGTH_EXCEEDED", f"{what}; the model's context has {self._context_length}"
        )

    def _refusal(self, reason: str, what: str) -> RequestError:
        """Of the next input."""
        field = f"input[{len(self.tokens)}]"
        name = field if len(self.request.inputs) > 1 else "the input"
        return RequestError("INVALID", reason, f"{name} {what}", field)
