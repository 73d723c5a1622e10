"""Guessing what comes next from what was said before: in the prompt, in the answer so far, in a prediction.

The draft is what followed the last few tokens the last time that they came (prompt lookup decoding, as vLLM and
llama.cpp's lookup example have it). It needs no second model, and is right where text repeats itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from llamawire_server.engine.track_record import TrackRecord

# So many tokens must have come before in the same order: fewer are too often followed by something else.
GRAM_TOKENS = 3


class GramIndex:
    """Where in a sequence that grows each run of `GRAM_TOKENS` tokens came."""

    def __init__(self) -> None:
        self._ends: dict[tuple[int, ...], list[int]] = {}
        self._num_indexed_tokens = GRAM_TOKENS

    def find(self, tokens: Sequence[int], gram: tuple[int, ...]) -> list[int]:
        """The places after the run in `tokens`, which are those of before and maybe more; ascending. The run that
        they end with does not count: nothing came after it."""
        for end in range(self._num_indexed_tokens, len(tokens)):
            self._ends.setdefault(tuple(tokens[end - GRAM_TOKENS : end]), []).append(end)
        self._num_indexed_tokens = max(self._num_indexed_tokens, len(tokens))
        return self._ends.get(gram, [])


class PromptLookup:
    """The `Drafter` of one sequence."""

    def __init__(self, prediction: list[int] | None = None, *, looks_back: bool = True) -> None:
        """prediction: what the caller believes will come. looks_back: whether to guess from the sequence itself."""
        self._prediction = prediction or []
        self._looks_back = looks_back
        self._own = GramIndex()
        self._predicted = GramIndex()
        self._place: int | None = 0 if prediction else None
        """Where in the prediction the answer stands; None where it left it."""
        self._last_place = 0
        self._record = TrackRecord()
        self._predicted_places: list[int] = []

    @property
    def num_predicted_tokens(self) -> int:
        """Tokens of the answer that are the prediction's, in its order."""
        return len(self._predicted_places)

    def acceptance(self, num_tokens: int) -> float:
        """How likely the next token of a draft is right, by what was seen. 0 where guessing pauses, for a sequence
        that has so many tokens by now."""
        return self._record.acceptance(num_tokens)

    def follow(self, tokens: list[int], num_new_tokens: int) -> None:
        """The sequence, which has `tokens` by now, got the last `num_new_tokens` of them."""
        if not self._prediction:
            return
        for end in range(len(tokens) - num_new_tokens + 1, len(tokens) + 1):
            place = self._place
            if place is not None and self._prediction[place : place + 1] == [tokens[end - 1]]:
                self._place = self._last_place = place + 1
                self._predicted_places.append(end - 1)
            else:
                gram = tuple(tokens[max(0, end - GRAM_TOKENS) : end])
                places = self._predicted.find(self._prediction, gram)
                # What follows is likelier than what was left behind.
                self._place = next((later for later in places if later > self._last_place), None)

    def draft(self, tokens: list[int], most: int) -> list[int]:
        """What may come after `tokens`: `most` tokens or fewer, or none."""
        if self._place is not None and (ahead := self._prediction[self._place : self._place + most]):
            return ahead
        if not self._looks_back or len(tokens) < GRAM_TOKENS:
            return []
        places = self._own.find(tokens, tuple(tokens[-GRAM_TOKENS:]))
        return tokens[places[-1] : places[-1] + most] if places else []

    def note(self, num_drafted: int, num_accepted: int, num_tokens: int) -> None:
        """Of a draft, so many tokens were right; the sequence has `num_tokens` by now."""
        self._record.note(num_drafted, num_accepted, num_tokens)

    def end(self, num_tokens: int) -> None:
        """The sequence has ended with so many tokens: what came beyond them is no part of it."""
        while self._predicted_places and self._predicted_places[-1] >= num_tokens:
            self._predicted_places.pop()
