"""How many prompt tokens a step may take, so that steps last about as long as they should."""

from __future__ import annotations

from dataclasses import dataclass

# How much faster a prompt's tokens are computed than single ones, at least, as far as is known beforehand.
_PROMPT_SPEEDUP = 2


@dataclass(frozen=True)
class StepTargets:
    """How long a step should last, in seconds."""

    shared_seconds: float = 0.15
    """While others decode: it is what they wait for their next token."""

    alone_seconds: float = 0.4
    """While nobody decodes: it is what a cancelled prompt may still cost."""


class PromptBudget:
    """Follows the measured speed of prefill; the model, the machine and its load decide, not a constant."""

    _SMOOTHING = 0.3
    # llama.cpp computes attention in tiles from 64 tokens on, up to 1.4 times as fast as below (2,048-token prompt).
    _LEAST_TOKENS = 64

    def __init__(
        self,
        targets: StepTargets,
        batch_tokens: int,
        token_seconds: float,
        least_tokens: int = _LEAST_TOKENS,
    ) -> None:
        """token_seconds: how long a token takes that is computed by itself. least_tokens: what a step may always
        take; fewer say nothing of how long one takes."""
        self._least_tokens = least_tokens
        self._targets = targets
        self._batch_tokens = batch_tokens
        self.token_seconds = token_seconds / _PROMPT_SPEEDUP
        """How long a token of a prompt takes."""

    def tokens(self, num_decoding: int) -> int:
        """The most prompt tokens that the next step should take beside `num_decoding` decoding sequences."""
        target = self._targets.shared_seconds if num_decoding else self._targets.alone_seconds
        affordable = int(target / self.token_seconds) - num_decoding
        return max(self._least_tokens, min(affordable, self._batch_tokens))

    def observe(self, num_tokens: int, seconds: float) -> None:
        """Take in how long a step of `num_tokens` took. Steps too small to tell prefill's speed are ignored."""
        if num_tokens < self._least_tokens:
            return
        measured = seconds / num_tokens
        self.token_seconds += self._SMOOTHING * (measured - self.token_seconds)
