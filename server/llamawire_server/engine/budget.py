"""How many prompt tokens a step may take, so that steps last about as long as they should."""

from __future__ import annotations

from dataclasses import dataclass

from llamawire_server.engine.sequence import TILE_TOKENS

# How much faster a prompt's tokens are computed than single ones, at least, as far as is known beforehand.
_PROMPT_SPEEDUP = 2

# A long prompt gets so many tokens of each step: each step looks at all that there is of it, and with half as many it
# takes a quarter longer.
_LEAST_WIDE_TOKENS = 2 * TILE_TOKENS

# For slices that are worth their while a step may last so many times as long as it should: beyond, they become
# smaller, down to the fewest tokens.
_PATIENCE = 8
_FEWEST_TOKENS = 16


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

    def __init__(
        self,
        targets: StepTargets,
        batch_tokens: int,
        token_seconds: float,
        least_tokens: int = TILE_TOKENS,
    ) -> None:
        """token_seconds: how long a token takes that is computed by itself. least_tokens: what a step may take
        unless that takes far too long; by default, from where on llama.cpp computes attention in tiles, up to 1.4
        times as fast (2,048-token prompt)."""
        self._least_tokens = least_tokens
        self._targets = targets
        self._batch_tokens = batch_tokens
        self.token_seconds = token_seconds / _PROMPT_SPEEDUP
        """How long a token of a prompt takes."""

    def tokens(self, num_decoding: int, *, is_wide: bool = False) -> int:
        """The most prompt tokens that the next step should take beside `num_decoding` decoding sequences.

        is_wide: whether a long prompt is among those that it computes.
        """
        target = self._targets.shared_seconds if num_decoding else self._targets.alone_seconds
        affordable = int(target / self.token_seconds) - num_decoding
        least = max(self._least_tokens, _LEAST_WIDE_TOKENS) if is_wide else self._least_tokens
        return max(self._bearable(least, target), min(affordable, self._batch_tokens))

    def observe(self, num_tokens: int, seconds: float, num_single: int = 0) -> None:
        """Take in how long a step of `num_tokens` took, of which `num_single` were of no prompt.

        Steps with too few to tell prefill's speed are ignored.
        """
        if num_tokens - num_single < self._bearable(self._least_tokens, self._targets.shared_seconds):
            return
        measured = seconds / num_tokens
        self.token_seconds += self._SMOOTHING * (measured - self.token_seconds)

    def _bearable(self, num_tokens: int, target: float) -> int:
        """So many tokens, or as many of them as take no longer than anybody may be asked to wait."""
        most = int(_PATIENCE * target / self.token_seconds)
        return min(num_tokens, max(_FEWEST_TOKENS, most))
