"""Constraints for tests that are not about grammars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llamawire_server.engine.constraint import ConstraintError, Mask


def mask_of(tokens: Sequence[int], size: int) -> Mask:
    """The mask of a vocabulary in which these tokens may come."""
    mask = np.zeros((size + 31) // 32, np.uint32)
    for token in tokens:
        mask[token // 32] |= np.uint32(1 << token % 32)
    return mask


class Choices:
    """In each place one of some tokens may come; when all places are through, an end token, if there is one."""

    def __init__(
        self, *places: Sequence[int], size: int = 100, end: int | None = None, fails_at: int | None = None
    ) -> None:
        """fails_at: the place whose mask can't be computed."""
        self.places = places
        self.size = size
        self.end = end
        self.fails_at = fails_at
        self.tokens: list[int] = []
        self.prepared: list[tuple[int, ...]] = []
        self.rewinds: list[int] = []

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    @property
    def is_complete(self) -> bool:
        return not self._allowed(len(self.tokens))

    def prepare(self, draft: Sequence[int] = ()) -> None:
        self.prepared.append(tuple(draft))

    def mask(self) -> Mask:
        if self.fails_at == len(self.tokens):
            raise ConstraintError("the grammar is too complex here")
        return mask_of(self._allowed(len(self.tokens)), self.size)

    def accept(self, token: int) -> None:
        if token not in self._allowed(len(self.tokens)):
            raise ConstraintError(f"{token} may not come")
        self.tokens.append(token)

    def num_allowed(self, tokens: Sequence[int]) -> int:
        for number, token in enumerate(tokens):
            if token == self.end or token not in self._allowed(len(self.tokens) + number):
                return number
        return len(tokens)

    def forced(self) -> list[int]:
        tokens: list[int] = []
        for place in self.places[len(self.tokens) :]:
            if len(place) > 1:
                break
            tokens += place
        return tokens

    def rewind(self, num_tokens: int) -> None:
        self.rewinds.append(num_tokens)
        assert num_tokens <= len(self.tokens)
        del self.tokens[num_tokens:]

    def _allowed(self, place: int) -> Sequence[int]:
        if place < len(self.places):
            return self.places[place]
        return [self.end] if self.end is not None and place == len(self.places) else []
