"""Guessing what comes next from what was said before: in the prompt, in the answer so far, in a prediction.

The draft is what followed the last few tokens the last time that they came (prompt lookup decoding, as vLLM and
llama.cpp's lookup example have it). It needs no second model, and is right where text repeats itself.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    """The `Drafter` of one sequence. Knows how often its guesses were right, and when to stop guessing."""

    # What is thought of guesses before there were any, as if so many had been made.
    _FIRST_ACCEPTANCE = 0.9
    _FIRST_WEIGHT = 1.0
    # What earlier guesses count for when new ones come.
    _MEMORY = 0.8
    _POOR_ACCEPTANCE = 0.5
    _FIRST_PAUSE_TOKENS = 16
    _LONGEST_PAUSE_TOKENS = 512

    def __init__(self, prediction: list[int] | None = None, *, looks_back: bool = True) -> None:
        """prediction: what the caller believes will come. looks_back: whether to guess from the sequence itself."""
        self._prediction = prediction or []
        self._looks_back = looks_back
        self._own = GramIndex()
        self._predicted = GramIndex()
        self._place: int | None = 0 if prediction else None
        """Where in the prediction the answer stands; None where it left it."""
        self._last_place = 0
        self._weight = self._FIRST_WEIGHT
        self._right = self._FIRST_ACCEPTANCE * self._FIRST_WEIGHT
        self._pause_tokens = self._FIRST_PAUSE_TOKENS
        self._resumes_at = 0
        self._predicted_places: list[int] = []
        self._accepted_end = 0
        """Where in the sequence the last draft's right tokens end."""
        self.num_accepted_tokens = 0
        self.num_rejected_tokens = 0

    @property
    def num_predicted_tokens(self) -> int:
        """Tokens of the answer that are the prediction's, in its order."""
        return len(self._predicted_places)

    def acceptance(self, num_tokens: int) -> float:
        """How likely the next token of a draft is right, by what was seen. 0 where guessing pauses, for a sequence
        that has so many tokens by now."""
        return 0.0 if num_tokens < self._resumes_at else self._right / self._weight

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
        self.num_accepted_tokens += num_accepted
        self.num_rejected_tokens += num_drafted - num_accepted
        self._accepted_end = num_tokens - 1  # after them comes the token that was sampled in any case
        # What follows the first wrong one was not tried.
        num_tried = min(num_drafted, num_accepted + 1)
        self._weight = self._weight * self._MEMORY + num_tried
        self._right = self._right * self._MEMORY + num_accepted
        if num_accepted == num_drafted:
            self._pause_tokens = self._FIRST_PAUSE_TOKENS
        elif self._right / self._weight < self._POOR_ACCEPTANCE:
            self._resumes_at = num_tokens + self._pause_tokens
            self._pause_tokens = min(2 * self._pause_tokens, self._LONGEST_PAUSE_TOKENS)
            # The next try is to be a fair one.
            self._weight, self._right = self._FIRST_WEIGHT, self._FIRST_ACCEPTANCE * self._FIRST_WEIGHT

    def end(self, num_tokens: int) -> None:
        """The sequence has ended with so many tokens: what was guessed right beyond them is no part of it."""
        while self._predicted_places and self._predicted_places[-1] >= num_tokens:
            self._predicted_places.pop()
        num_beyond = max(0, self._accepted_end - num_tokens)
        self._accepted_end -= num_beyond
        self.num_accepted_tokens -= num_beyond
        self.num_rejected_tokens += num_beyond
