"""How often guesses were right, and when to stop guessing."""

from __future__ import annotations


class TrackRecord:
    """Of one who guesses: what its next guess is worth. After bad ones it pauses, longer each time."""

    # What is thought of guesses before there were any, as if so many had been made.
    FIRST_ACCEPTANCE = 0.9
    _FIRST_WEIGHT = 1.0
    # What earlier guesses count for when new ones come.
    _MEMORY = 0.8
    _POOR_ACCEPTANCE = 0.5
    _FIRST_PAUSE_TOKENS = 16
    _LONGEST_PAUSE_TOKENS = 512

    def __init__(self, first_acceptance: float = FIRST_ACCEPTANCE) -> None:
        """first_acceptance: how likely a guess is taken to be right before there were any."""
        self._weight = self._FIRST_WEIGHT
        self._right = first_acceptance * self._FIRST_WEIGHT
        self._pause_tokens = self._FIRST_PAUSE_TOKENS
        self._resumes_at = 0

    def acceptance(self, num_tokens: int) -> float:
        """How likely the next token of a draft is right, by what was seen. 0 where guessing pauses, for who has so
        many tokens by now."""
        return 0.0 if num_tokens < self._resumes_at else self._right / self._weight

    def note(self, num_drafted: int, num_accepted: int, num_tokens: int) -> None:
        """Of a draft, so many tokens were right; whoever it was for has `num_tokens` by now."""
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
            self._weight, self._right = self._FIRST_WEIGHT, self.FIRST_ACCEPTANCE * self._FIRST_WEIGHT
