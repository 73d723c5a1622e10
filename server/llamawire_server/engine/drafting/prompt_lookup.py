"""Guessing what comes next from what was said before: in the prompt, in the answer so far, in a prediction.

The draft is what followed the last few tokens the last time that they came (prompt lookup decoding, as vLLM and
llama.cpp's lookup example have it). It needs no second model, and is right where text repeats itself. Elsewhere it is
mostly wrong, and costs what it takes to compute. But a guess that is not computed can be compared with what comes all
the same, for nothing: so guesses are watched until they are worth it, and again when they no longer are.
"""

from __future__ import annotations

from collections.abc import Sequence

from llamawire_server.engine.drafting.track_record import Acceptance

# So many tokens must have come before in the same order: fewer are too often followed by something else.
GRAM_TOKENS = 3

# A caller's prediction is believed until it turns out wrong; what was said before is mostly not said again.
_PREDICTED_ACCEPTANCE = 0.9
_REPEATED_ACCEPTANCE = 0.3

# A guess from what was said before is this long, or as long as those were together that were computed and right since
# the last wrong one: a long guess that fails takes the time of dozens of tokens. So much of one is watched, too.
_LEAST_GUESSED_TOKENS = 4


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
        self._seen = Acceptance(_PREDICTED_ACCEPTANCE if prediction else _REPEATED_ACCEPTANCE)
        self._watched: list[int] = []
        self._num_right = 0
        """Of what is watched, tokens that have come."""
        self._num_faultless = 0
        """Tokens of drafts that were right since the last wrong guess."""
        self._predicted_places: list[int] = []

    @property
    def num_predicted_tokens(self) -> int:
        """Tokens of the answer that are the prediction's, in its order."""
        return len(self._predicted_places)

    @property
    def acceptance(self) -> float:
        """How likely the next token of a draft is right, by what was seen."""
        return self._seen.value

    def follow(self, tokens: list[int], num_new_tokens: int) -> None:
        """The sequence, which has `tokens` by now, got the last `num_new_tokens` of them."""
        if self._watched:
            self._compare(tokens[-num_new_tokens:])
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
        most = min(most, max(_LEAST_GUESSED_TOKENS, self._num_faultless))
        return tokens[places[-1] : places[-1] + most] if places else []

    def watch(self, ahead: list[int]) -> None:
        """A draft, of one token at least, that is not computed: it is compared with what comes."""
        if not self._watched:
            self._watched, self._num_right = ahead[:_LEAST_GUESSED_TOKENS], 0

    def note(self, num_drafted: int, num_accepted: int, num_tokens: int) -> None:
        """Of a draft, so many tokens were right; the sequence has `num_tokens` by now."""
        self._seen.note(num_drafted, num_accepted)
        self._num_faultless = self._num_faultless + num_accepted if num_accepted == num_drafted else 0

    def end(self, num_tokens: int) -> None:
        """The sequence has ended with so many tokens: what came beyond them is no part of it."""
        while self._predicted_places and self._predicted_places[-1] >= num_tokens:
            self._predicted_places.pop()

    def _compare(self, new: list[int]) -> None:
        for token in new:
            is_right = token == self._watched[self._num_right]
            self._num_right += is_right
            if not is_right or self._num_right == len(self._watched):
                self._seen.note(len(self._watched), self._num_right)
                self._num_faultless = self._num_faultless if is_right else 0
                self._watched = []
                return
