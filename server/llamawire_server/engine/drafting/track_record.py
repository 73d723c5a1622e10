"""How often guesses were right, and when to stop guessing."""

from __future__ import annotations


class Acceptance:
    """How likely a guess is right, by what was seen of late."""

    # What is thought of guesses before there were any counts as if so many had been made.
    _FIRST_WEIGHT = 1.0
    # What earlier guesses count for when new ones come.
    _MEMORY = 0.8

    def __init__(self, first: float) -> None:
        """first: how likely a guess is taken to be right before there were any."""
        self._weight = self._FIRST_WEIGHT
        self._right = first * self._FIRST_WEIGHT

    @property
    def value(self) -> float:
        """How likely the next token of a guess is right."""
        return self._right / self._weight

    def note(self, num_guessed: int, num_right: int) -> None:
        """Of a guess, so many tokens were right."""
        # What follows the first wrong one was not tried.
        num_tried = min(num_guessed, num_right + 1)
        self._weight = self._weight * self._MEMORY + num_tried
        self._right = self._right * self._MEMORY + num_right


class TrackRecord:
    """Of one whose guesses cost time, right or wrong: what the next one is worth. After bad ones it pauses, longer
    each time."""

    FIRST_ACCEPTANCE = 0.9
    _POOR_ACCEPTANCE = 0.5
    _FIRST_PAUSE_TOKENS = 16
    _LONGEST_PAUSE_TOKENS = 512

    def __init__(self, first_acceptance: float = FIRST_ACCEPTANCE) -> None:
        """first_acceptance: how likely a guess is taken to be right before there were any."""
        self._seen = Acceptance(first_acceptance)
        self._pause_tokens = self._FIRST_PAUSE_TOKENS
        self._resumes_at = 0

    def acceptance(self, num_tokens: int) -> float:
        """How likely the next token of a draft is right, by what was seen. 0 where guessing pauses, for who has so
        many tokens by now."""
        return 0.0 if num_tokens < self._resumes_at else self._seen.value

    def note(self, num_drafted: int, num_accepted: int, num_tokens: int) -> None:
        """Of a draft, so many tokens were right; whoever it was for has `num_tokens` by now."""
        self._seen.note(num_drafted, num_accepted)
        if num_accepted == num_drafted:
            self._pause_tokens = self._FIRST_PAUSE_TOKENS
        elif self._seen.value < self._POOR_ACCEPTANCE:
            self._resumes_at = num_tokens + self._pause_tokens
            self._pause_tokens = min(2 * self._pause_tokens, self._LONGEST_PAUSE_TOKENS)
            # The next try is to be a fair one.
            self._seen = Acceptance(self.FIRST_ACCEPTANCE)
